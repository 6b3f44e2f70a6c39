-- pg_temp.pages: A portion of an object as delivered, without its header and the times of day.
-- Grain: whole lines, about a page of them
-- Source: S3 ads_views, S3 product_views; where their lines repeat.
-- Parameters: none.
--
-- Emptied after every portion: a table made for each would cost locks.
-- What COPY takes long for is rows: a row a page is read about eight times as fast as a row a line. Nothing is
-- compressed; only a line that is longer than a page leaves the table.
CREATE TEMPORARY TABLE pages (
    page text COLLATE "C" NOT NULL
) WITH (toast_tuple_target = 8160);

ALTER TABLE pg_temp.pages ALTER COLUMN page SET STORAGE EXTERNAL;
