-- pg_temp.rejected_lines: Every line of pg_temp.pages that is one of pg_temp.unreadable_lines, with its number.
-- Grain: line
-- Source: pg_temp.pages, pg_temp.unreadable_lines.
-- Parameters: source, uri.
--
-- In the pages a line may end in a carriage return, which is not of the line. Both spellings are so few that they are
-- hashed; joined to the distinct lines as well, all delivered lines would be sorted.
WITH unreadable AS (
    SELECT
        unreadable_lines.line,
        min(unreadable_lines.reason) AS reason
    FROM pg_temp.unreadable_lines
    GROUP BY unreadable_lines.line
)

INSERT INTO pg_temp.rejected_lines (source, uri, line_number, reason, line)
SELECT
    %(source)s AS source,
    %(uri)s AS uri,
    pages.first_line + delivered.place - 1 AS line_number,
    unreadable.reason,
    convert_to(unreadable.line, 'UTF8') AS line
FROM pg_temp.pages
CROSS JOIN LATERAL string_to_table(pages.page, E'\n') WITH ORDINALITY AS delivered (line, place)
INNER JOIN
    (
        SELECT
            unreadable.line || spelled.line_end AS delivered_line,
            unreadable.line,
            unreadable.reason
        FROM unreadable
        CROSS JOIN (VALUES (''), (E'\r')) AS spelled (line_end)
    ) AS unreadable
    ON delivered.line = unreadable.delivered_line
