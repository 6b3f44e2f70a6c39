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
        SELECT 1
        FROM staging.product_daily
        WHERE
            product_daily.advertiser_id = recommendations.advertiser_id
            AND product_daily.product_id = recommendations.product_id
            AND product_daily.date BETWEEN %(ds)s::date - 30 AND %(ds)s::date
    )
