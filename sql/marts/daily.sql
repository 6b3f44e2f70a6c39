-- marts.daily: Events of all active advertisers on a published day.
-- Grain: log day
-- Source: marts.advertiser_daily.
-- Freshness: DBWriting, in the transaction that publishes the day.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertisers: Advertisers on the active list
-- products: Products with an event of any kind
-- impressions: Ad impressions
-- clicks: Ad clicks
-- views: Views of product pages
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
