-- pg_temp.distinct_lines as CSV again: how often the line stands in the object, a comma, the line.
-- Grain: one distinct line
-- Source: pg_temp.distinct_lines.
-- Parameters: none.
--
-- The carriage return before a line feed is the end of the line, not of its last value. A line with one of the control
-- characters below would be quoted together with its count: whoever reads that meets no number, and refuses it.
COPY (
    SELECT distinct_lines.lines || ',' || regexp_replace(distinct_lines.line, E'\r$', '')
    FROM pg_temp.distinct_lines
) TO STDOUT WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')
