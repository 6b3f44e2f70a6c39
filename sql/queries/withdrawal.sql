-- May the day be withdrawn, or restored? What is published, whether the day was loaded anew since it was (by which run,
-- when), which run may publish it again, and the withdrawal that the day is under.
-- Grain: one row. Parameters: ds, the log day.
SELECT
    (
        SELECT count(*) > 0
        FROM marts.publications
        WHERE publications.date = %(ds)s::date
    ) AS is_published,
    (SELECT min(publications.date)::text FROM marts.publications) AS first_day,
    (SELECT max(publications.date)::text FROM marts.publications) AS last_day,
    CASE
        WHEN
            jsonb_path_exists(
                withdrawals.lists,
                '$.*.load_id ? (@ <> $now)',
                jsonb_build_object('now', loads.load_id)
            )
            THEN loads.run_id || to_char(loads.loaded_at AT TIME ZONE 'UTC', ', YYYY-MM-DD HH24:MI UTC')
    END AS loaded_anew,
    withdrawals.restored_by,
    withdrawals.withdrawn_by,
    withdrawals.withdrawn_at,
    withdrawals.why
FROM (VALUES (%(ds)s::date)) AS asked (date)
LEFT JOIN marts.withdrawals
    ON
        asked.date = withdrawals.date
        AND withdrawals.restored_at IS NULL
LEFT JOIN staging.loads ON asked.date = loads.date
