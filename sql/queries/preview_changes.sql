-- The lists that differ most, of the last previewed day, with the products that come and go.
-- Grain: advertiser, at most 10. Parameters: ds, the log day; preview and against, as in sql/queries/preview_lists.sql.
WITH most AS (
    SELECT
        previewed.advertiser_id,
        previewed.change
    FROM pg_temp.previewed
    WHERE
        previewed.date = %(ds)s::date
        AND previewed.change > 0
    ORDER BY previewed.change DESC, previewed.advertiser_id ASC
    LIMIT 10
),

listed AS (
    SELECT
        candidates.advertiser_id,
        candidates.product_id,
        candidates.rank AS new_rank,
        NULL::integer AS old_rank
    FROM models.candidates
    WHERE
        candidates.date = %(ds)s::date
        AND candidates.model = %(preview)s
    UNION ALL
    SELECT
        recommendations.advertiser_id,
        recommendations.product_id,
        NULL AS new_rank,
        recommendations.rank AS old_rank
    FROM marts.recommendations
    WHERE
        recommendations.date = %(ds)s::date
        AND recommendations.model = %(against)s
),

products AS (
    SELECT
        listed.advertiser_id,
        listed.product_id,
        max(listed.new_rank) AS new_rank,
        max(listed.old_rank) AS old_rank
    FROM listed
    GROUP BY listed.advertiser_id, listed.product_id
)

SELECT
    json_build_object(
        'advertiser_id', most.advertiser_id,
        'rank_weighted_change', round(most.change, 6),
        'comes', coalesce(
            json_agg(products.product_id ORDER BY products.new_rank) FILTER (WHERE products.old_rank IS NULL), '[]'
        ),
        'goes', coalesce(
            json_agg(products.product_id ORDER BY products.old_rank) FILTER (WHERE products.new_rank IS NULL), '[]'
        )
    ) AS change
FROM most
INNER JOIN products ON most.advertiser_id = products.advertiser_id
GROUP BY most.advertiser_id, most.change
ORDER BY most.change DESC, most.advertiser_id ASC
