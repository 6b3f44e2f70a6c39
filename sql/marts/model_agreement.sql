-- marts.model_agreement: how far each pair of models agrees about an advertiser on the day.
-- Grain: log day, advertiser, pair of models that both have a list for it. Parameters: ds, the log day.
-- jaccard = products on both lists / products on either.
DELETE FROM marts.model_agreement
WHERE model_agreement.date = %(ds)s::date;

INSERT INTO marts.model_agreement (date, advertiser_id, model, other_model, common, jaccard)
WITH lists AS (
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        array_agg(recommendations.product_id) AS products
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    GROUP BY recommendations.model, recommendations.advertiser_id
)

SELECT
    %(ds)s::date AS date,
    one.advertiser_id,
    one.model,
    other.model AS other_model,
    shared.products AS common,
    shared.products::double precision
    / (cardinality(one.products) + cardinality(other.products) - shared.products) AS jaccard
FROM lists AS one
INNER JOIN lists AS other
    ON
        one.advertiser_id = other.advertiser_id
        AND one.model < other.model
CROSS JOIN LATERAL (
    SELECT count(*) AS products
    FROM unnest(one.products) AS product (product_id)
    WHERE product.product_id = any(other.products)
) AS shared;
