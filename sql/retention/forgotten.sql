-- Counts of days that are not loaded go: of days whose month was left to be dropped, and could not be. Models look back
-- on days, not on loads: they would count them.
-- In a transaction of its own, after that of sql/retention/months.sql, which drops what it can at once.
-- Parameters: none.
-- The days as an array: each is looked up by the index. Which are loaded is asked by the statement that deletes: what a
-- load has written by then is seen together with it.
CREATE TEMPORARY TABLE counted ON COMMIT DROP AS
SELECT
    min(product_daily.date) AS first_day,
    max(product_daily.date) AS last_day
FROM staging.product_daily;

CREATE TEMPORARY TABLE days_between ON COMMIT DROP AS
SELECT made.midnight::date AS date
FROM pg_temp.counted
CROSS JOIN LATERAL generate_series(counted.first_day, counted.last_day, interval '1 day') AS made (midnight);

DELETE FROM staging.product_daily
WHERE
    product_daily.date = any(array(
        SELECT days_between.date
        FROM pg_temp.days_between
        WHERE
            days_between.date NOT IN (
                SELECT loads.date
                FROM staging.loads
            )
    ));
