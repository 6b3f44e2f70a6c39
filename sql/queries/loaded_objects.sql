-- The objects that the day stands on, and its load, if it was loaded by the same SQL and the same way of landing.
-- Grain: object. Parameters: ds, the log day; filter_version, as in staging.loads.
SELECT
    source_objects.source,
    source_objects.uri,
    source_objects.etag,
    source_objects.size_bytes,
    loads.load_id::text AS load_id
FROM staging.source_objects
INNER JOIN staging.loads ON source_objects.date = loads.date
WHERE
    source_objects.date = %(ds)s::date
    AND loads.filter_version = %(filter_version)s
