-- marts.rejected_reasons: Why lines of a log could not be read, counted, with an example of each.
-- Grain: log day, source, reason
-- Source: staging.rejected_lines: of the newest attempt to load the day, for as long as those are kept.
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: Log day that was being loaded, UTC
-- source: advertiser_ids, exclusions, product_views or ads_views
-- reason: Why PostgreSQL could not read them
-- lines: How many
-- uri: S3 object of the example
-- line_number: Line in that object, the header being line 1
-- example: The first line of them, its first 200 bytes, what is not printable escaped
--
-- Counted with the first line of each: nothing holds all lines in memory.
SELECT DISTINCT ON (rejected_lines.date, rejected_lines.source, rejected_lines.reason)
    rejected_lines.date,
    rejected_lines.source,
    rejected_lines.reason,
    count(*) OVER (
        PARTITION BY rejected_lines.date, rejected_lines.source, rejected_lines.reason
        ORDER BY rejected_lines.uri, rejected_lines.line_number
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS lines,
    rejected_lines.uri,
    rejected_lines.line_number,
    encode(substring(rejected_lines.line FROM 1 FOR 200), 'escape') AS example
FROM staging.rejected_lines
ORDER BY
    rejected_lines.date, rejected_lines.source, rejected_lines.reason, rejected_lines.uri, rejected_lines.line_number
