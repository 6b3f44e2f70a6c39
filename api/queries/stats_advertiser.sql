-- GET /stats/{advertiser_id}: an advertiser on a published day, and on the 7 published days that end with it, as JSON
-- text.
-- Parameters: advertiser_id; date, or NULL for the newest published day. No row when it was not active on that day.
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

changes AS (
    SELECT
        published.model,
        count(list_changes.date) AS days,
        round(avg(list_changes.replaced_share::numeric), 6) AS replaced_share,
        round(avg(list_changes.rank_weighted_change::numeric), 6) AS rank_weighted_change
    FROM published
    CROSS JOIN week
    LEFT JOIN marts.list_changes
        ON
            week.date = list_changes.date
            AND published.model = list_changes.model
            AND list_changes.advertiser_id = %(advertiser_id)s::text
    GROUP BY published.model
),

models AS (
    SELECT
        published.date,
        array_agg(published.model) AS names
    FROM published
    GROUP BY published.date
),

sizes AS (
    SELECT
        sizes.model,
        sizes.products
    FROM models
    CROSS JOIN LATERAL marts.list_sizes(models.date, models.names, ARRAY[%(advertiser_id)s::text]) AS sizes
),

lists AS (
    SELECT
        published.model,
        json_build_object(
            'count', coalesce(sizes.products, 0),
            'replaced_share', list_changes.replaced_share,
            'rank_weighted_change', list_changes.rank_weighted_change,
            'week', json_build_object(
                'days', changes.days,
                'replaced_share', changes.replaced_share,
                'rank_weighted_change', changes.rank_weighted_change
            )
        ) AS figures
    FROM published
    INNER JOIN changes ON published.model = changes.model
    LEFT JOIN sizes ON published.model = sizes.model
    LEFT JOIN marts.list_changes
        ON
            published.date = list_changes.date
            AND published.model = list_changes.model
            AND list_changes.advertiser_id = %(advertiser_id)s::text
),

agreement AS (
    SELECT
        json_build_array(model_agreement.model, model_agreement.other_model) AS models,
        model_agreement.common,
        model_agreement.jaccard,
        model_agreement.rank_correlation
    FROM day
    INNER JOIN marts.model_agreement
        ON
            day.date = model_agreement.date
            AND model_agreement.advertiser_id = %(advertiser_id)s::text
    ORDER BY model_agreement.model ASC, model_agreement.other_model ASC
),

totals AS (
    SELECT
        min(week.date) AS first_day,
        count(advertiser_daily.date) AS days,
        coalesce(sum(advertiser_daily.impressions), 0) AS impressions,
        coalesce(sum(advertiser_daily.clicks), 0) AS clicks,
        coalesce(sum(advertiser_daily.views), 0) AS views
    FROM week
    LEFT JOIN marts.advertiser_daily
        ON
            week.date = advertiser_daily.date
            AND advertiser_daily.advertiser_id = %(advertiser_id)s::text
),

evaluated AS (
    SELECT
        advertiser_evaluation.model,
        json_build_object(
            'lists_of', max(advertiser_evaluation.date),
            'ctr', (array_agg(advertiser_evaluation.ctr ORDER BY advertiser_evaluation.date DESC))[1],
            'average_ctr',
            (array_agg(advertiser_evaluation.advertiser_ctr ORDER BY advertiser_evaluation.date DESC))[1],
            'lift', (array_agg(advertiser_evaluation.lift ORDER BY advertiser_evaluation.date DESC))[1],
            'click_share', (array_agg(advertiser_evaluation.click_share ORDER BY advertiser_evaluation.date DESC))[1],
            'view_share', (array_agg(advertiser_evaluation.view_share ORDER BY advertiser_evaluation.date DESC))[1],
            'meaningful', (array_agg(advertiser_evaluation.meaningful ORDER BY advertiser_evaluation.date DESC))[1],
            'advantage', (
                array_agg(
                    advertiser_evaluation.clicks / nullif(advertiser_evaluation.unlisted_expected, 0)
                    ORDER BY advertiser_evaluation.date DESC
                )
            )[1],
            'unlisted_ctr',
            (array_agg(advertiser_evaluation.unlisted_ctr ORDER BY advertiser_evaluation.date DESC))[1],
            'listed_share',
            (array_agg(advertiser_evaluation.listed_share ORDER BY advertiser_evaluation.date DESC))[1],
            'dead_slots',
            (array_agg(advertiser_evaluation.dead_slots ORDER BY advertiser_evaluation.date DESC))[1],
            'concentration',
            (array_agg(advertiser_evaluation.concentration ORDER BY advertiser_evaluation.date DESC))[1],
            'week', json_build_object(
                'days', count(*),
                'lift',
                sum(advertiser_evaluation.clicks)
                / nullif(sum(advertiser_evaluation.expected_clicks::numeric), 0),
                'click_share', sum(advertiser_evaluation.clicks) / nullif(sum(advertiser_evaluation.all_clicks), 0),
                'view_share', sum(advertiser_evaluation.views) / nullif(sum(advertiser_evaluation.all_views), 0),
                'meaningful', sum(advertiser_evaluation.smallest_expected) >= 5
            )
        ) AS figures
    FROM generate_series(1, 7) AS back (days)
    CROSS JOIN published
    INNER JOIN marts.advertiser_evaluation
        ON
            published.date - back.days = advertiser_evaluation.date
            AND published.model = advertiser_evaluation.model
            AND advertiser_evaluation.advertiser_id = %(advertiser_id)s::text
    GROUP BY advertiser_evaluation.model
),

answer AS (
    SELECT
        active_advertisers.advertiser_id,
        day.date,
        (SELECT max(published.published_at) FROM published) AS published_at,
        (SELECT json_object_agg(lists.model, lists.figures ORDER BY lists.model) FROM lists) AS lists,
        (SELECT coalesce(json_agg(row_to_json(agreement)), '[]') FROM agreement) AS agreement,
        (
            SELECT
                json_build_object(
                    'day', (
                        SELECT
                            json_build_object(
                                'products', advertiser_daily.products,
                                'impressions', advertiser_daily.impressions,
                                'clicks', advertiser_daily.clicks,
                                'ctr',
                                advertiser_daily.clicks::double precision / nullif(advertiser_daily.impressions, 0),
                                'views', advertiser_daily.views
                            )
                        FROM marts.advertiser_daily
                        WHERE
                            advertiser_daily.date = day.date
                            AND advertiser_daily.advertiser_id = active_advertisers.advertiser_id
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
        (
            SELECT coalesce(json_object_agg(evaluated.model, evaluated.figures ORDER BY evaluated.model), '{}')
            FROM evaluated
        ) AS evaluation
    FROM day
    INNER JOIN marts.active_advertisers
        ON
            day.date = active_advertisers.date
            AND active_advertisers.advertiser_id = %(advertiser_id)s::text
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
