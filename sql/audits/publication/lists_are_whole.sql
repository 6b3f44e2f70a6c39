-- A list runs from rank 1 without a gap, has at most 20 products, none twice, and numbers as scores that never rise.
-- Parameters: ds. A row returned = the promise is broken.
WITH neighbours AS (
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        recommendations.rank,
        recommendations.product_id,
        recommendations.score,
        lag(recommendations.score) OVER list AS score_above
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    WINDOW
        list AS (
            PARTITION BY recommendations.model, recommendations.advertiser_id
            ORDER BY recommendations.rank
        )
)

SELECT
    neighbours.model,
    neighbours.advertiser_id,
    count(*) AS products,
    count(DISTINCT neighbours.product_id) AS distinct_products,
    max(neighbours.rank) AS last_rank,
    bool_or(neighbours.score > neighbours.score_above) AS score_rises
FROM neighbours
GROUP BY neighbours.model, neighbours.advertiser_id
HAVING
    count(*) > 20
    OR max(neighbours.rank) <> count(*)
    OR count(DISTINCT neighbours.product_id) <> count(*)
    OR bool_or(neighbours.score > neighbours.score_above)
    -- NaN is above all numbers.
    OR max(neighbours.score) >= 'Infinity'
    OR min(neighbours.score) = '-Infinity'
