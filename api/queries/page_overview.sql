-- GET /: the state of the system and its last 60 nights, as JSON text.
-- Parameters: ended, the day that ended last. Always one row; without a publication `newest` is null.
WITH newest AS (
    SELECT
        max(publications.date) AS date,
        %(ended)s::date AS ended
    FROM marts.publications
),

published AS (
    SELECT
        publications.date,
        max(publications.revision) AS revision,
        max(publications.published_at) AS published_at,
        max(publications.advertiser_count) AS listed,
        (array_agg(publications.accounting ORDER BY publications.model))[1] AS accounting
    FROM newest
    INNER JOIN marts.publications ON publications.date > newest.date - 60
    GROUP BY publications.date
),

lines AS (
    SELECT
        published.date,
        sum((log.counts ->> 'delivered')::bigint) AS delivered,
        sum((log.counts ->> 'kept')::bigint) AS kept,
        sum((log.counts ->> 'other_day')::bigint) AS other_day,
        sum((log.counts ->> 'inactive')::bigint) AS inactive,
        sum((log.counts ->> 'rejected')::bigint) AS rejected
    FROM published
    CROSS JOIN LATERAL jsonb_array_elements(published.accounting) AS log (counts)
    GROUP BY published.date
),

withdrawn AS (
    SELECT
        withdrawals.date,
        max(withdrawals.why) AS why
    FROM marts.withdrawals
    WHERE withdrawals.restored_at IS NULL
    GROUP BY withdrawals.date
),

-- Of a night that is not published: the audits that its newest attempt broke.
attempts AS (
    SELECT
        audit_results.date,
        audit_results.audit,
        rank() OVER (PARTITION BY audit_results.date ORDER BY audit_results.audited_at DESC) AS newest
    FROM newest
    INNER JOIN marts.audit_results ON audit_results.date > newest.date - 60
    WHERE audit_results.broken_rows > 0
),

refused AS (
    SELECT
        attempts.date,
        string_agg(attempts.audit, ', ' ORDER BY attempts.audit) AS audits
    FROM attempts
    WHERE attempts.newest = 1
    GROUP BY attempts.date
),

oldest AS (
    SELECT min(published.date) AS date
    FROM published
),

nights AS (
    SELECT
        series.night::date AS date,
        published.revision,
        published.published_at,
        withdrawn.why AS withdrawn,
        refused.audits AS refused,
        daily.advertisers,
        daily.products,
        daily.impressions,
        daily.clicks,
        daily.views,
        daily.clicks::double precision / nullif(daily.impressions, 0) AS ctr,
        lines.delivered,
        lines.kept,
        lines.other_day,
        lines.inactive,
        lines.rejected
    FROM newest
    CROSS JOIN oldest
    CROSS JOIN
        LATERAL generate_series(
            oldest.date, least(newest.ended, newest.date + 59), interval '1 day'
        ) AS series (night)
    LEFT JOIN published ON series.night = published.date
    LEFT JOIN withdrawn ON series.night = withdrawn.date
    LEFT JOIN refused ON series.night = refused.date
    LEFT JOIN marts.daily ON series.night = daily.date
    LEFT JOIN lines ON series.night = lines.date
),

outcomes AS (
    SELECT
        evaluation.date,
        json_object_agg(evaluation.model, evaluation.ctr ORDER BY evaluation.model) AS ctr
    FROM newest
    INNER JOIN marts.evaluation ON evaluation.date > newest.date - 60
    GROUP BY evaluation.date
),

agreement AS (
    SELECT
        model_agreement.model,
        model_agreement.other_model,
        count(*) AS advertisers,
        avg(model_agreement.jaccard) AS jaccard
    FROM newest
    INNER JOIN marts.model_agreement ON newest.date = model_agreement.date
    GROUP BY model_agreement.model, model_agreement.other_model
),

-- The five that vary most and the five that vary least.
placed AS (
    SELECT
        list_variation.model,
        list_variation.advertiser_id,
        list_variation.replaced_share,
        list_variation.days,
        list_variation.place,
        max(list_variation.place) OVER (PARTITION BY list_variation.model) AS last_place
    FROM newest
    INNER JOIN marts.list_variation ON newest.date = list_variation.date
    WHERE list_variation.place IS NOT NULL
),

variation AS (
    SELECT
        placed.model,
        json_agg(placed ORDER BY placed.place) AS advertisers
    FROM placed
    WHERE placed.place <= 5 OR placed.place > placed.last_place - 5
    GROUP BY placed.model
),

without AS (
    SELECT active_advertisers.advertiser_id
    FROM newest
    INNER JOIN marts.active_advertisers ON newest.date = active_advertisers.date
    LEFT JOIN marts.recommendations
        ON
            newest.date = recommendations.date
            AND active_advertisers.advertiser_id = recommendations.advertiser_id
            AND recommendations.rank = 1
    WHERE recommendations.advertiser_id IS NULL
    ORDER BY active_advertisers.advertiser_id
    LIMIT 100
)

SELECT
    json_build_object(
        'newest', newest.date,
        'agreement', (
            SELECT coalesce(json_agg(agreement ORDER BY agreement.model, agreement.other_model), '[]')
            FROM agreement
        ),
        'variation', (
            SELECT coalesce(json_agg(variation ORDER BY variation.model), '[]')
            FROM variation
        ),
        'without', (
            SELECT coalesce(json_agg(without.advertiser_id ORDER BY without.advertiser_id), '[]')
            FROM without
        ),
        'ended', newest.ended,
        'nights', (
            SELECT coalesce(json_agg(nights ORDER BY nights.date), '[]')
            FROM nights
        ),
        'outcomes', (
            SELECT coalesce(json_agg(outcomes ORDER BY outcomes.date), '[]')
            FROM outcomes
        ),
        'models', (
            SELECT
                coalesce(
                    json_agg(
                        json_build_object(
                            'model', publications.model,
                            'advertisers', publications.advertiser_count,
                            'full', publications.full_list_count,
                            'entries', publications.row_count
                        )
                        ORDER BY publications.model
                    ),
                    '[]'
                )
            FROM marts.publications
            WHERE publications.date = newest.date
        )
    )::text AS body,
    version.number AS version
FROM newest
CROSS JOIN marts.version
