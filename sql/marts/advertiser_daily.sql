-- marts.advertiser_daily: Events of an active advertiser on a published day.
-- Grain: log day, advertiser on the active list
-- Source: staging.active_advertisers, staging.product_daily.
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
-- The list and the counts one below the other, not joined: the planner knows nothing of the day, expects 1 advertiser,
-- and would read the day's counts again for each.
WITH counted AS (
    SELECT
        active_advertisers.advertiser_id,
        true AS is_active,
        null AS product_id,
        0 AS impressions,
        0 AS clicks,
        0 AS views
    FROM staging.active_advertisers
    WHERE active_advertisers.date = %(ds)s::date
    UNION ALL
    SELECT
        product_daily.advertiser_id,
        false AS is_active,
        product_daily.product_id,
        product_daily.impressions,
        product_daily.clicks,
        product_daily.views
    FROM staging.product_daily
    WHERE product_daily.date = %(ds)s::date
)

SELECT
    %(ds)s::date AS date,
    counted.advertiser_id,
    count(counted.product_id) AS products,
    sum(counted.impressions) AS impressions,
    sum(counted.clicks) AS clicks,
    sum(counted.views) AS views
FROM counted
GROUP BY counted.advertiser_id
HAVING bool_or(counted.is_active);
