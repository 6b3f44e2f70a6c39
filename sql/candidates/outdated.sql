-- The published lists to rank again: they look back on a day that was loaded after they were ranked.
-- Grain: log day, model. Parameters: ds; models, the names of all current models.
-- Those of the day, and those that look back on the day. Oldest first, as a night would have ranked them.
SELECT DISTINCT
    outdated_lists.date::text AS day,
    outdated_lists.model
FROM marts.outdated_lists
WHERE
    (outdated_lists.date = %(ds)s::date OR outdated_lists.newly_loaded = %(ds)s::date)
    AND outdated_lists.model = any(%(models)s)
ORDER BY day, outdated_lists.model
