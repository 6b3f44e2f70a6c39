-- Every current model has lists, as many rows as were built.
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
    publications.row_count AS rows_built
FROM unnest(%(models)s::text[]) AS expected (model)
LEFT JOIN published ON expected.model = published.model
LEFT JOIN marts.publications
    ON
        expected.model = publications.model
        AND publications.date = %(ds)s::date
WHERE published.row_count IS DISTINCT FROM publications.row_count
