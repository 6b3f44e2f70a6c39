-- staging.product_daily, staging.active_advertisers, staging.accounting: the day as FiltrarDatos keeps it.
-- Grain: see the comments on the relations.
-- Parameters: ds, the log day.
-- Reads pg_temp.event_counts, pg_temp.active_advertisers and staging.source_objects of the day. The day is deleted and
-- written again, so that running it twice leaves what running it once leaves.
DELETE FROM staging.active_advertisers
WHERE active_advertisers.date = %(ds)s::date;

INSERT INTO staging.active_advertisers (date, advertiser_id)
SELECT
    %(ds)s::date AS date,
    active_advertisers.advertiser_id
FROM pg_temp.active_advertisers;

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
GROUP BY event_counts.advertiser_id, event_counts.product_id;

DELETE FROM staging.accounting
WHERE accounting.date = %(ds)s::date;

INSERT INTO staging.accounting (date, source, delivered, kept, other_day, inactive, rejected)
WITH delivered AS (
    SELECT
        source_objects.source,
        sum(source_objects.lines) AS delivered,
        sum(source_objects.rejected) AS rejected
    FROM staging.source_objects
    WHERE source_objects.date = %(ds)s::date
    GROUP BY source_objects.source
),

counted AS (
    SELECT
        event_counts.source,
        sum(event_counts.lines) FILTER (WHERE active_advertisers.advertiser_id IS NOT NULL) AS kept,
        sum(event_counts.lines) FILTER (WHERE event_counts.advertiser_id IS NULL) AS other_day,
        sum(event_counts.lines) FILTER (
            WHERE event_counts.advertiser_id IS NOT NULL AND active_advertisers.advertiser_id IS NULL
        ) AS inactive
    FROM pg_temp.event_counts
    LEFT JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
    GROUP BY event_counts.source
)

SELECT
    %(ds)s::date AS date,
    delivered.source,
    delivered.delivered,
    coalesce(counted.kept, 0) AS kept,
    coalesce(counted.other_day, 0) AS other_day,
    coalesce(counted.inactive, 0) AS inactive,
    delivered.rejected
FROM delivered
LEFT JOIN counted ON delivered.source = counted.source
WHERE delivered.source IN ('product_views', 'ads_views');
