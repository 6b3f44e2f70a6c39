-- staging.rejected_lines: Quarantine: lines that could not be read, kept whole, of the newest attempt to load the day.
-- Grain: log day, line
-- Source: pg_temp.rejected_lines.
-- Freshness: FiltrarDatos, as soon as the logs have landed, whatever becomes of the day.
-- Parameters: ds, the log day.
-- date: Log day that was being loaded, UTC
-- source: advertiser_ids, product_views or ads_views
-- uri: S3 URI of the object
-- line_number: Line in the object, the header being line 1
-- reason: Why PostgreSQL could not read it
-- line: The bytes, as delivered; encode(line, 'escape') shows them
DELETE FROM staging.rejected_lines
WHERE rejected_lines.date = %(ds)s::date;

INSERT INTO staging.rejected_lines (date, source, uri, line_number, reason, line)
SELECT
    %(ds)s::date AS date,
    rejected_lines.source,
    rejected_lines.uri,
    rejected_lines.line_number,
    rejected_lines.reason,
    rejected_lines.line
FROM pg_temp.rejected_lines;
