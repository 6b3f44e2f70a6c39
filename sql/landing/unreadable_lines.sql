-- pg_temp.unreadable_lines: The distinct lines of an object that can not be read.
-- Grain: distinct line, without its carriage return
-- Source: pg_temp.pages, counted (count_lines.sql), by what COPY says of the lines.
-- Parameters: none.
CREATE TEMPORARY TABLE unreadable_lines (
    line text COLLATE "C" NOT NULL,
    reason text NOT NULL
);
