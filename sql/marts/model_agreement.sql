-- marts.model_agreement: How far two models agree.
-- Grain: log day, advertiser, pair of models that both have a list for it
-- Source: marts.recommendations, marts.publications.
-- Freshness: DBWriting, in the transaction that publishes the day.
-- Parameters: ds, the log day.
-- date: Log day, UTC
-- advertiser_id: Advertiser
-- model: The model whose name sorts first
-- other_model: The other model
-- common: Products on both lists
-- jaccard: Products on both lists / products on either, 0 to 1
-- rank_correlation: Spearman's rank correlation of the products on both lists, -1 to 1. Null: fewer than 2 in common
--
-- rank_correlation: the products on both lists are ranked anew among themselves on each: no ties, so 1 - 6 * (sum of
-- squared differences of rank) / (n^3 - n). Spearman, C. (1904): The proof and measurement of association between
-- two things. American Journal of Psychology 15, 72-101.
DELETE FROM marts.model_agreement
WHERE model_agreement.date = %(ds)s::date;

INSERT INTO marts.model_agreement (date, advertiser_id, model, other_model, common, jaccard, rank_correlation)
WITH lists AS (
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        array_agg(recommendations.product_id ORDER BY recommendations.rank) AS products
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    GROUP BY recommendations.model, recommendations.advertiser_id
),

-- Looked up list by list: the planner has no statistics of a day that has just been written.
pairs AS (
    SELECT
        row_number() OVER () AS pair,
        lists.advertiser_id,
        lists.model,
        publications.model AS other_model,
        lists.products,
        array(
            SELECT recommendations.product_id
            FROM marts.recommendations
            WHERE
                recommendations.date = %(ds)s::date
                AND recommendations.model = publications.model
                AND recommendations.advertiser_id = lists.advertiser_id
            ORDER BY recommendations.rank
        ) AS other_products
    FROM lists
    INNER JOIN marts.publications
        ON
            lists.model < publications.model
            AND publications.date = %(ds)s::date
),

-- A row for each product on both lists; one without product where there is none.
placed AS (
    SELECT
        pairs.pair,
        pairs.advertiser_id,
        pairs.model,
        pairs.other_model,
        cardinality(pairs.products) + cardinality(pairs.other_products) AS products,
        listed.product_id,
        row_number() OVER (PARTITION BY pairs.pair ORDER BY listed.rank)
        - row_number() OVER (
            PARTITION BY pairs.pair
            ORDER BY array_position(pairs.other_products, listed.product_id)
        ) AS difference
    FROM pairs
    LEFT JOIN LATERAL unnest(pairs.products) WITH ORDINALITY AS listed (product_id, rank)
        ON listed.product_id = any(pairs.other_products)
    WHERE cardinality(pairs.other_products) > 0
),

compared AS (
    SELECT
        placed.advertiser_id,
        placed.model,
        placed.other_model,
        min(placed.products) AS products,
        count(placed.product_id) AS common,
        sum(placed.difference * placed.difference)::double precision AS squared_differences
    FROM placed
    GROUP BY placed.pair, placed.advertiser_id, placed.model, placed.other_model
)

SELECT
    %(ds)s::date AS date,
    compared.advertiser_id,
    compared.model,
    compared.other_model,
    compared.common,
    compared.common::double precision / (compared.products - compared.common) AS jaccard,
    CASE
        WHEN compared.common > 1
            THEN 1 - 6 * compared.squared_differences / (compared.common ^ 3 - compared.common)
    END AS rank_correlation
FROM compared;
