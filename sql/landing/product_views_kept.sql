-- S3 intermediate product_views: What FiltrarDatos keeps of the views: the day's, of active advertisers, in the
-- columns of the raw log.
-- Grain: one distinct line; lines, the last column, says how often it stands in the log
-- Source: pg_temp.event_counts, pg_temp.active_advertisers.
-- Parameters: ds, the log day.
--
-- Read from the counts: the log has no column that they lack, so the events need not be read a second time.
-- Read in the order of advertisers, so that the products of one at a time are sorted and added up.
-- Ordered, so that the same events give the same bytes, in whatever order they were delivered.
WITH counted AS (
    SELECT
        in_order.advertiser_id,
        counts.product_id,
        counts.views
    FROM (
        SELECT
            event_counts.advertiser_id,
            event_counts.products,
            event_counts.views
        FROM pg_temp.event_counts
        INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
        WHERE event_counts.source = 'product_views'
        ORDER BY event_counts.advertiser_id
    ) AS in_order
    CROSS JOIN LATERAL unnest(in_order.products, in_order.views) AS counts (product_id, views)
    ORDER BY in_order.advertiser_id, counts.product_id
)

SELECT
    counted.advertiser_id,
    counted.product_id,
    %(ds)s::date AS date,
    sum(counted.views) AS lines
FROM counted
GROUP BY counted.advertiser_id, counted.product_id
ORDER BY counted.advertiser_id ASC, counted.product_id ASC
