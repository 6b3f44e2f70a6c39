-- staging.product_daily: Events of active advertisers, counted: what models read.
-- Grain: log day, advertiser, product with an event
-- Source: pg_temp.event_counts, pg_temp.active_advertisers.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Active advertiser
-- product_id: Product of the advertiser
-- impressions: Ad impressions of the day; identical lines are separate events
-- clicks: Ad clicks of the day; may exceed impressions (clicked after midnight)
-- views: Views of the product's page on the day
--
-- In the order of the primary key, so that its pages are filled one after the other.
DELETE FROM staging.product_daily
WHERE product_daily.date = %(ds)s::date;

INSERT INTO staging.product_daily (date, advertiser_id, product_id, impressions, clicks, views)
SELECT
    %(ds)s::date AS date,
    event_counts.advertiser_id,
    event_counts.product_id,
    sum(event_counts.impressions) AS impressions,
    sum(event_counts.clicks) AS clicks,
    sum(event_counts.views) AS views
FROM pg_temp.event_counts
INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
GROUP BY event_counts.advertiser_id, event_counts.product_id
ORDER BY event_counts.advertiser_id ASC, event_counts.product_id ASC;
