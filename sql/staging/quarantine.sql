-- staging.rejected_lines: the quarantine of the day becomes what this attempt to load it rejected.
-- Grain: log day, line. Parameters: ds, the log day. Reads pg_temp.rejected_lines.
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
