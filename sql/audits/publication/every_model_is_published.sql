-- Every current model has lists, all made from the load that the day stands on, and as many rows as were built.
-- Parameters: ds; models, the names of all current models. A row returned = the promise is broken.
WITH published AS (
    SELECT
        recommendations.model,
        count(*) AS row_count
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    GROUP BY recommendations.model
)

SELECT
    expected.model,
    coalesce(published.row_count, 0) AS rows_published,
    publications.row_count AS rows_built,
    publications.load_id AS built_from_load,
    loads.load_id AS current_load
FROM unnest(%(models)s::text[]) AS expected (model)
LEFT JOIN published ON expected.model = published.model
LEFT JOIN marts.publications
    ON
        expected.model = publications.model
        AND publications.date = %(ds)s::date
LEFT JOIN staging.loads ON loads.date = %(ds)s::date
LEFT JOIN models.builds
    ON
        expected.model = builds.model
        AND builds.date = %(ds)s::date
WHERE
    published.row_count IS DISTINCT FROM publications.row_count
    OR builds.load_id IS DISTINCT FROM loads.load_id
