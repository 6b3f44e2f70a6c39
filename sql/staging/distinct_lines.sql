-- pg_temp.distinct_lines: the lines of pg_temp.blocks counted. pg_temp.unreadable_lines: room for those among them that
-- can not be read.
-- Grain: one distinct line; lines says how often it stands in the object. Parameters: none.
DROP TABLE IF EXISTS pg_temp.distinct_lines, pg_temp.unreadable_lines;

CREATE TEMPORARY TABLE distinct_lines AS
SELECT
    delivered.line,
    count(*) AS lines
FROM pg_temp.blocks
CROSS JOIN LATERAL string_to_table(blocks.block, E'\n') AS delivered (line)
GROUP BY delivered.line;

CREATE TEMPORARY TABLE unreadable_lines (
    line text COLLATE "C" NOT NULL,
    reason text NOT NULL
);
