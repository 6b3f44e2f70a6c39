-- pg_temp.distinct_lines: the lines of pg_temp.blocks counted.
-- Grain: one distinct line; lines says how often it stands in the object. Parameters: none.
DROP TABLE IF EXISTS pg_temp.distinct_lines;

CREATE TEMPORARY TABLE distinct_lines AS
SELECT
    delivered.line,
    count(*) AS lines
FROM pg_temp.blocks
CROSS JOIN LATERAL string_to_table(blocks.block, E'\n') AS delivered (line)
GROUP BY delivered.line;
