-- pg_temp.event_counts: What the sessions that landed the logs counted in them.
-- Grain: session that landed objects of a log, advertiser of the day; the lines of the day before (days_off -1), of the
-- day after (1) and of all others (null) are a row each, without ids
-- Source: pg_temp.ads_views, pg_temp.product_views (ads_views_counts.sql, product_views_counts.sql).
-- Parameters: none.
--
-- An advertiser's products, as they were spelled, and their counts are arrays of one order; what its log does not count
-- is null. A row costs COPY more than what is in it, and who reads the rows in the order of advertisers need only sort
-- the products of one at a time. Arrays are not compressed: they are read once.
CREATE TEMPORARY TABLE event_counts (
    source text NOT NULL,
    days_off integer,
    advertiser_id text COLLATE "C",
    products text[] COLLATE "C",
    impressions integer[],
    clicks integer[],
    views integer[],
    lines bigint NOT NULL
);

ALTER TABLE pg_temp.event_counts
ALTER COLUMN products SET STORAGE EXTERNAL,
ALTER COLUMN impressions SET STORAGE EXTERNAL,
ALTER COLUMN clicks SET STORAGE EXTERNAL,
ALTER COLUMN views SET STORAGE EXTERNAL;
