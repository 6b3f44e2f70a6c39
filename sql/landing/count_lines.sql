-- The lines of pg_temp.pages, counted as they are, as CSV: how often the line stands in them, a comma, the line.
-- Grain: one distinct line
-- Source: pg_temp.pages.
-- Parameters: none.
--
-- The carriage return before a line feed is the end of the line, not of its last value. A line with one of the control
-- characters below would be quoted together with its count: whoever reads that meets no number, and refuses it.
COPY (
    SELECT
        count(*) || ',' || CASE
            WHEN strpos(delivered.line, E'\r') > 0 THEN regexp_replace(delivered.line, E'\r$', '')
            ELSE delivered.line
        END
    FROM pg_temp.pages
    CROSS JOIN LATERAL string_to_table(pages.page, E'\n') AS delivered (line)
    GROUP BY delivered.line
) TO STDOUT WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')
