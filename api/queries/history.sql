-- GET /history/{advertiser_id}: the 7 days that end with a published day, newest first, as JSON text.
-- Parameters: advertiser_id; date, or NULL for the newest published day. No row when nothing is published, or not the
-- date, or the advertiser was never active on a published day.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

lists AS (
    SELECT
        recommendations.date,
        recommendations.model,
        json_agg(recommendations.entry ORDER BY recommendations.rank) AS entries
    FROM day
    INNER JOIN marts.publications ON publications.date BETWEEN day.date - 6 AND day.date
    INNER JOIN marts.recommendations
        ON
            publications.date = recommendations.date
            AND publications.model = recommendations.model
            AND recommendations.advertiser_id = %(advertiser_id)s::text
    GROUP BY recommendations.date, recommendations.model
),

days AS (
    SELECT
        lists.date,
        json_object_agg(lists.model, lists.entries ORDER BY lists.model) AS models
    FROM lists
    GROUP BY lists.date
),

answer AS (
    SELECT
        %(advertiser_id)s::text AS advertiser_id,
        day.date - 6 AS "from",
        day.date AS "to",
        (
            SELECT coalesce(json_object_agg(days.date, days.models ORDER BY days.date DESC), '{}')
            FROM days
        ) AS history
    FROM day
    -- Not EXISTS: for that the planner would read the table until it meets the advertiser.
    WHERE
        day.date IS NOT NULL
        AND (
            SELECT max(active_advertisers.date)
            FROM marts.active_advertisers
            WHERE active_advertisers.advertiser_id = %(advertiser_id)s::text
        ) IS NOT NULL
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
