-- marts.product_daily: Events of active advertisers, counted, of the published days.
-- Grain: log day, advertiser, product with an event
-- Source: staging.product_daily, of the days in marts.publications; staging.product_daily_published of a day that is
-- loaded anew and not published again yet (staging.days_set_aside).
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: Log day, UTC
-- advertiser_id: Advertiser, active on the day
-- product_id: Product of the advertiser
-- impressions: Ad impressions of the day; identical lines are separate events
-- clicks: Ad clicks of the day; may exceed impressions (clicked after midnight)
-- views: Views of the product's page on the day
-- ctr: clicks / impressions; null without an impression
SELECT
    product_daily.date,
    product_daily.advertiser_id,
    product_daily.product_id,
    product_daily.impressions,
    product_daily.clicks,
    product_daily.views,
    product_daily.clicks::double precision / nullif(product_daily.impressions, 0) AS ctr
FROM staging.product_daily
WHERE
    product_daily.date IN (SELECT publications.date FROM marts.publications)
    AND product_daily.date NOT IN (SELECT days_set_aside.date FROM staging.days_set_aside)
UNION ALL
SELECT
    product_daily_published.date,
    product_daily_published.advertiser_id,
    product_daily_published.product_id,
    product_daily_published.impressions,
    product_daily_published.clicks,
    product_daily_published.views,
    product_daily_published.clicks::double precision / nullif(product_daily_published.impressions, 0) AS ctr
FROM staging.product_daily_published
WHERE product_daily_published.date IN (SELECT publications.date FROM marts.publications)
