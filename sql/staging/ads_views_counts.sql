-- The ad events counted, in the shape of pg_temp.event_counts.
-- Grain: advertiser and product of the day; all other days together are one row without ids.
-- Parameters: ds, the log day.
-- Counted before it is joined to the active list: the groups are far fewer than the events.
SELECT
    'ads_views' AS source,
    CASE WHEN ads_views.date = %(ds)s::date THEN ads_views.advertiser_id END AS advertiser_id,
    CASE WHEN ads_views.date = %(ds)s::date THEN ads_views.product_id END AS product_id,
    count(*) FILTER (WHERE ads_views.type = 'impression') AS impressions,
    count(*) FILTER (WHERE ads_views.type = 'click') AS clicks,
    0 AS views,
    count(*) AS lines
FROM pg_temp.ads_views
GROUP BY 2, 3
