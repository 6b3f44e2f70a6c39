-- S3 intermediate ads_views: What FiltrarDatos keeps of the ad events: the day's, of active advertisers, in the
-- columns of the raw log.
-- Grain: one distinct line; lines, the last column, says how often it stands in the log
-- Source: pg_temp.event_counts, pg_temp.active_advertisers.
-- Parameters: ds, the log day.
--
-- Read from the counts: the log has no column that they lack, so the events need not be read a second time.
-- Ordered, so that the same events give the same bytes, in whatever order they were delivered.
WITH kept AS (
    SELECT
        event_counts.advertiser_id,
        event_counts.product_id,
        sum(event_counts.impressions) AS impressions,
        sum(event_counts.clicks) AS clicks
    FROM pg_temp.event_counts
    INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
    WHERE event_counts.source = 'ads_views'
    GROUP BY event_counts.advertiser_id, event_counts.product_id
)

SELECT
    kept.advertiser_id,
    kept.product_id,
    counted.type,
    %(ds)s::date AS date,
    counted.lines
FROM kept
CROSS JOIN
    LATERAL unnest(
        ARRAY['impression', 'click'], ARRAY[kept.impressions, kept.clicks]
    ) AS counted (type, lines)
WHERE counted.lines > 0
ORDER BY kept.advertiser_id ASC, kept.product_id ASC, counted.type DESC
