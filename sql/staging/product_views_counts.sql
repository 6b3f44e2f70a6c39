-- The views counted, in the shape of pg_temp.event_counts.
-- Grain: advertiser and product of the day; all other days together are one row without ids.
-- Parameters: ds, the log day.
-- Counted before it is joined to the active list: the groups are far fewer than the events.
SELECT
    'product_views' AS source,
    CASE WHEN product_views.date = %(ds)s::date THEN product_views.advertiser_id END AS advertiser_id,
    CASE WHEN product_views.date = %(ds)s::date THEN product_views.product_id END AS product_id,
    0 AS impressions,
    0 AS clicks,
    count(*) AS views,
    count(*) AS lines
FROM pg_temp.product_views
GROUP BY 2, 3
