-- GET /stats: the newest published day, and how the lists changed over the last 7 published days, as JSON text.
-- Parameters: limit, how many advertisers each ranking names. No row when nothing is published.
WITH newest AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
),

week AS (
    SELECT DISTINCT publications.date
    FROM marts.publications
    ORDER BY publications.date DESC
    LIMIT 7
),

variation AS (
    SELECT
        list_changes.model,
        list_changes.advertiser_id,
        avg(list_changes.replaced_share) AS replaced_share,
        count(*) AS days,
        row_number() OVER (
            PARTITION BY list_changes.model
            ORDER BY avg(list_changes.replaced_share) DESC, list_changes.advertiser_id ASC
        ) AS place
    FROM marts.list_changes
    WHERE list_changes.date IN (SELECT week.date FROM week)
    GROUP BY list_changes.model, list_changes.advertiser_id
),

variation_by_model AS (
    SELECT
        variation.model,
        json_agg(
            json_build_object(
                'advertiser_id', variation.advertiser_id,
                'replaced_share', variation.replaced_share,
                'days', variation.days
            )
            ORDER BY variation.place
        ) AS advertisers
    FROM variation
    WHERE variation.place <= %(limit)s::integer
    GROUP BY variation.model
),

agreement AS (
    SELECT
        model_agreement.advertiser_id,
        json_build_array(model_agreement.model, model_agreement.other_model) AS models,
        model_agreement.common,
        model_agreement.jaccard
    FROM marts.model_agreement
    INNER JOIN newest ON model_agreement.date = newest.date
    ORDER BY model_agreement.jaccard DESC, model_agreement.advertiser_id ASC, model_agreement.other_model ASC
    LIMIT %(limit)s::integer
),

answer AS (
    SELECT
        newest.date,
        (
            SELECT count(*)
            FROM marts.active_advertisers
            WHERE active_advertisers.date = newest.date
        ) AS advertisers,
        (
            SELECT json_object_agg(publications.model, publications.advertiser_count ORDER BY publications.model)
            FROM marts.publications
            WHERE publications.date = newest.date
        ) AS advertisers_with_lists,
        (
            SELECT max(publications.published_at)
            FROM marts.publications
            WHERE publications.date = newest.date
        ) AS published_at,
        (
            SELECT
                coalesce(
                    json_object_agg(
                        variation_by_model.model, variation_by_model.advertisers ORDER BY variation_by_model.model
                    ),
                    '{}'
                )
            FROM variation_by_model
        ) AS most_varying,
        (SELECT coalesce(json_agg(row_to_json(agreement)), '[]') FROM agreement) AS agreement
    FROM newest
    WHERE newest.date IS NOT NULL
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
