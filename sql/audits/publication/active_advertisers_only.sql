-- Only advertisers on the day's active list have lists.
-- Parameters: ds. A row returned = the promise is broken.
SELECT DISTINCT
    recommendations.model,
    recommendations.advertiser_id
FROM marts.recommendations
LEFT JOIN staging.active_advertisers
    ON
        recommendations.date = active_advertisers.date
        AND recommendations.advertiser_id = active_advertisers.advertiser_id
WHERE
    recommendations.date = %(ds)s::date
    AND active_advertisers.advertiser_id IS NULL
