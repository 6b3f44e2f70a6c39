-- Few lines are rejected: at most max_rejected_share of the lines of the day, of every source.
-- Parameters: ds, max_rejected_share (0 to 1). A row returned = the promise is broken.
--
-- A line whose date can be read counts for its day, so that a bad day shows among good ones and does not stop them. One
-- whose date can not be read may be of any day in the log: it counts for each. A blank line says nothing, and counts
-- for none.
WITH rejected AS (
    SELECT
        rejected_lines.source,
        rejected_lines.uri,
        rejected_lines.line_number,
        rejected_lines.reason,
        rejected_lines.line,
        count(*) OVER (PARTITION BY rejected_lines.source) AS lines,
        count(*) OVER (PARTITION BY rejected_lines.source, rejected_lines.reason) AS lines_with_this_reason,
        row_number() OVER (
            PARTITION BY rejected_lines.source, rejected_lines.reason
            ORDER BY rejected_lines.uri ASC, rejected_lines.line_number ASC
        ) AS place
    FROM staging.rejected_lines
    WHERE
        rejected_lines.date = %(ds)s::date
        AND coalesce(rejected_lines.line_date, %(ds)s::date) = %(ds)s::date
        AND btrim(rejected_lines.line, '\x20090d'::bytea) <> ''::bytea
),

readable AS (
    SELECT
        source_objects.source,
        coalesce(accounting.kept + accounting.inactive, sum(source_objects.lines - source_objects.rejected)) AS lines
    FROM staging.source_objects
    LEFT JOIN staging.accounting
        ON
            source_objects.date = accounting.date
            AND source_objects.source = accounting.source
    WHERE source_objects.date = %(ds)s::date
    GROUP BY source_objects.source, accounting.kept, accounting.inactive
)

SELECT
    rejected.source,
    (readable.lines + rejected.lines)::bigint AS lines,
    rejected.lines AS rejected,
    %(max_rejected_share)s AS max_rejected_share,
    rejected.reason,
    rejected.lines_with_this_reason,
    rejected.uri,
    rejected.line_number AS first_line,
    encode(substring(rejected.line FROM 1 FOR 200), 'escape') AS first_line_text
FROM rejected
INNER JOIN readable ON rejected.source = readable.source
WHERE
    rejected.place = 1
    AND rejected.lines > (readable.lines + rejected.lines) * %(max_rejected_share)s::numeric
ORDER BY rejected.source ASC, rejected.lines_with_this_reason DESC, rejected.reason ASC
