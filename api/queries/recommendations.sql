-- GET /recommendations/{advertiser_id}/{model}: the answers to many requests at once, as JSON text; a request for which
-- there is nothing has no row.
-- Grain: request. Parameters: advertiser_ids; models, in any spelling; dates, NULL for the newest published day: one
-- element each a request. `lasting`: of a past day that was never published again.
WITH newest AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
),

requests AS (
    SELECT
        request.place,
        request.advertiser_id,
        lower(translate(request.model, '-_', '')) AS spelling,
        coalesce(request.date, newest.date) AS date,
        request.date IS NOT NULL AS is_dated
    FROM
        unnest(%(advertiser_ids)s::text[], %(models)s::text[], %(dates)s::date[])
        WITH ORDINALITY AS request (advertiser_id, model, date, place)
    CROSS JOIN newest
),

requested_days AS (
    SELECT DISTINCT requests.date
    FROM requests
),

-- Found by day before their names are compared: a handful, however many days are published.
published AS MATERIALIZED (
    SELECT
        publications.date,
        publications.model,
        lower(translate(publications.model, '-_', '')) AS spelling,
        publications.revision = 1 AND publications.date < newest.date AS is_final
    FROM requested_days
    INNER JOIN marts.publications ON requested_days.date = publications.date
    CROSS JOIN newest
)

SELECT
    requests.place,
    row_to_json(answer)::text AS body,
    version.number AS version,
    requests.is_dated AND published.is_final AS lasting
FROM requests
INNER JOIN published
    ON
        requests.date = published.date
        AND requests.spelling = published.spelling
INNER JOIN marts.active_advertisers
    ON
        requests.date = active_advertisers.date
        AND requests.advertiser_id = active_advertisers.advertiser_id
CROSS JOIN marts.version
CROSS JOIN LATERAL (
    SELECT
        requests.advertiser_id,
        published.model,
        published.date,
        count(*) AS count,
        coalesce(json_agg(recommendations.entry ORDER BY recommendations.rank), '[]') AS recommendations
    FROM marts.recommendations
    WHERE
        published.date = recommendations.date
        AND published.model = recommendations.model
        AND requests.advertiser_id = recommendations.advertiser_id
) AS answer
