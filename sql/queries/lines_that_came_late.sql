-- The logs that have, in one object for all days, more lines of the day before than when that was loaded
-- and published.
-- Grain: log. Parameters: ds, the log day; daily, the logs that have a delivery of their own for every day.
SELECT
    accounting.source,
    accounting.day_before AS lines_now,
    earlier.kept + earlier.inactive AS lines_then
FROM staging.accounting
INNER JOIN staging.accounting AS earlier
    ON
        accounting.source = earlier.source
        AND earlier.date = accounting.date - 1
WHERE
    accounting.date = %(ds)s::date
    AND accounting.source <> all(%(daily)s)
    AND accounting.day_before > earlier.kept + earlier.inactive
    AND EXISTS (
        SELECT 1
        FROM marts.publications
        WHERE publications.date = earlier.date
    )
ORDER BY accounting.source
