-- marts.advertiser_daily: Events of an active advertiser on a published day.
-- Grain: log day, advertiser on the active list
-- Source: marts.active_advertisers, staging.product_daily.
-- Freshness: DBWriting, in the transaction that publishes the day.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Active advertiser; one without events has zeros
-- products: Products with an event of any kind
-- impressions: Ad impressions
-- clicks: Ad clicks
-- views: Views of product pages
DELETE FROM marts.advertiser_daily
WHERE advertiser_daily.date = %(ds)s::date;

INSERT INTO marts.advertiser_daily (date, advertiser_id, products, impressions, clicks, views)
SELECT
    active_advertisers.date,
    active_advertisers.advertiser_id,
    count(product_daily.product_id) AS products,
    coalesce(sum(product_daily.impressions), 0) AS impressions,
    coalesce(sum(product_daily.clicks), 0) AS clicks,
    coalesce(sum(product_daily.views), 0) AS views
FROM marts.active_advertisers
LEFT JOIN staging.product_daily
    ON
        active_advertisers.date = product_daily.date
        AND active_advertisers.advertiser_id = product_daily.advertiser_id
WHERE active_advertisers.date = %(ds)s::date
GROUP BY active_advertisers.date, active_advertisers.advertiser_id;
