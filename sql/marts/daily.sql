-- marts.advertiser_daily, marts.daily: the events of the day, counted.
-- Grain: log day, advertiser on the active list; log day. Parameters: ds, the log day.
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

DELETE FROM marts.daily
WHERE daily.date = %(ds)s::date;

INSERT INTO marts.daily (date, advertisers, products, impressions, clicks, views)
SELECT
    advertiser_daily.date,
    count(*) AS advertisers,
    sum(advertiser_daily.products) AS products,
    sum(advertiser_daily.impressions) AS impressions,
    sum(advertiser_daily.clicks) AS clicks,
    sum(advertiser_daily.views) AS views
FROM marts.advertiser_daily
WHERE advertiser_daily.date = %(ds)s::date
GROUP BY advertiser_daily.date;
