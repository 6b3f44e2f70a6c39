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
-- advertisers: Active advertisers with a line of the day; null where the day was loaded before that was counted
-- day_before: Of other_day, lines of the day before; likewise
-- day_after: Of other_day, lines of the day after; likewise
--
-- A line that can be read is of another day or of the day; one of the day is of an active advertiser or of another
-- one.
DELETE FROM staging.accounting
WHERE accounting.date = %(ds)s::date;

INSERT INTO staging.accounting (
    date, source, delivered, kept, other_day, inactive, rejected, advertisers, day_before, day_after
)
WITH delivered AS (
    SELECT
        source_objects.source,
        sum(source_objects.lines) AS delivered,
        sum(source_objects.rejected) AS rejected
    FROM staging.source_objects
    WHERE source_objects.date = %(ds)s::date
    GROUP BY source_objects.source
),

by_advertiser AS (
    SELECT
        event_counts.source,
        event_counts.days_off,
        event_counts.advertiser_id,
        sum(event_counts.lines) AS lines
    FROM pg_temp.event_counts
    GROUP BY event_counts.source, event_counts.days_off, event_counts.advertiser_id
),

counted AS (
    SELECT
        by_advertiser.source,
        sum(by_advertiser.lines) FILTER (WHERE active_advertisers.advertiser_id IS NOT NULL) AS kept,
        sum(by_advertiser.lines) FILTER (WHERE by_advertiser.advertiser_id IS NULL) AS other_day,
        sum(by_advertiser.lines) FILTER (
            WHERE by_advertiser.advertiser_id IS NOT NULL AND active_advertisers.advertiser_id IS NULL
        ) AS inactive,
        count(active_advertisers.advertiser_id) AS advertisers,
        sum(by_advertiser.lines) FILTER (WHERE by_advertiser.days_off = -1) AS day_before,
        sum(by_advertiser.lines) FILTER (WHERE by_advertiser.days_off = 1) AS day_after
    FROM by_advertiser
    LEFT JOIN pg_temp.active_advertisers ON by_advertiser.advertiser_id = active_advertisers.advertiser_id
    GROUP BY by_advertiser.source
)

SELECT
    %(ds)s::date AS date,
    delivered.source,
    delivered.delivered,
    coalesce(counted.kept, 0) AS kept,
    coalesce(counted.other_day, 0) AS other_day,
    coalesce(counted.inactive, 0) AS inactive,
    delivered.rejected,
    coalesce(counted.advertisers, 0) AS advertisers,
    coalesce(counted.day_before, 0) AS day_before,
    coalesce(counted.day_after, 0) AS day_after
FROM delivered
LEFT JOIN counted ON delivered.source = counted.source
WHERE delivered.source IN ('product_views', 'ads_views');
