-- pg_temp.event_counts: The ad events, counted.
-- Grain: advertiser of the day; the day before, the day after and all others are a row each, without ids
-- Source: pg_temp.ads_views.
-- Parameters: ds, the log day.
--
-- The day is that of the moment in UTC, as the session is, and a time without an offset. Reading it takes longer than
-- counting: the log day is known as it is spelled, and a mere date is read as one. Ids are trimmed once counted.
-- Counted before it is joined to the active list, and before the days are told apart: the groups are far fewer than
-- the events. A line that is no click is an impression; the table's constraint says so.
WITH counted AS (
    SELECT
        CASE
            WHEN ads_views.date = %(ds)s THEN 0
            WHEN
                octet_length(ads_views.date) = 10 AND ads_views.date LIKE '____-__-__'
                THEN ads_views.date::date - %(ds)s::date
            ELSE ads_views.date::timestamptz::date - %(ds)s::date
        END AS days_off,
        ads_views.advertiser_id,
        ads_views.product_id,
        sum(ads_views.lines) FILTER (WHERE ads_views.type = 'click') AS clicks,
        sum(ads_views.lines) AS lines
    FROM pg_temp.ads_views
    GROUP BY 1, 2, 3
)

SELECT
    'ads_views' AS source,
    CASE WHEN abs(counted.days_off) <= 1 THEN counted.days_off END AS days_off,
    CASE WHEN counted.days_off = 0 THEN btrim(counted.advertiser_id, E' \t\r\n\u00a0') END AS advertiser_id,
    array_agg(btrim(counted.product_id, E' \t\r\n\u00a0')) FILTER (WHERE counted.days_off = 0) AS products,
    array_agg((counted.lines - coalesce(counted.clicks, 0))::integer) FILTER (
        WHERE counted.days_off = 0
    ) AS impressions,
    array_agg(coalesce(counted.clicks, 0)::integer) FILTER (WHERE counted.days_off = 0) AS clicks,
    NULL::integer[] AS views,
    sum(counted.lines)::bigint AS lines
FROM counted
GROUP BY 2, 3
