-- GET /advertisers/{advertiser_id}: an advertiser's lists of a day beside those of the published days before it, and
-- its events, as JSON text.
-- Parameters: advertiser_id; date, or NULL for the newest published day. No row when the advertiser was not active on
-- that day, or nothing is published for it.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

days AS (
    SELECT DISTINCT publications.date
    FROM marts.publications
    INNER JOIN day ON publications.date <= day.date
    ORDER BY publications.date DESC
    LIMIT 14
),

published AS (
    SELECT
        publications.date,
        publications.model
    FROM marts.publications
    INNER JOIN day ON publications.date = day.date
),

listed AS (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.product_id,
        recommendations.rank,
        recommendations.entry
    FROM days
    INNER JOIN published ON days.date <= published.date
    INNER JOIN marts.recommendations
        ON
            days.date = recommendations.date
            AND published.model = recommendations.model
            AND recommendations.advertiser_id = %(advertiser_id)s::text
),

ranks AS (
    SELECT
        listed.model,
        listed.product_id,
        json_object_agg(listed.date, listed.rank) AS by_day
    FROM listed
    GROUP BY listed.model, listed.product_id
),

lists AS (
    SELECT
        published.model,
        coalesce(
            json_agg(listed.entry ORDER BY listed.rank) FILTER (WHERE listed.date = published.date), '[]'
        ) AS entries
    FROM published
    LEFT JOIN listed ON published.model = listed.model
    GROUP BY published.model
),

events AS (
    SELECT
        advertiser_daily.date,
        advertiser_daily.impressions,
        advertiser_daily.clicks,
        advertiser_daily.views,
        advertiser_daily.clicks::double precision / nullif(advertiser_daily.impressions, 0) AS ctr
    FROM day
    INNER JOIN marts.advertiser_daily
        ON
            advertiser_daily.advertiser_id = %(advertiser_id)s::text
            AND advertiser_daily.date BETWEEN day.date - 59 AND day.date
)

SELECT
    json_build_object(
        'date', day.date,
        'days', (
            SELECT json_agg(days.date ORDER BY days.date)
            FROM days
        ),
        'lists', (
            SELECT json_agg(lists ORDER BY lists.model)
            FROM lists
        ),
        'ranks', (
            SELECT coalesce(json_agg(ranks ORDER BY ranks.model, ranks.product_id), '[]')
            FROM ranks
        ),
        'events', (
            SELECT coalesce(json_agg(events ORDER BY events.date), '[]')
            FROM events
        )
    )::text AS body,
    version.number AS version
FROM day
CROSS JOIN marts.version
INNER JOIN marts.active_advertisers
    ON
        day.date = active_advertisers.date
        AND active_advertisers.advertiser_id = %(advertiser_id)s::text
