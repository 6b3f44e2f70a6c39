-- Every current model has lists, as many rows as were built; none only where all that it ranked is excluded or hidden.
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
LEFT JOIN models.builds
    ON
        expected.model = builds.model
        AND builds.date = %(ds)s::date
WHERE
    CASE
        WHEN publications.row_count = 0 AND builds.left_out > 0 THEN published.row_count > 0
        ELSE published.row_count IS DISTINCT FROM publications.row_count
    END
