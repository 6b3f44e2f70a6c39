-- GET /search: what a person may mean by the ids that they type, as JSON text.
-- Parameters: typed, what was typed. Always one row: of the newest published day, advertisers whose id begins
-- with it, and the lists that name it as a product.
WITH newest AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
),

advertisers AS (
    SELECT active_advertisers.advertiser_id
    FROM marts.active_advertisers
    WHERE
        active_advertisers.date = (SELECT newest.date FROM newest)
        AND starts_with(active_advertisers.advertiser_id, %(typed)s::text)
    ORDER BY active_advertisers.advertiser_id
    LIMIT 100
),

listed AS (
    SELECT
        recommendations.advertiser_id,
        recommendations.model,
        recommendations.rank
    FROM marts.recommendations
    WHERE
        -- Not joined: the planner would read the lists of all days.
        recommendations.date = (SELECT newest.date FROM newest)
        AND recommendations.product_id = %(typed)s::text
    ORDER BY recommendations.advertiser_id ASC, recommendations.model ASC
    LIMIT 100
)

SELECT
    json_build_object(
        'newest', newest.date,
        'advertisers', (
            SELECT coalesce(json_agg(advertisers.advertiser_id ORDER BY advertisers.advertiser_id), '[]')
            FROM advertisers
        ),
        'listed', (
            SELECT coalesce(json_agg(listed ORDER BY listed.advertiser_id ASC, listed.model ASC), '[]')
            FROM listed
        )
    )::text AS body,
    version.number AS version
FROM newest
CROSS JOIN marts.version
