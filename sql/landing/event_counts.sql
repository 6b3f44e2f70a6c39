-- pg_temp.event_counts: What the sessions that landed the logs counted in them.
-- Grain: session that landed objects of a log, advertiser and product of the day as they were spelled; the lines of the
-- day before (days_off -1), of the day after (1) and of all others (null) are a row each, without ids
-- Source: pg_temp.ads_views, pg_temp.product_views (ads_views_counts.sql, product_views_counts.sql).
-- Parameters: none.
CREATE TEMPORARY TABLE event_counts (
    source text NOT NULL,
    days_off integer,
    advertiser_id text COLLATE "C",
    product_id text COLLATE "C",
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    views bigint NOT NULL,
    lines bigint NOT NULL
);
