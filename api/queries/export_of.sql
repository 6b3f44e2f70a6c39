-- GET /exports: which lists there are to export of a day, and what tells them from others.
-- Grain: model. Parameters: date, or NULL for the newest published day; model, in any spelling, or NULL for all.
-- lists: another text, other lists. `lasting`: a past day's, never published again, nor withdrawn.
WITH newest AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
)

SELECT
    publications.date,
    publications.model,
    publications.row_count,
    concat_ws(' ', publications.lists_hash, publications.published_at) AS lists,
    %(date)s::date IS NOT NULL AND publications.revision = 1 AND publications.date < newest.date AS lasting
FROM newest
INNER JOIN marts.publications ON publications.date = coalesce(%(date)s::date, newest.date)
WHERE
    %(model)s::text IS NULL
    OR lower(translate(publications.model, '-_', '')) = lower(translate(%(model)s::text, '-_', ''))
ORDER BY publications.model
