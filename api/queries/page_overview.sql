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

-- Of a night that is not published: the audits that its newest attempt broke, and whether it waits for more to arrive.
attempts AS (
    SELECT
        audit_results.date,
        audit_results.audit,
        audit_results.kind,
        rank() OVER (PARTITION BY audit_results.date ORDER BY audit_results.audited_at DESC) AS newest
    FROM newest
    INNER JOIN marts.audit_results ON audit_results.date > newest.date - 60
    WHERE audit_results.broken_rows > 0
),

refused AS (
    SELECT
        attempts.date,
        string_agg(attempts.audit, ', ' ORDER BY attempts.audit) AS audits,
        bool_and(attempts.kind = 'arrival') AS held
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
        withdrawn.why AS withdrawn,
        refused.audits AS refused,
        refused.held,
        daily.advertisers,
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
        evaluation.model,
        json_agg(
            json_build_object(
                'date', evaluation.date,
                'advantage', evaluation.advantage,
                'low', evaluation.advantage_low,
                'high', evaluation.advantage_high
            )
            ORDER BY evaluation.date
        ) AS days
    FROM newest
    INNER JOIN marts.evaluation ON evaluation.date > newest.date - 60
    GROUP BY evaluation.model
),

-- What became of the lists of the newest day of which that is known.
outcome AS (
    SELECT
        evaluation.model,
        evaluation.ctr,
        evaluation.unlisted_ctr,
        evaluation.advantage,
        evaluation.advantage_low,
        evaluation.advantage_high,
        evaluation.listed_share,
        evaluation.dead_share
    FROM newest
    INNER JOIN marts.evaluation ON evaluation.date = newest.date - 1
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

-- How much all lists varied in each of the last eight weeks. The days as an array: they are looked up by the index;
-- joined, the planner reads those of all days.
averages AS (
    SELECT
        list_variation.date,
        list_variation.model,
        avg(list_variation.replaced_share) AS replaced_share
    FROM marts.list_variation
    WHERE
        list_variation.date = any(array(
            SELECT newest.date - back.days
            FROM newest
            CROSS JOIN generate_series(0, 49, 7) AS back (days)
        ))
    GROUP BY list_variation.date, list_variation.model
),

weeks AS (
    SELECT
        averages.date,
        json_object_agg(averages.model, averages.replaced_share) AS by_model
    FROM averages
    GROUP BY averages.date
),

-- The three advertisers whose lists vary most, and the three whose vary least.
places AS (
    SELECT DISTINCT
        averages.date,
        averages.model,
        averages.replaced_share,
        shown.place
    FROM newest
    INNER JOIN averages ON newest.date = averages.date
    CROSS JOIN
        LATERAL (
            SELECT list_variation.place AS last
            FROM marts.list_variation
            WHERE
                list_variation.date = averages.date
                AND list_variation.model = averages.model
            ORDER BY list_variation.place DESC
            LIMIT 1
        ) AS places
    CROSS JOIN LATERAL unnest(ARRAY[1, 2, 3, places.last - 2, places.last - 1, places.last]) AS shown (place)
),

variation AS (
    SELECT
        places.model,
        places.replaced_share,
        json_agg(
            json_build_object(
                'place', list_variation.place,
                'advertiser_id', list_variation.advertiser_id,
                'replaced_share', list_variation.replaced_share,
                'days', list_variation.days
            )
            ORDER BY list_variation.place
        ) AS advertisers
    FROM places
    INNER JOIN marts.list_variation
        ON
            places.date = list_variation.date
            AND places.model = list_variation.model
            AND places.place = list_variation.place
    GROUP BY places.model, places.replaced_share
),

models AS (
    SELECT
        publications.model,
        publications.advertiser_count AS advertisers,
        publications.full_list_count AS full_lists,
        variation.replaced_share,
        outcome.ctr,
        outcome.unlisted_ctr,
        outcome.advantage,
        outcome.advantage_low,
        outcome.advantage_high,
        outcome.listed_share,
        outcome.dead_share
    FROM newest
    INNER JOIN marts.publications ON newest.date = publications.date
    LEFT JOIN variation ON publications.model = variation.model
    LEFT JOIN outcome ON publications.model = outcome.model
),

without AS (
    SELECT active_advertisers.advertiser_id
    FROM newest
    INNER JOIN marts.active_advertisers ON newest.date = active_advertisers.date
    WHERE
        NOT EXISTS (
            SELECT 1
            FROM marts.publications
            INNER JOIN marts.recommendations
                ON
                    publications.date = recommendations.date
                    AND publications.model = recommendations.model
                    AND active_advertisers.advertiser_id = recommendations.advertiser_id
                    AND recommendations.rank = 1
            WHERE publications.date = active_advertisers.date
        )
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
        'weeks', (
            SELECT coalesce(json_agg(weeks ORDER BY weeks.date), '[]')
            FROM weeks
        ),
        'first', (SELECT min(publications.date) FROM marts.publications),
        'before', (
            SELECT max(publications.date)
            FROM marts.publications
            WHERE publications.date < newest.date
        ),
        'nights', (
            SELECT coalesce(json_agg(nights ORDER BY nights.date), '[]')
            FROM nights
        ),
        'outcomes', (
            SELECT coalesce(json_agg(outcomes ORDER BY outcomes.model), '[]')
            FROM outcomes
        ),
        'models', (
            SELECT coalesce(json_agg(models ORDER BY models.model), '[]')
            FROM models
        )
    )::text AS body,
    version.number AS version
FROM newest
CROSS JOIN marts.version
