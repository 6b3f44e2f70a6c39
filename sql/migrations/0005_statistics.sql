-- Statistics of the published lists, measured on the lists themselves.

CREATE VIEW marts.list_changes AS
WITH days AS (
    SELECT
        publications.date,
        publications.model,
        lag(publications.date) OVER (PARTITION BY publications.model ORDER BY publications.date) AS previous_date
    FROM marts.publications
)

SELECT
    days.date,
    days.model,
    today.advertiser_id,
    days.previous_date,
    count(*) AS products,
    count(*) FILTER (WHERE earlier.product_id IS NULL) AS replaced,
    count(*) FILTER (WHERE earlier.product_id IS NULL)::double precision / count(*) AS replaced_share
FROM days
INNER JOIN marts.recommendations AS today
    ON
        days.date = today.date
        AND days.model = today.model
LEFT JOIN marts.recommendations AS earlier
    ON
        days.previous_date = earlier.date
        AND today.model = earlier.model
        AND today.advertiser_id = earlier.advertiser_id
        AND today.product_id = earlier.product_id
WHERE
    EXISTS (
        SELECT 1
        FROM marts.recommendations AS first_earlier
        WHERE
            first_earlier.date = days.previous_date
            AND first_earlier.model = days.model
            AND first_earlier.advertiser_id = today.advertiser_id
            AND first_earlier.rank = 1
    )
GROUP BY days.date, days.model, today.advertiser_id, days.previous_date;
COMMENT ON VIEW marts.list_changes IS
'How much of a list is new since the published day before. Grain: log day, model, advertiser with lists on both days';
COMMENT ON COLUMN marts.list_changes.date IS 'Log day of the list, UTC';
COMMENT ON COLUMN marts.list_changes.model IS 'Model name';
COMMENT ON COLUMN marts.list_changes.advertiser_id IS 'Advertiser';
COMMENT ON COLUMN marts.list_changes.previous_date IS 'The published day before';
COMMENT ON COLUMN marts.list_changes.products IS 'Products on the list';
COMMENT ON COLUMN marts.list_changes.replaced IS 'Products on it that were not on the list of the day before';
COMMENT ON COLUMN marts.list_changes.replaced_share IS 'replaced / products, 0 to 1';

CREATE VIEW marts.model_agreement AS
WITH lists AS (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.advertiser_id,
        array_agg(recommendations.product_id ORDER BY recommendations.rank) AS products
    FROM marts.recommendations
    GROUP BY recommendations.date, recommendations.model, recommendations.advertiser_id
)

SELECT
    one.date,
    one.advertiser_id,
    one.model,
    other.model AS other_model,
    shared.products AS common,
    shared.products::double precision
    / (cardinality(one.products) + cardinality(other.products) - shared.products) AS jaccard
FROM lists AS one
INNER JOIN lists AS other
    ON
        one.date = other.date
        AND one.advertiser_id = other.advertiser_id
        AND one.model < other.model
CROSS JOIN LATERAL (
    SELECT count(*) AS products
    FROM unnest(one.products) AS product (product_id)
    WHERE product.product_id = any(other.products)
) AS shared;
COMMENT ON VIEW marts.model_agreement IS
'How far two models agree. Grain: log day, advertiser, pair of models that both have a list for it';
COMMENT ON COLUMN marts.model_agreement.date IS 'Log day, UTC';
COMMENT ON COLUMN marts.model_agreement.advertiser_id IS 'Advertiser';
COMMENT ON COLUMN marts.model_agreement.model IS 'The model whose name sorts first';
COMMENT ON COLUMN marts.model_agreement.other_model IS 'The other model';
COMMENT ON COLUMN marts.model_agreement.common IS 'Products on both lists';
COMMENT ON COLUMN marts.model_agreement.jaccard IS 'Products on both lists / products on either, 0 to 1';
