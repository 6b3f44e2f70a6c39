-- GET /recommendations/{advertiser_id}/{model}: the answer as JSON text; no row when there is nothing to answer.
-- Parameters: advertiser_id; model, in any spelling; date, or NULL for the newest published day.
SELECT row_to_json(answer)::text AS body
FROM (
    SELECT
        active_advertisers.advertiser_id,
        publications.model,
        publications.date,
        count(recommendations.rank) AS count,
        coalesce(
            json_agg(recommendations.entry ORDER BY recommendations.rank) FILTER (
                WHERE recommendations.rank IS NOT NULL
            ),
            '[]'
        ) AS recommendations
    FROM marts.publications
    INNER JOIN marts.active_advertisers
        ON
            publications.date = active_advertisers.date
            AND active_advertisers.advertiser_id = %(advertiser_id)s
    LEFT JOIN marts.recommendations
        ON
            publications.date = recommendations.date
            AND publications.model = recommendations.model
            AND active_advertisers.advertiser_id = recommendations.advertiser_id
    WHERE
        publications.date = coalesce(%(date)s::date, (SELECT max(newest.date) FROM marts.publications AS newest))
        AND lower(translate(publications.model, '-_', '')) = lower(translate(%(model)s, '-_', ''))
    GROUP BY active_advertisers.advertiser_id, publications.model, publications.date
) AS answer
