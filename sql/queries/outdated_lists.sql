-- The published lists to rank again: they look back on a day that was loaded after they were ranked.
-- Grain: log day, model. Parameters: ds; models, the names of all current models.
-- Those of the day; those that look back on the day; and, where a run was killed after it had ranked such a list again,
-- those that are still to be published. None is more than 30 days later, the longest look back. Oldest first.
SELECT DISTINCT
    outdated_lists.date::text AS day,
    outdated_lists.model
FROM marts.outdated_lists
WHERE
    (
        outdated_lists.date = %(ds)s::date
        OR outdated_lists.newly_loaded = %(ds)s::date
        OR outdated_lists.newly_loaded IS NULL
    )
    AND outdated_lists.date BETWEEN %(ds)s::date AND %(ds)s::date + 30
    AND outdated_lists.model = any(%(models)s)
ORDER BY day, outdated_lists.model
