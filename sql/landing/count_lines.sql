-- pg_temp.distinct_lines: The lines of pg_temp.pages, counted.
-- Grain: one distinct line; lines says how often it stands in the object
-- Source: pg_temp.pages.
-- Parameters: none.
INSERT INTO pg_temp.distinct_lines (line, lines)
SELECT
    delivered.line,
    count(*) AS lines
FROM pg_temp.pages
CROSS JOIN LATERAL string_to_table(pages.page, E'\n') AS delivered (line)
GROUP BY delivered.line
