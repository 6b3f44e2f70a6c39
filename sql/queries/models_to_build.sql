-- The models whose candidates of the day were not built from the load that the day stands on: another run has loaded
-- the day anew, or the model was never built.
-- Grain: model. Parameters: ds; models, the names of all current models.
SELECT expected.model
FROM unnest(%(models)s::text[]) AS expected (model)
LEFT JOIN staging.loads ON loads.date = %(ds)s::date
LEFT JOIN models.builds
    ON
        expected.model = builds.model
        AND loads.date = builds.date
        AND loads.load_id = builds.load_id
WHERE builds.model IS NULL
ORDER BY expected.model
