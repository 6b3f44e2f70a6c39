-- GET /stats by key: what stats.sql says, of some advertisers only, as JSON text: those that the key's holder may see.
-- Parameters: seen, the advertisers; limit, how many of them each ranking names; date, or NULL for the newest published
-- day. No row when nothing is published, or not the date.
-- The lines of the logs and what became of all lists are not of these advertisers alone: `lines` and `evaluation` are
-- empty; GET /stats/{advertiser_id} says it of each.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

published AS (
    SELECT publications.*
    FROM marts.publications
    INNER JOIN day ON publications.date = day.date
),

week AS (
    SELECT DISTINCT publications.date
    FROM marts.publications
    INNER JOIN day ON publications.date <= day.date
    ORDER BY publications.date DESC
    LIMIT 7
),

lists AS (
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        count(*) AS products
    FROM published
    INNER JOIN marts.recommendations
        ON
            published.date = recommendations.date
            AND published.model = recommendations.model
            AND recommendations.advertiser_id = any(%(seen)s::text[])
    GROUP BY recommendations.model, recommendations.advertiser_id
),

with_lists AS (
    SELECT
        published.model,
        count(lists.advertiser_id) AS any_products,
        count(lists.advertiser_id) FILTER (WHERE lists.products = 20) AS all_products
    FROM published
    LEFT JOIN lists ON published.model = lists.model
    GROUP BY published.model
),

variation AS (
    SELECT
        published.model,
        coalesce(
            json_agg(
                json_build_object(
                    'advertiser_id', most.advertiser_id,
                    'replaced_share', most.replaced_share,
                    'rank_weighted_change', most.rank_weighted_change,
                    'days', most.days
                )
                ORDER BY most.place
            ) FILTER (WHERE most.place IS NOT NULL),
            '[]'
        ) AS advertisers
    FROM published
    LEFT JOIN LATERAL (
        SELECT list_variation.*
        FROM marts.list_variation
        WHERE
            list_variation.date = published.date
            AND list_variation.model = published.model
            AND list_variation.advertiser_id = any(%(seen)s::text[])
        ORDER BY list_variation.place ASC
        LIMIT %(limit)s::integer
    ) AS most ON TRUE
    GROUP BY published.model
),

agreement AS (
    SELECT
        most.advertiser_id,
        json_build_array(one.model, another.model) AS models,
        most.common,
        most.jaccard,
        most.rank_correlation
    FROM published AS one
    INNER JOIN published AS another ON one.model < another.model
    INNER JOIN LATERAL (
        SELECT model_agreement.*
        FROM marts.model_agreement
        WHERE
            model_agreement.date = one.date
            AND model_agreement.model = one.model
            AND model_agreement.other_model = another.model
            AND model_agreement.advertiser_id = any(%(seen)s::text[])
        ORDER BY model_agreement.jaccard DESC, model_agreement.advertiser_id ASC
        LIMIT %(limit)s::integer
    ) AS most ON TRUE
    ORDER BY most.jaccard DESC, most.advertiser_id ASC, one.model ASC, another.model ASC
),

daily AS (
    SELECT
        week.date,
        count(advertiser_daily.date) AS advertisers,
        coalesce(sum(advertiser_daily.impressions), 0) AS impressions,
        coalesce(sum(advertiser_daily.clicks), 0) AS clicks,
        coalesce(sum(advertiser_daily.views), 0) AS views
    FROM week
    LEFT JOIN marts.advertiser_daily
        ON
            week.date = advertiser_daily.date
            AND advertiser_daily.advertiser_id = any(%(seen)s::text[])
    GROUP BY week.date
),

totals AS (
    SELECT
        min(daily.date) AS first_day,
        count(*) FILTER (WHERE daily.advertisers > 0) AS days,
        sum(daily.impressions) AS impressions,
        sum(daily.clicks) AS clicks,
        sum(daily.views) AS views
    FROM daily
),

answer AS (
    SELECT
        day.date,
        (
            SELECT count(*)
            FROM marts.active_advertisers
            WHERE
                active_advertisers.date = day.date
                AND active_advertisers.advertiser_id = any(%(seen)s::text[])
        ) AS advertisers,
        (
            SELECT json_object_agg(with_lists.model, with_lists.any_products ORDER BY with_lists.model)
            FROM with_lists
        ) AS advertisers_with_lists,
        (
            SELECT json_object_agg(with_lists.model, with_lists.all_products ORDER BY with_lists.model)
            FROM with_lists
        ) AS advertisers_with_full_lists,
        (SELECT max(published.published_at) FROM published) AS published_at,
        (SELECT max(publications.date) FROM marts.publications) AS newest,
        (
            SELECT
                json_build_object(
                    'day', (
                        SELECT
                            json_build_object(
                                'impressions', daily.impressions,
                                'clicks', daily.clicks,
                                'ctr', daily.clicks::double precision / nullif(daily.impressions, 0),
                                'views', daily.views
                            )
                        FROM daily
                        WHERE
                            daily.date = day.date
                            AND daily.advertisers > 0
                    ),
                    'week', json_build_object(
                        'from', totals.first_day,
                        'days', totals.days,
                        'impressions', totals.impressions,
                        'clicks', totals.clicks,
                        'ctr', totals.clicks::double precision / nullif(totals.impressions, 0),
                        'views', totals.views
                    )
                )
            FROM totals
        ) AS totals,
        json_build_object() AS lines,
        (
            SELECT coalesce(json_object_agg(variation.model, variation.advertisers ORDER BY variation.model), '{}')
            FROM variation
        ) AS most_varying,
        (SELECT coalesce(json_agg(row_to_json(agreement)), '[]') FROM agreement) AS agreement,
        json_build_object() AS evaluation
    FROM day
    WHERE day.date IS NOT NULL
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
