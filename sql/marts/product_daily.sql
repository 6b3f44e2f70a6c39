-- marts.product_daily: Events of active advertisers, counted, of the published days.
-- Grain: log day, advertiser, product with an event
-- Source: staging.product_daily, of the days in marts.publications.
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
    EXISTS (
        SELECT 1
        FROM marts.publications
        WHERE publications.date = product_daily.date
    )
