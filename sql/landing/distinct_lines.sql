-- pg_temp.distinct_lines: The lines of an object, counted as they are.
-- Grain: one distinct line, as in the pages; lines says how often it stands in the object
-- Source: pg_temp.pages (count_lines.sql).
-- Parameters: none.
CREATE TEMPORARY TABLE distinct_lines (
    line text COLLATE "C" NOT NULL,
    lines bigint NOT NULL
);
