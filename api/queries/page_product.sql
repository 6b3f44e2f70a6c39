-- GET /advertisers/{advertiser_id}/products/{product_id}: a product on the 60 days that end with a published day, as
-- JSON text.
-- Parameters: advertiser_id; product_id; date, or NULL for the newest published day. Always one row; `date` is null
-- when nothing is published for it, and `known` false of a product that had no event on these days.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

published AS (
    SELECT
        publications.date,
        publications.model
    FROM day
    INNER JOIN marts.publications ON publications.date BETWEEN day.date - 59 AND day.date
),

-- The days as an array, here and below: they are looked up by the index; joined, the planner reads those of all days.
ranks AS (
    SELECT
        published.date,
        json_object_agg(published.model, recommendations.rank ORDER BY published.model) AS by_model
    FROM published
    LEFT JOIN marts.recommendations
        ON
            published.date = recommendations.date
            AND recommendations.date = any(array(SELECT wanted.date FROM published AS wanted))
            AND published.model = recommendations.model
            AND recommendations.advertiser_id = %(advertiser_id)s::text
            AND recommendations.product_id = %(product_id)s::text
    GROUP BY published.date
),

events AS (
    SELECT
        ranks.date,
        coalesce(product_daily.impressions, 0) AS impressions,
        coalesce(product_daily.clicks, 0) AS clicks,
        coalesce(product_daily.views, 0) AS views,
        product_daily.ctr,
        product_daily.date IS NOT NULL AS any_event
    FROM ranks
    LEFT JOIN marts.product_daily
        ON
            ranks.date = product_daily.date
            AND product_daily.date = any(array(SELECT wanted.date FROM ranks AS wanted))
            AND product_daily.advertiser_id = %(advertiser_id)s::text
            AND product_daily.product_id = %(product_id)s::text
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
        'models', (
            SELECT coalesce(json_agg(DISTINCT published.model ORDER BY published.model), '[]')
            FROM published
        ),
        'known', (SELECT coalesce(bool_or(events.any_event), FALSE) FROM events),
        'events', (
            SELECT coalesce(json_agg(events ORDER BY events.date), '[]')
            FROM events
        ),
        'ranks', (
            SELECT coalesce(json_agg(ranks ORDER BY ranks.date), '[]')
            FROM ranks
        )
    )::text AS body,
    version.number AS version
FROM day
CROSS JOIN marts.version
