-- May the day be withdrawn, or restored? What is published, and the withdrawal that the day is under.
-- Grain: one row. Parameters: ds, the log day.
SELECT
    (
        SELECT count(*) > 0
        FROM marts.publications
        WHERE publications.date = %(ds)s::date
    ) AS is_published,
    (SELECT min(publications.date)::text FROM marts.publications) AS first_day,
    (SELECT max(publications.date)::text FROM marts.publications) AS last_day,
    withdrawals.withdrawn_by,
    withdrawals.withdrawn_at,
    withdrawals.why
FROM (VALUES (%(ds)s::date)) AS asked (date)
LEFT JOIN marts.withdrawals
    ON
        asked.date = withdrawals.date
        AND withdrawals.restored_at IS NULL
