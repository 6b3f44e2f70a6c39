-- Counts of days that are not loaded go, and lists of days that are not published: of days whose month was left to be
-- dropped, and could not be. Models look back on days, not on loads: they would count them. Once a day of the month is
-- loaded again, nobody drops it.
-- In a transaction of its own, after that of sql/retention/months.sql, which drops what it can at once.
-- Parameters: none.
-- The days as an array: each is looked up by the index.
CREATE TEMPORARY TABLE counted ON COMMIT DROP AS
SELECT
    min(product_daily.date) AS first_day,
    max(product_daily.date) AS last_day
FROM staging.product_daily;

-- Days of the months that there are: each costs a lock, and between two backfills there may be decades.
CREATE TEMPORARY TABLE days_not_loaded ON COMMIT DROP AS
SELECT made.midnight::date AS date
FROM pg_temp.counted
INNER JOIN staging.months ON months.relation = 'staging.product_daily'::regclass
CROSS JOIN
    LATERAL generate_series(
        greatest(months.first_day, counted.first_day), least(months.end_day - 1, counted.last_day), interval '1 day'
    ) AS made (midnight)
WHERE
    made.midnight::date NOT IN (
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
CREATE TEMPORARY TABLE listed ON COMMIT DROP AS
SELECT
    min(recommendations.date) AS first_day,
    max(recommendations.date) AS last_day
FROM marts.recommendations;

DELETE FROM marts.recommendations
WHERE
    recommendations.date = any(array(
        SELECT made.midnight::date AS date
        FROM pg_temp.listed
        CROSS JOIN LATERAL generate_series(listed.first_day, listed.last_day, interval '1 day') AS made (midnight)
        WHERE
            made.midnight::date NOT IN (
                SELECT publications.date
                FROM marts.publications
            )
    ));
