-- A model makes no product up: each had an event on the day or in the 30 days before it.
-- Parameters: ds; models, the names of all current models. A row returned = the promise is broken.
-- Asked of the candidates, which are what is listed, where their counts are.
SELECT
    candidates.model,
    candidates.advertiser_id,
    candidates.product_id
FROM models.candidates
WHERE
    candidates.date = %(ds)s::date
    AND candidates.model = any(%(models)s)
    AND NOT EXISTS (
        -- Day by day, each a look-up by the whole primary key: GROUP BY leaves the planner no other way, such as to
        -- read what there is of the product on all days ever.
        SELECT 1
        FROM generate_series(0, 30) AS back (days)
        CROSS JOIN LATERAL (
            SELECT 1 AS found
            FROM staging.product_daily
            WHERE
                product_daily.date = %(ds)s::date - back.days
                AND product_daily.advertiser_id = candidates.advertiser_id
                AND product_daily.product_id = candidates.product_id
            GROUP BY product_daily.advertiser_id
        ) AS seen
    )
