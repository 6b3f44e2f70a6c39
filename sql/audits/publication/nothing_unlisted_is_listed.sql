-- No list names a product that is excluded or hidden.
-- Parameters: ds. A row returned = the promise is broken.
-- Grouped, not joined: the planner expects one product on a list that has just been written.
SELECT
    both_lists.advertiser_id,
    both_lists.product_id,
    string_agg(both_lists.model, ', ' ORDER BY both_lists.model) AS models
FROM (
    SELECT
        recommendations.advertiser_id,
        recommendations.product_id,
        recommendations.model
    FROM marts.recommendations
    WHERE recommendations.date = %(ds)s::date
    UNION ALL
    SELECT
        unlisted.advertiser_id,
        unlisted.product_id,
        NULL AS model
    FROM models.unlisted
    WHERE unlisted.date = %(ds)s::date
) AS both_lists
GROUP BY both_lists.advertiser_id, both_lists.product_id
HAVING count(both_lists.model) BETWEEN 1 AND count(*) - 1
