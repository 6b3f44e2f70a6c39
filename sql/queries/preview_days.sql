-- The loaded days of a range, and whether the model that is compared with is published on them.
-- Grain: log day. Parameters: first and last, days; against, the published model.
SELECT
    loads.date::text AS day,
    exists(
        SELECT 1
        FROM marts.publications
        WHERE
            publications.date = loads.date
            AND publications.model = %(against)s
    ) AS is_published
FROM staging.loads
WHERE loads.date BETWEEN %(first)s::date AND %(last)s::date
ORDER BY loads.date
