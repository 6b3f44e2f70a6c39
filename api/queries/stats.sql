-- GET /stats: a published day, and the 7 published days that end with it, as JSON text.
-- Parameters: limit, how many advertisers each ranking names; date, or NULL for the newest published day; seen, the
-- advertisers that the one who asks may see, or NULL for all. No row when nothing is published, or not the date.
-- The lines of the logs and what became of all lists are not of some advertisers alone: for those, `lines` and
-- `evaluation` are empty; GET /stats/{advertiser_id} says it of each.
-- Formulas: sql/marts/list_changes.sql, list_variation.sql, model_agreement.sql, advertiser_evaluation.sql,
-- evaluation.sql, daily.sql.
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

models AS (
    SELECT
        published.date,
        array_agg(published.model) AS names
    FROM published
    GROUP BY published.date
),

lists AS (
    SELECT
        sizes.model,
        sizes.advertiser_id,
        sizes.products
    FROM models
    CROSS JOIN LATERAL marts.list_sizes(models.date, models.names, %(seen)s::text[]) AS sizes
),

with_lists AS (
    SELECT
        published.model,
        published.advertiser_count AS any_products,
        published.full_list_count AS all_products
    FROM published
    WHERE %(seen)s::text[] IS NULL
    UNION ALL
    SELECT
        published.model,
        count(lists.advertiser_id) AS any_products,
        count(lists.advertiser_id) FILTER (WHERE lists.products = 20) AS all_products
    FROM published
    LEFT JOIN lists ON published.model = lists.model
    WHERE %(seen)s::text[] IS NOT NULL
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
            AND (%(seen)s::text[] IS NULL OR list_variation.advertiser_id = any(%(seen)s::text[]))
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
            AND (%(seen)s::text[] IS NULL OR model_agreement.advertiser_id = any(%(seen)s::text[]))
        ORDER BY model_agreement.jaccard DESC, model_agreement.advertiser_id ASC
        LIMIT %(limit)s::integer
    ) AS most ON TRUE
    ORDER BY most.jaccard DESC, most.advertiser_id ASC, one.model ASC, another.model ASC
),

daily AS (
    SELECT
        daily.date,
        daily.impressions,
        daily.clicks,
        daily.views
    FROM week
    INNER JOIN marts.daily ON week.date = daily.date
    WHERE %(seen)s::text[] IS NULL
    UNION ALL
    SELECT
        week.date,
        sum(advertiser_daily.impressions) AS impressions,
        sum(advertiser_daily.clicks) AS clicks,
        sum(advertiser_daily.views) AS views
    FROM week
    INNER JOIN marts.advertiser_daily
        ON
            week.date = advertiser_daily.date
            AND advertiser_daily.advertiser_id = any(%(seen)s::text[])
    GROUP BY week.date
),

totals AS (
    SELECT
        min(week.date) AS first_day,
        count(daily.date) AS days,
        coalesce(sum(daily.impressions), 0) AS impressions,
        coalesce(sum(daily.clicks), 0) AS clicks,
        coalesce(sum(daily.views), 0) AS views
    FROM week
    LEFT JOIN daily ON week.date = daily.date
),

sources AS (
    SELECT
        listed.source ->> 'source' AS name,
        sum((listed.source ->> 'lines')::bigint) AS delivered,
        sum((listed.source ->> 'rejected')::bigint) AS rejected
    FROM published
    CROSS JOIN LATERAL jsonb_array_elements(published.sources) AS listed (source)
    WHERE
        published.model = (SELECT min(any_model.model) FROM published AS any_model)
        AND %(seen)s::text[] IS NULL
    GROUP BY listed.source ->> 'source'
),

evaluated AS (
    SELECT
        evaluation.model,
        json_build_object(
            'lists_of', max(evaluation.date),
            'ctr', (array_agg(evaluation.ctr ORDER BY evaluation.date DESC))[1],
            'average_ctr', (array_agg(evaluation.average_ctr ORDER BY evaluation.date DESC))[1],
            'lift', (array_agg(evaluation.lift ORDER BY evaluation.date DESC))[1],
            'click_share', (array_agg(evaluation.click_share ORDER BY evaluation.date DESC))[1],
            'view_share', (array_agg(evaluation.view_share ORDER BY evaluation.date DESC))[1],
            'meaningful', (array_agg(evaluation.meaningful ORDER BY evaluation.date DESC))[1],
            'advantage', (array_agg(evaluation.advantage ORDER BY evaluation.date DESC))[1],
            'advantage_low', (array_agg(evaluation.advantage_low ORDER BY evaluation.date DESC))[1],
            'advantage_high', (array_agg(evaluation.advantage_high ORDER BY evaluation.date DESC))[1],
            'unlisted_ctr', (array_agg(evaluation.unlisted_ctr ORDER BY evaluation.date DESC))[1],
            'listed_share', (array_agg(evaluation.listed_share ORDER BY evaluation.date DESC))[1],
            'dead_slots', (array_agg(evaluation.dead_slots ORDER BY evaluation.date DESC))[1],
            'dead_share', (array_agg(evaluation.dead_share ORDER BY evaluation.date DESC))[1],
            'concentration', (array_agg(evaluation.concentration ORDER BY evaluation.date DESC))[1],
            'without_list', (array_agg(evaluation.without_list ORDER BY evaluation.date DESC))[1],
            'week', json_build_object(
                'days', count(*),
                'lift', sum(evaluation.clicks) / nullif(sum(evaluation.expected_clicks::numeric), 0),
                'click_share', sum(evaluation.clicks) / nullif(sum(evaluation.all_clicks), 0),
                'view_share', sum(evaluation.views) / nullif(sum(evaluation.all_views), 0),
                'meaningful', sum(evaluation.smallest_expected) >= 5
            )
        ) AS figures
    FROM day
    INNER JOIN marts.evaluation ON evaluation.date BETWEEN day.date - 7 AND day.date - 1
    INNER JOIN published ON evaluation.model = published.model
    WHERE %(seen)s::text[] IS NULL
    GROUP BY evaluation.model
),

answer AS (
    SELECT
        day.date,
        (
            SELECT count(*)
            FROM marts.active_advertisers
            WHERE
                active_advertisers.date = day.date
                AND (%(seen)s::text[] IS NULL OR active_advertisers.advertiser_id = any(%(seen)s::text[]))
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
                        WHERE daily.date = day.date
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
            SELECT
                coalesce(
                    json_object_agg(
                        sources.name,
                        json_build_object('delivered', sources.delivered, 'rejected', sources.rejected)
                        ORDER BY sources.name
                    ),
                    '{}'
                )
            FROM sources
        ) AS lines,
        (
            SELECT coalesce(json_object_agg(variation.model, variation.advertisers ORDER BY variation.model), '{}')
            FROM variation
        ) AS most_varying,
        (SELECT coalesce(json_agg(row_to_json(agreement)), '[]') FROM agreement) AS agreement,
        (
            SELECT coalesce(json_object_agg(evaluated.model, evaluated.figures ORDER BY evaluated.model), '{}')
            FROM evaluated
        ) AS evaluation
    FROM day
    WHERE day.date IS NOT NULL
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
