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

week AS (
    SELECT days.date
    FROM days
    ORDER BY days.date DESC
    LIMIT 7
),

changes AS (
    SELECT
        list_changes.model,
        (array_agg(list_changes.replaced_share) FILTER (WHERE list_changes.date = day.date))[1] AS replaced_share,
        avg(list_changes.replaced_share) AS replaced_share_of_week
    FROM day
    CROSS JOIN week
    INNER JOIN published ON day.date = published.date
    INNER JOIN marts.list_changes
        ON
            week.date = list_changes.date
            AND published.model = list_changes.model
            AND list_changes.advertiser_id = %(advertiser_id)s::text
    GROUP BY list_changes.model
),

-- What became of the lists of the day before, on the day.
statistics AS (
    SELECT
        published.model,
        changes.replaced_share,
        changes.replaced_share_of_week,
        advertiser_evaluation.products,
        advertiser_evaluation.dead_slots,
        advertiser_evaluation.clicks,
        advertiser_evaluation.impressions,
        advertiser_evaluation.ctr,
        advertiser_evaluation.unlisted_ctr
    FROM published
    LEFT JOIN changes ON published.model = changes.model
    LEFT JOIN marts.advertiser_evaluation
        ON
            published.date - 1 = advertiser_evaluation.date
            AND published.model = advertiser_evaluation.model
            AND advertiser_evaluation.advertiser_id = %(advertiser_id)s::text
),

agreement AS (
    SELECT
        model_agreement.model,
        model_agreement.other_model,
        model_agreement.jaccard
    FROM day
    INNER JOIN marts.model_agreement
        ON
            day.date = model_agreement.date
            AND model_agreement.advertiser_id = %(advertiser_id)s::text
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
        'first', (SELECT min(publications.date) FROM marts.publications),
        'newest', (SELECT max(publications.date) FROM marts.publications),
        'before', (
            SELECT max(publications.date)
            FROM marts.publications
            WHERE publications.date < day.date
        ),
        'after', (
            SELECT min(publications.date)
            FROM marts.publications
            WHERE publications.date > day.date
        ),
        'statistics', (
            SELECT json_agg(statistics ORDER BY statistics.model)
            FROM statistics
        ),
        'agreement', (
            SELECT coalesce(json_agg(agreement ORDER BY agreement.model, agreement.other_model), '[]')
            FROM agreement
        ),
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
