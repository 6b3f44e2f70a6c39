-- marts.latest_recommendations: The lists that the API serves now: those of the newest published day.
-- Grain: model, advertiser, rank
-- Source: marts.recommendations, marts.publications.
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: The newest published log day, UTC
-- model: Model name
-- advertiser_id: Advertiser, active on the day
-- rank: 1 is the best; 1 to 20 without a gap
-- product_id: Product of the advertiser
-- score: What the model ranks by first; its unit is the model's
-- entry: The list entry as the API serves it
SELECT
    recommendations.date,
    recommendations.model,
    recommendations.advertiser_id,
    recommendations.rank,
    recommendations.product_id,
    recommendations.score,
    recommendations.entry
FROM marts.recommendations
WHERE recommendations.date = (SELECT max(publications.date) FROM marts.publications)
