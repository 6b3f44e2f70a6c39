-- marts.model_agreement: how far each pair of models agrees about an advertiser on the day.
-- Grain: log day, advertiser, pair of models that both have a list for it. Parameters: ds, the log day.
-- jaccard = products on both lists / products on either.
-- rank_correlation: Spearman's, of the n products on both lists, ranked anew among themselves on each: no ties, so
-- 1 - 6 * (sum of squared differences of rank) / (n^3 - n). Spearman, C. (1904): The proof and measurement of
-- association between two things. American Journal of Psychology 15, 72-101. With fewer than 2 in common: null.
DELETE FROM marts.model_agreement
WHERE model_agreement.date = %(ds)s::date;

INSERT INTO marts.model_agreement (date, advertiser_id, model, other_model, common, jaccard, rank_correlation)
WITH lists AS (
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        count(*) AS products
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    GROUP BY recommendations.model, recommendations.advertiser_id
),

common AS (
    SELECT
        one.advertiser_id,
        one.model,
        other.model AS other_model,
        row_number() OVER (PARTITION BY one.advertiser_id, one.model, other.model ORDER BY one.rank)
        - row_number() OVER (PARTITION BY one.advertiser_id, one.model, other.model ORDER BY other.rank) AS difference
    FROM marts.recommendations AS one
    INNER JOIN marts.recommendations AS other
        ON
            one.date = other.date
            AND one.advertiser_id = other.advertiser_id
            AND one.product_id = other.product_id
            AND one.model < other.model
    WHERE one.date = %(ds)s::date
),

correlations AS (
    SELECT
        common.advertiser_id,
        common.model,
        common.other_model,
        count(*) AS n,
        sum(common.difference * common.difference)::double precision AS squared_differences
    FROM common
    GROUP BY common.advertiser_id, common.model, common.other_model
)

SELECT
    %(ds)s::date AS date,
    one.advertiser_id,
    one.model,
    other.model AS other_model,
    coalesce(correlations.n, 0) AS common,
    coalesce(correlations.n, 0)::double precision
    / (one.products + other.products - coalesce(correlations.n, 0)) AS jaccard,
    CASE
        WHEN correlations.n > 1
            THEN 1 - 6 * correlations.squared_differences / (correlations.n ^ 3 - correlations.n)
    END AS rank_correlation
FROM lists AS one
INNER JOIN lists AS other
    ON
        one.advertiser_id = other.advertiser_id
        AND one.model < other.model
LEFT JOIN correlations
    ON
        one.advertiser_id = correlations.advertiser_id
        AND one.model = correlations.model
        AND other.model = correlations.other_model;
