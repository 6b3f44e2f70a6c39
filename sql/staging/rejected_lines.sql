-- pg_temp.rejected_lines: lines that could not be read, on their way to staging.rejected_lines.
-- Grain: line. Parameters: none.
CREATE TEMPORARY TABLE rejected_lines (
    source text NOT NULL,
    uri text NOT NULL,
    line_number bigint NOT NULL,
    reason text NOT NULL,
    line bytea NOT NULL
);
