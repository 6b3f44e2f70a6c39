-- staging.source_objects: The S3 objects that a day was loaded from.
-- Grain: log day, object
-- Source: S3: what was listed, and what was counted while it was read.
-- Freshness: FiltrarDatos, when it loads the day; the day is deleted and written again.
-- Parameters: ds, the log day; objects, a JSON array of objects with the columns below, without date.
-- date: Log day, UTC
-- source: advertiser_ids, exclusions, product_views or ads_views
-- uri: S3 URI
-- etag: S3 ETag of the bytes that were read
-- size_bytes: Size on S3, bytes (compressed, where it is)
-- lines: Lines delivered, without the header
-- rejected: Lines that could not be read; they are in staging.rejected_lines
DELETE FROM staging.source_objects
WHERE source_objects.date = %(ds)s::date;

INSERT INTO staging.source_objects (date, source, uri, etag, size_bytes, lines, rejected)
SELECT
    %(ds)s::date AS date,
    landed.source,
    landed.uri,
    landed.etag,
    landed.size_bytes,
    landed.lines,
    landed.rejected
FROM json_to_recordset(%(objects)s::json) AS landed (
    source text,
    uri text,
    etag text,
    size_bytes bigint,
    lines bigint,
    rejected bigint
);
