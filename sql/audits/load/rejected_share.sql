-- Few lines are rejected: at most max_rejected_share of the lines of a source.
-- Parameters: ds, max_rejected_share (0 to 1). A row returned = the promise is broken.
WITH sources AS (
    SELECT
        source_objects.source,
        sum(source_objects.lines) AS lines,
        sum(source_objects.rejected) AS rejected
    FROM staging.source_objects
    WHERE source_objects.date = %(ds)s::date
    GROUP BY source_objects.source
),

reasons AS (
    SELECT
        rejected_lines.source,
        rejected_lines.reason,
        count(*) AS lines,
        min(rejected_lines.line_number) AS first_line
    FROM staging.rejected_lines
    WHERE rejected_lines.date = %(ds)s::date
    GROUP BY rejected_lines.source, rejected_lines.reason
)

SELECT
    sources.source,
    sources.lines,
    sources.rejected,
    %(max_rejected_share)s AS max_rejected_share,
    reasons.reason,
    reasons.lines AS lines_with_this_reason,
    reasons.first_line,
    encode(substring(rejected_lines.line FROM 1 FOR 200), 'escape') AS first_line_text
FROM sources
INNER JOIN reasons ON sources.source = reasons.source
INNER JOIN staging.rejected_lines
    ON
        reasons.source = rejected_lines.source
        AND reasons.reason = rejected_lines.reason
        AND reasons.first_line = rejected_lines.line_number
        AND rejected_lines.date = %(ds)s::date
WHERE sources.rejected > sources.lines * %(max_rejected_share)s::numeric
ORDER BY sources.source ASC, reasons.lines DESC
