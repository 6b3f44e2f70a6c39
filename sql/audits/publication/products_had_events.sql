-- A model makes no product up: each had an event on the day or in the 30 days before it.
-- Parameters: ds. A row returned = the promise is broken.
SELECT
    recommendations.model,
    recommendations.advertiser_id,
    recommendations.product_id
FROM marts.recommendations
WHERE
    recommendations.date = %(ds)s::date
    AND NOT EXISTS (
        -- Day by day, each a look-up by the whole primary key: LIMIT leaves the planner no other way, such as to read
        -- what there is of the product on all days ever.
        SELECT 1
        FROM generate_series(0, 30) AS back (days)
        CROSS JOIN LATERAL (
            SELECT 1 AS found
            FROM staging.product_daily
            WHERE
                product_daily.date = %(ds)s::date - back.days
                AND product_daily.advertiser_id = recommendations.advertiser_id
                AND product_daily.product_id = recommendations.product_id
            ORDER BY product_daily.date
            LIMIT 1
        ) AS seen
    )
