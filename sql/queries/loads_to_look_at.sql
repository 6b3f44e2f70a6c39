-- The objects that the published days before stand on, of the logs that have a delivery of their own for every day: to
-- see whether something was delivered since.
-- Grain: log day, object. Parameters: ds, the log day; late_days, how many days before it; daily, these logs.
SELECT
    source_objects.date::text AS day,
    source_objects.source,
    source_objects.uri,
    source_objects.etag,
    source_objects.size_bytes
FROM staging.source_objects
INNER JOIN staging.loads ON source_objects.date = loads.date
WHERE
    source_objects.date BETWEEN %(ds)s::date - %(late_days)s::integer AND %(ds)s::date - 1
    AND source_objects.source = any(%(daily)s)
    AND EXISTS (
        SELECT 1
        FROM marts.publications
        WHERE publications.date = source_objects.date
    )
ORDER BY source_objects.date, source_objects.source
