-- Counts of days that are not loaded go, and lists of days that are not published: of days whose month was left to be
-- dropped, and could not be. Models look back on days, not on loads: they would count them. Once a day of the month is
-- loaded again, nobody drops it.
-- In a transaction of its own, after that of sql/retention/months.sql, which drops what it can at once.
-- Parameters: none.
-- The days as an array: each is looked up by the index. They are those of the months that there are, since each costs a
-- lock and between two backfills there may be decades; of one without a first day those since the first counts.
CREATE TEMPORARY TABLE days_not_loaded ON COMMIT DROP AS
SELECT made.midnight::date AS date
FROM staging.months
CROSS JOIN
    LATERAL generate_series(
        CASE
            WHEN isfinite(months.first_day) THEN months.first_day
            ELSE (
                SELECT min(product_daily.date)
                FROM staging.product_daily
            )
        END, months.end_day - 1, interval '1 day'
    ) AS made (midnight)
WHERE
    months.relation = 'staging.product_daily'::regclass
    AND made.midnight::date NOT IN (
        SELECT loads.date
        FROM staging.loads
    );

-- The lock of elt.warehouse.lock_day. A day that somebody loads now stays, and so does one that was loaded since that
-- look: on Citus its counts may be seen without it.
DELETE FROM pg_temp.days_not_loaded
WHERE NOT pg_try_advisory_xact_lock(24256, days_not_loaded.date - '0001-01-01'::date + 1);

DELETE FROM pg_temp.days_not_loaded
WHERE
    days_not_loaded.date IN (
        SELECT loads.date
        FROM staging.loads
    );

DELETE FROM staging.product_daily
WHERE product_daily.date = any(array(SELECT days_not_loaded.date FROM pg_temp.days_not_loaded));

-- Nobody publishes meanwhile: the run holds the lock of all publications.
DELETE FROM marts.recommendations
WHERE
    recommendations.date = any(array(
        SELECT made.midnight::date AS date
        FROM staging.months
        CROSS JOIN
            LATERAL generate_series(
                CASE
                    WHEN isfinite(months.first_day) THEN months.first_day
                    ELSE (
                        SELECT min(listed.date)
                        FROM marts.recommendations AS listed
                    )
                END, months.end_day - 1, interval '1 day'
            ) AS made (midnight)
        WHERE
            months.relation = 'marts.recommendations'::regclass
            AND made.midnight::date NOT IN (
                SELECT publications.date
                FROM marts.publications
            )
    ));
