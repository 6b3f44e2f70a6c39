-- The lines of the days beside the day that no run counts, as far as that can be told.
-- Grain: log. Parameters: ds, the log day; daily, the logs that have a delivery of their own for every day.
-- A delivery for every day: whatever it holds of another day is in that day's delivery too, or is lost. One object for
-- all days: when it holds some lines of the day before, but not as many as were loaded then, it was replaced by a newer
-- one, and those lines came too late.
SELECT
    accounting.source,
    accounting.day_before,
    CASE WHEN accounting.source = any(%(daily)s) THEN accounting.day_after ELSE 0 END AS day_after
FROM staging.accounting
LEFT JOIN staging.accounting AS earlier
    ON
        accounting.source = earlier.source
        AND earlier.date = accounting.date - 1
WHERE
    accounting.date = %(ds)s::date
    AND CASE
        WHEN accounting.source = any(%(daily)s) THEN accounting.day_before + accounting.day_after > 0
        ELSE accounting.day_before > 0 AND accounting.day_before < earlier.kept + earlier.inactive
    END
ORDER BY accounting.source
