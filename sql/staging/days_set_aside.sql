-- staging.days_set_aside: Published days that are loaded anew and not published again yet.
-- Grain: log day
-- Source: marts.publications.
-- Freshness: FiltrarDatos, before it replaces the counts of a published day; DBWriting of the day deletes it.
-- Parameters: ds, the log day.
-- date: Log day, UTC
--
-- The counts that readers see of such a day are in staging.product_daily_published.
INSERT INTO staging.days_set_aside (date)
SELECT %(ds)s::date AS date
WHERE
    EXISTS (
        SELECT 1
        FROM marts.publications
        WHERE publications.date = %(ds)s::date
    )
ON CONFLICT (date) DO NOTHING
