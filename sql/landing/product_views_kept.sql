-- S3 intermediate product_views: What FiltrarDatos keeps of the views: the day's, of active advertisers, in the
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
    %(ds)s::date AS date,
    sum(event_counts.views) AS lines
FROM pg_temp.event_counts
INNER JOIN pg_temp.active_advertisers ON event_counts.advertiser_id = active_advertisers.advertiser_id
WHERE event_counts.source = 'product_views'
GROUP BY event_counts.advertiser_id, event_counts.product_id
ORDER BY event_counts.advertiser_id ASC, event_counts.product_id ASC
