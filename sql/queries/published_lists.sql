-- The published lists of a model, as other programs read them on S3.
-- Grain: advertiser, rank. Parameters: ds; model.
SELECT
    recommendations.advertiser_id,
    recommendations.rank,
    recommendations.product_id,
    recommendations.score,
    recommendations.entry
FROM marts.recommendations
WHERE
    recommendations.date = %(ds)s::date
    AND recommendations.model = %(model)s
ORDER BY recommendations.advertiser_id ASC, recommendations.rank ASC
