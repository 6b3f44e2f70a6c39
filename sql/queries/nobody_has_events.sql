-- Whether nobody on the active list has an event on the day: the first ids of the list, and of the logs.
-- Grain: one row, if it is so. Parameters: ds, the log day.
WITH active AS (
    SELECT array_agg(listed.advertiser_id ORDER BY listed.advertiser_id) AS ids
    FROM (
        SELECT active_advertisers.advertiser_id
        FROM pg_temp.active_advertisers
        ORDER BY active_advertisers.advertiser_id
        LIMIT 5
    ) AS listed
),

with_events AS (
    SELECT array_agg(counted.advertiser_id ORDER BY counted.advertiser_id) AS ids
    FROM (
        SELECT DISTINCT event_counts.advertiser_id
        FROM pg_temp.event_counts
        WHERE event_counts.advertiser_id IS NOT NULL
        ORDER BY event_counts.advertiser_id
        LIMIT 5
    ) AS counted
)

SELECT
    active.ids AS active,
    with_events.ids AS with_events
FROM active
CROSS JOIN with_events
WHERE
    NOT EXISTS (
        SELECT 1
        FROM staging.accounting
        WHERE
            accounting.date = %(ds)s::date
            AND accounting.kept > 0
    )
