-- The days before that stand on a load which nobody has published: the run was killed, S3 was away, or a model failed,
-- which is told each time. Published days, and those that a run was refused of before it was loaded.
-- Grain: log day. Parameters: ds, the log day; late_days, how many days before it.
-- Not a day that an audit has kept from being published since, nor one that somebody withdrew, or that a run loads,
-- ranks or publishes at this moment.
SELECT
    loads.date::text AS day,
    published.models > 0 AS is_published
FROM staging.loads
CROSS JOIN
    LATERAL (
        SELECT count(*) AS models
        FROM marts.publications
        WHERE publications.date = loads.date
    ) AS published
WHERE
    loads.date BETWEEN %(ds)s::date - %(late_days)s::integer AND %(ds)s::date - 1
    AND CASE
        WHEN published.models > 0
            THEN EXISTS (
                SELECT 1
                FROM staging.days_set_aside
                WHERE days_set_aside.date = loads.date
            )
        ELSE
            EXISTS (
                SELECT 1
                FROM staging.refused_loads
                WHERE
                    refused_loads.date = loads.date
                    AND refused_loads.refused_at < loads.loaded_at
            )
            AND NOT EXISTS (
                SELECT 1
                FROM marts.withdrawals
                WHERE
                    withdrawals.date = loads.date
                    AND withdrawals.restored_at IS NULL
            )
    END
    AND NOT EXISTS (
        SELECT 1
        FROM staging.audit_results
        WHERE
            audit_results.date = loads.date
            AND audit_results.kind = 'publication'
            AND audit_results.broken_rows > 0
            AND audit_results.audited_at > loads.loaded_at
    )
    -- The lock of elt.warehouse.lock_day, alone, until this transaction ends: who ranks the day has it shared.
    AND pg_try_advisory_xact_lock(24256, loads.date - '0001-01-01'::date + 1)
ORDER BY loads.date
