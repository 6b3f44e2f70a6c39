-- pg_temp.blocks: an object as delivered, without its header.
-- Grain: whole lines, about a page of them; first_line is the number of the first one (the header is line 1).
-- Parameters: none.
-- What COPY takes long for is rows: a row a page is read about eight times as fast as a row a line. Nothing is
-- compressed; only a line that is longer than a page leaves the table.
DROP TABLE IF EXISTS pg_temp.blocks;

CREATE TEMPORARY TABLE blocks (
    first_line bigint NOT NULL,
    block text COLLATE "C" NOT NULL
) WITH (toast_tuple_target = 8160);

ALTER TABLE pg_temp.blocks ALTER COLUMN block SET STORAGE EXTERNAL;
