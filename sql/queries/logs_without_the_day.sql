-- The logs that have no line of the day: they were not delivered yet, or are another day's.
-- Grain: log. Parameters: ds, the log day.
SELECT
    accounting.source,
    accounting.delivered,
    accounting.other_day,
    accounting.rejected
FROM staging.accounting
WHERE
    accounting.date = %(ds)s::date
    AND accounting.kept + accounting.inactive = 0
ORDER BY accounting.source
