-- GET /recommendations/{advertiser_id}/{model}: the answers to many requests at once, as JSON text; a request for which
-- there is nothing has no row.
-- Grain: request. Parameters: advertiser_ids; models, in any spelling; dates, NULL for the newest published day;
-- limits, how many entries at most, NULL for all: one element each a request.
-- `lasting`: of a past day that was never published again, nor withdrawn.
-- `body` is NULL where rows of the list are lost: it has a gap, fewer products than its change since the day before was
-- counted of, or it is empty and its model has fewer entries on the day than were published. These are counted for an
-- empty list only.
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
        request.most,
        request.date IS NOT NULL AS is_dated
    FROM
        unnest(%(advertiser_ids)s::text[], %(models)s::text[], %(dates)s::date[], %(limits)s::integer[])
        WITH ORDINALITY AS request (advertiser_id, model, date, most, place)
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
        publications.row_count,
        lower(translate(publications.model, '-_', '')) AS spelling,
        publications.revision = 1 AND publications.date < newest.date AS is_final
    FROM requested_days
    INNER JOIN marts.publications ON requested_days.date = publications.date
    CROSS JOIN newest
),

lists AS (
    SELECT
        requests.place,
        requests.advertiser_id,
        published.model,
        published.date,
        published.row_count,
        requests.most,
        requests.is_dated AND published.is_final AS lasting,
        rows_of_list.products,
        greatest(rows_of_list.last_rank, list_changes.products) AS published_products,
        rows_of_list.entries,
        rows_of_list.entries_of_all
    FROM requests
    INNER JOIN published
        ON
            requests.date = published.date
            AND requests.spelling = published.spelling
    INNER JOIN marts.active_advertisers
        ON
            requests.date = active_advertisers.date
            AND requests.advertiser_id = active_advertisers.advertiser_id
    LEFT JOIN marts.list_changes
        ON
            published.date = list_changes.date
            AND published.model = list_changes.model
            AND requests.advertiser_id = list_changes.advertiser_id
    CROSS JOIN LATERAL marts.list_of(published.date, published.model, requests.advertiser_id, requests.most)
        AS rows_of_list
)

SELECT
    lists.place,
    CASE
        WHEN lists.products < lists.published_products THEN NULL
        WHEN lists.row_count > lists.entries_of_all THEN NULL
        ELSE row_to_json(answer)::text
    END AS body,
    version.number AS version,
    lists.lasting
FROM lists
CROSS JOIN marts.version
CROSS JOIN LATERAL (
    VALUES (lists.advertiser_id, lists.model, lists.date, least(lists.products, lists.most), lists.entries)
) AS answer (advertiser_id, model, date, count, recommendations)
