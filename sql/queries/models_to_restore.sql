-- The models whose candidates of the day are not there to be published: deleted since they were published, built from
-- another load than the day stands on, or never built.
-- Grain: model. Parameters: ds; models, the names of all current models.
WITH kept AS (
    SELECT
        candidates.model,
        count(*) AS row_count
    FROM models.candidates
    WHERE candidates.date = %(ds)s::date
    GROUP BY candidates.model
)

SELECT expected.model
FROM unnest(%(models)s::text[]) AS expected (model)
LEFT JOIN staging.loads ON loads.date = %(ds)s::date
LEFT JOIN models.builds
    ON
        expected.model = builds.model
        AND loads.date = builds.date
        AND loads.load_id = builds.load_id
LEFT JOIN kept ON expected.model = kept.model
WHERE builds.row_count IS DISTINCT FROM coalesce(kept.row_count, 0)
ORDER BY expected.model
