-- S3 intermediate ads_views: What FiltrarDatos keeps of the ad events: the day's, of active advertisers, in the
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
        counts.impressions,
        counts.clicks
    FROM (
        SELECT
            event_counts.advertiser_id,
            event_counts.products,
            event_counts.impressions,
            event_counts.clicks
        FROM pg_temp.event_counts
        INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
        WHERE event_counts.source = 'ads_views'
        ORDER BY event_counts.advertiser_id
    ) AS in_order
    CROSS JOIN
        LATERAL unnest(in_order.products, in_order.impressions, in_order.clicks) AS counts (
            product_id, impressions, clicks
        )
    ORDER BY in_order.advertiser_id, counts.product_id
),

kept AS (
    SELECT
        counted.advertiser_id,
        counted.product_id,
        sum(counted.impressions) AS impressions,
        sum(counted.clicks) AS clicks
    FROM counted
    GROUP BY counted.advertiser_id, counted.product_id
)

SELECT
    kept.advertiser_id,
    kept.product_id,
    by_type.type,
    %(ds)s::date AS date,
    by_type.lines
FROM kept
CROSS JOIN
    LATERAL unnest(
        ARRAY['impression', 'click'], ARRAY[kept.impressions, kept.clicks]
    ) AS by_type (type, lines)
WHERE by_type.lines > 0
ORDER BY kept.advertiser_id ASC, kept.product_id ASC, by_type.type DESC
