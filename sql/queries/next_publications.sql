-- The published days whose lists were compared with the day's: of each model the next one.
-- Grain: log day. Parameters: ds, the log day.
SELECT DISTINCT next_days.date::text AS day
FROM (
    SELECT min(publications.date) AS date
    FROM marts.publications
    WHERE publications.date > %(ds)s::date
    GROUP BY publications.model
) AS next_days
ORDER BY day
