-- GET /history/{advertiser_id}: the 7 days that end with a published day, newest first, as JSON text.
-- Parameters: advertiser_id; date, or NULL for the newest published day; limit, how many entries of each list at most,
-- NULL for all. No row when nothing is published, or not the date, or the advertiser was never active on a published
-- day. `body` is NULL where rows of one of the lists are lost, as in recommendations.sql.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

-- Before anything else is looked at: a handful, however many days are published.
published AS MATERIALIZED (
    SELECT
        publications.date,
        publications.model,
        publications.row_count
    FROM day
    INNER JOIN marts.publications ON publications.date BETWEEN day.date - 6 AND day.date
    -- Looked up day by day: joined, all days would be read on which the advertiser was active.
    CROSS JOIN LATERAL (
        SELECT
        FROM marts.active_advertisers
        WHERE
            active_advertisers.date = publications.date
            AND active_advertisers.advertiser_id = %(advertiser_id)s::text
        ORDER BY active_advertisers.date ASC
        LIMIT 1
    ) AS active
),

lists AS (
    SELECT
        published.date,
        published.model,
        published.row_count,
        rows_of_list.products,
        greatest(rows_of_list.last_rank, list_changes.products) AS published_products,
        rows_of_list.entries,
        rows_of_list.entries_of_all
    FROM published
    LEFT JOIN marts.list_changes
        ON
            published.date = list_changes.date
            AND published.model = list_changes.model
            AND list_changes.advertiser_id = %(advertiser_id)s::text
    CROSS JOIN LATERAL marts.list_of(published.date, published.model, %(advertiser_id)s::text, %(limit)s::integer)
        AS rows_of_list
),

lost AS (
    SELECT lists.date
    FROM lists
    WHERE
        lists.products < lists.published_products
        OR lists.row_count > lists.entries_of_all
),

days AS (
    SELECT
        lists.date,
        json_object_agg(lists.model, lists.entries ORDER BY lists.model) AS models
    FROM lists
    WHERE lists.products > 0
    GROUP BY lists.date
),

answer AS (
    SELECT
        %(advertiser_id)s::text AS advertiser_id,
        day.date - 6 AS "from",
        day.date AS "to",
        (
            SELECT coalesce(json_object_agg(days.date, days.models ORDER BY days.date DESC), '{}')
            FROM days
        ) AS history
    FROM day
    -- Not EXISTS: for that the planner would read the table until it meets the advertiser.
    WHERE
        day.date IS NOT NULL
        AND (
            SELECT max(active_advertisers.date)
            FROM marts.active_advertisers
            WHERE active_advertisers.advertiser_id = %(advertiser_id)s::text
        ) IS NOT NULL
)

SELECT
    CASE WHEN NOT EXISTS (SELECT FROM lost) THEN row_to_json(answer)::text END AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
