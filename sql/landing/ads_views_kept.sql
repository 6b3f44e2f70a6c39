-- S3 intermediate ads_views: What FiltrarDatos keeps of the ad events: the day's, of active advertisers, in the
-- columns of the raw log.
-- Grain: one distinct line; lines, the last column, says how often it stands in the log
-- Source: pg_temp.event_counts, pg_temp.active_advertisers.
-- Parameters: ds, the log day.
--
-- Read from the counts: the log has no column that they lack, so the events need not be read a second time.
-- Ordered, so that the same events give the same bytes, in whatever order they were delivered.
SELECT
    event_counts.advertiser_id,
    event_counts.product_id,
    counted.type,
    %(ds)s::date AS date,
    counted.lines
FROM pg_temp.event_counts
INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
CROSS JOIN
    LATERAL unnest(
        ARRAY['impression', 'click'], ARRAY[event_counts.impressions, event_counts.clicks]
    ) AS counted (type, lines)
WHERE
    event_counts.source = 'ads_views'
    AND counted.lines > 0
ORDER BY event_counts.advertiser_id ASC, event_counts.product_id ASC, counted.type DESC
