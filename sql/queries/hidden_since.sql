-- The models that were built from the load that the day stands on, but before a product was last hidden or unhidden.
-- Grain: model. Parameters: ds, the log day; models, the names of all current models.
SELECT builds.model
FROM models.builds
INNER JOIN staging.loads
    ON
        builds.date = loads.date
        AND builds.load_id = loads.load_id
WHERE
    builds.date = %(ds)s::date
    AND builds.model = any(%(models)s)
    AND builds.hidings <> (
        SELECT count(*) + count(hidden_products.unhidden_at)
        FROM marts.hidden_products
    )
ORDER BY builds.model
