-- marts.data_quality: Where every delivered line of a loaded day went: delivered = kept + other_day + inactive +
-- rejected.
-- Grain: log day, source
-- Source: staging.source_objects, staging.accounting.
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: Log day, UTC
-- source: advertiser_ids, exclusions, product_views or ads_views
-- objects: S3 objects read
-- size_bytes: Their size on S3, bytes
-- delivered: Lines in them, without headers
-- kept: Lines of the day, of active advertisers; null for advertiser_ids
-- other_day: Lines of another day; null for advertiser_ids
-- inactive: Lines of the day, of advertisers not on its active list; null for advertiser_ids
-- rejected: Lines that could not be read; for a while in staging.rejected_lines
-- rejected_share: rejected / delivered, 0 to 1
-- advertisers: Active advertisers with a line of the day; null for advertiser_ids, and where it was not counted yet
-- day_before: Of other_day, lines of the day before; likewise. Where every day has a delivery of its own ({ds} in the
-- URI) no run counts them
-- day_after: Of other_day, lines of the day after; likewise
-- repeated_objects: Objects that have the ETag and the size of another one of the same delivery, and lines: delivered
-- twice? Their lines were counted each time
SELECT
    source_objects.date,
    source_objects.source,
    count(*) AS objects,
    sum(source_objects.size_bytes)::bigint AS size_bytes,
    sum(source_objects.lines)::bigint AS delivered,
    accounting.kept,
    accounting.other_day,
    accounting.inactive,
    sum(source_objects.rejected)::bigint AS rejected,
    sum(source_objects.rejected)::double precision / nullif(sum(source_objects.lines), 0) AS rejected_share,
    accounting.advertisers,
    accounting.day_before,
    accounting.day_after,
    count(*) FILTER (WHERE source_objects.lines > 0)
    - count(DISTINCT source_objects.etag || ' ' || source_objects.size_bytes)
    FILTER (WHERE source_objects.lines > 0) AS repeated_objects
FROM staging.source_objects
LEFT JOIN staging.accounting
    ON
        source_objects.date = accounting.date
        AND source_objects.source = accounting.source
GROUP BY
    source_objects.date,
    source_objects.source,
    accounting.kept,
    accounting.other_day,
    accounting.inactive,
    accounting.advertisers,
    accounting.day_before,
    accounting.day_after
