-- The days before of which something may have been delivered since, and what is known of each: the objects that it
-- stands on, and those that it could not be loaded from. Published days, and those that a run was refused of.
-- Grain: log day. Parameters: ds, the log day; late_days, how many days before it; daily, the logs that have a delivery
-- of their own for every day.
-- Not a day that somebody withdrew, nor one that a run loads or publishes at this moment. Of one object for all
-- days the next day's load has counted whether there is anything of the day in it.
SELECT
    looked_at.date::text AS day,
    looked_at.is_published,
    coalesce(
        (
            SELECT jsonb_agg(jsonb_build_array(source_objects.source, source_objects.uri, source_objects.etag))
            FROM staging.source_objects
            WHERE
                looked_at.is_published
                AND source_objects.date = looked_at.date
        ),
        '[]'
    ) || coalesce(refused_loads.objects, '[]') AS objects
FROM (
    SELECT
        %(ds)s::date - earlier.days AS date,
        (
            SELECT count(*) > 0
            FROM marts.publications
            WHERE publications.date = %(ds)s::date - earlier.days
        ) AS is_published
    FROM generate_series(1, %(late_days)s::integer) AS earlier (days)
) AS looked_at
LEFT JOIN staging.loads ON looked_at.date = loads.date
LEFT JOIN staging.refused_loads
    ON
        looked_at.date = refused_loads.date
        AND refused_loads.refused_at > coalesce(loads.loaded_at, '-infinity')
WHERE
    (
        looked_at.is_published
        OR (
            refused_loads.date IS NOT NULL
            AND NOT EXISTS (
                SELECT 1
                FROM marts.withdrawals
                WHERE
                    withdrawals.date = looked_at.date
                    AND withdrawals.restored_at IS NULL
            )
            AND NOT EXISTS (
                SELECT 1
                FROM staging.accounting
                WHERE
                    accounting.date = looked_at.date + 1
                    AND accounting.source <> all(%(daily)s)
                    AND accounting.day_before = 0
            )
        )
    )
    -- The lock of elt.warehouse.lock_day, until this transaction ends.
    AND pg_try_advisory_xact_lock_shared(24256, looked_at.date - '0001-01-01'::date + 1)
ORDER BY looked_at.date
