-- pg_temp.blocks: an object as delivered, without its header. pg_temp.distinct_lines, pg_temp.unreadable_lines: what is
-- made of it. All are emptied after every object.
-- Grain: blocks: whole lines, about a page of them; first_line is the number of the first one (the header is line 1).
-- The others: line, as in the blocks and without its carriage return.
-- Parameters: none.
-- What COPY takes long for is rows: a row a page is read about eight times as fast as a row a line. Nothing is
-- compressed; only a line that is longer than a page leaves the table.
CREATE TEMPORARY TABLE blocks (
    first_line bigint NOT NULL,
    block text COLLATE "C" NOT NULL
) WITH (toast_tuple_target = 8160);

ALTER TABLE pg_temp.blocks ALTER COLUMN block SET STORAGE EXTERNAL;

CREATE TEMPORARY TABLE distinct_lines (
    line text COLLATE "C" NOT NULL,
    lines bigint NOT NULL
);

CREATE TEMPORARY TABLE unreadable_lines (
    line text COLLATE "C" NOT NULL,
    reason text NOT NULL
);
