-- pg_temp.event_counts: The views, counted.
-- Grain: advertiser and product of the day; the day before, the day after and all others are a row each, without ids
-- Source: pg_temp.product_views.
-- Parameters: ds, the log day.
--
-- Counted before it is joined to the active list, and before the days are told apart: the groups are far fewer than
-- the events.
WITH counted AS (
    SELECT
        product_views.date,
        product_views.advertiser_id,
        product_views.product_id,
        sum(product_views.lines) AS views
    FROM pg_temp.product_views
    GROUP BY 1, 2, 3
)

SELECT
    'product_views' AS source,
    CASE WHEN abs(counted.date - %(ds)s::date) <= 1 THEN counted.date - %(ds)s::date END AS days_off,
    CASE WHEN counted.date = %(ds)s::date THEN counted.advertiser_id END AS advertiser_id,
    CASE WHEN counted.date = %(ds)s::date THEN counted.product_id END AS product_id,
    0 AS impressions,
    0 AS clicks,
    sum(counted.views) AS views,
    sum(counted.views) AS lines
FROM counted
GROUP BY 2, 3, 4
