-- pg_temp.distinct_lines: the lines of pg_temp.blocks counted.
-- Grain: one distinct line; lines says how often it stands in the object. Parameters: none.
INSERT INTO pg_temp.distinct_lines (line, lines)
SELECT
    delivered.line,
    count(*) AS lines
FROM pg_temp.blocks
CROSS JOIN LATERAL string_to_table(blocks.block, E'\n') AS delivered (line)
GROUP BY delivered.line
