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
        -- Day by day, each a look-up by the whole primary key.
        SELECT 1
        FROM generate_series(0, 30) AS back (days)
        INNER JOIN staging.product_daily
            ON
                product_daily.date = %(ds)s::date - back.days
                AND product_daily.advertiser_id = recommendations.advertiser_id
                AND product_daily.product_id = recommendations.product_id
    )
