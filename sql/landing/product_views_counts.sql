-- pg_temp.event_counts: The views, counted.
-- Grain: advertiser of the day; the day before, the day after and all others are a row each, without ids
-- Source: pg_temp.product_views.
-- Parameters: ds, the log day.
--
-- The day is that of the moment in UTC, as the session is, and a time without an offset. Reading it takes longer than
-- counting: the log day is known as it is spelled, and a mere date is read as one. Ids are trimmed once counted.
-- Counted before it is joined to the active list, and before the days are told apart: the groups are far fewer than
-- the events.
WITH counted AS (
    SELECT
        CASE
            WHEN product_views.date = %(ds)s THEN 0
            WHEN
                octet_length(product_views.date) = 10 AND product_views.date LIKE '____-__-__'
                THEN product_views.date::date - %(ds)s::date
            ELSE product_views.date::timestamptz::date - %(ds)s::date
        END AS days_off,
        product_views.advertiser_id,
        product_views.product_id,
        sum(product_views.lines) AS views
    FROM pg_temp.product_views
    GROUP BY 1, 2, 3
)

SELECT
    'product_views' AS source,
    CASE WHEN abs(counted.days_off) <= 1 THEN counted.days_off END AS days_off,
    CASE WHEN counted.days_off = 0 THEN btrim(counted.advertiser_id, E' \t\r\n\u00a0') END AS advertiser_id,
    array_agg(btrim(counted.product_id, E' \t\r\n\u00a0')) FILTER (WHERE counted.days_off = 0) AS products,
    NULL::integer[] AS impressions,
    NULL::integer[] AS clicks,
    array_agg(counted.views::integer) FILTER (WHERE counted.days_off = 0) AS views,
    sum(counted.views)::bigint AS lines
FROM counted
GROUP BY 2, 3
