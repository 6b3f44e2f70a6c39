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
)

SELECT
    json_build_object(
        'advertiser_id', most.advertiser_id,
        'rank_weighted_change', round(most.change, 6),
        'comes', (
            SELECT coalesce(json_agg(candidates.product_id ORDER BY candidates.rank), '[]')
            FROM models.candidates
            WHERE
                candidates.date = %(ds)s::date
                AND candidates.model = %(preview)s
                AND candidates.advertiser_id = most.advertiser_id
                AND candidates.product_id NOT IN (
                    SELECT recommendations.product_id
                    FROM marts.recommendations
                    WHERE
                        recommendations.date = %(ds)s::date
                        AND recommendations.model = %(against)s
                        AND recommendations.advertiser_id = most.advertiser_id
                )
        ),
        'goes', (
            SELECT coalesce(json_agg(recommendations.product_id ORDER BY recommendations.rank), '[]')
            FROM marts.recommendations
            WHERE
                recommendations.date = %(ds)s::date
                AND recommendations.model = %(against)s
                AND recommendations.advertiser_id = most.advertiser_id
                AND recommendations.product_id NOT IN (
                    SELECT candidates.product_id
                    FROM models.candidates
                    WHERE
                        candidates.date = %(ds)s::date
                        AND candidates.model = %(preview)s
                        AND candidates.advertiser_id = most.advertiser_id
                )
        )
    ) AS change
FROM most
ORDER BY most.change DESC, most.advertiser_id ASC
