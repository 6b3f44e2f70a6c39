-- staging.accounting: Where every delivered line went: delivered = kept + other_day + inactive + rejected.
-- Grain: log day, log
-- Source: staging.source_objects of the day, pg_temp.event_counts, pg_temp.active_advertisers.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- source: product_views or ads_views
-- delivered: Lines in the source objects, counted in the bytes, without headers
-- kept: Lines of the day, of active advertisers
-- other_day: Lines of another day (an object may hold many days)
-- inactive: Lines of the day, of advertisers not on the day's active list
-- rejected: Lines that could not be read
--
-- A line that can be read is of another day or of the day; one of the day is of an active advertiser or of another
-- one.
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
