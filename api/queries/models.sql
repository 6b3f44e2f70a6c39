-- GET /models: the models of a published day, what they are and which SQL made their lists, as JSON text.
-- Parameters: date, or NULL for the newest published day; seen, the advertisers that the one who asks may see, or NULL
-- for all: those are counted. No row when nothing is published, or not the date.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

-- Of the advertisers that may be seen; where all may, none is looked up.
lists AS (
    SELECT
        recommendations.model,
        recommendations.advertiser_id,
        count(*) AS products
    FROM day
    INNER JOIN marts.publications ON day.date = publications.date
    INNER JOIN marts.recommendations
        ON
            publications.date = recommendations.date
            AND publications.model = recommendations.model
            AND recommendations.advertiser_id = any(%(seen)s::text[])
    GROUP BY recommendations.model, recommendations.advertiser_id
),

with_lists AS (
    SELECT
        lists.model,
        count(*) AS any_products,
        count(*) FILTER (WHERE lists.products = 20) AS all_products
    FROM lists
    GROUP BY lists.model
),

models AS (
    SELECT
        publications.model,
        sql_versions.title,
        (
            SELECT json_agg(figure.name ORDER BY figure.place)
            FROM (
                SELECT recommendations.entry
                FROM marts.recommendations
                WHERE
                    recommendations.date = publications.date
                    AND recommendations.model = publications.model
                ORDER BY recommendations.advertiser_id ASC, recommendations.rank ASC
                LIMIT 1
            ) AS example
            CROSS JOIN LATERAL json_object_keys(example.entry) WITH ORDINALITY AS figure (name, place)
            WHERE figure.name NOT IN ('rank', 'product_id')
        ) AS figures,
        CASE
            WHEN %(seen)s::text[] IS NULL THEN publications.advertiser_count ELSE coalesce(with_lists.any_products, 0)
        END AS advertisers,
        CASE
            WHEN %(seen)s::text[] IS NULL THEN publications.full_list_count ELSE coalesce(with_lists.all_products, 0)
        END AS advertisers_with_full_lists,
        to_json(publications.days_read) AS days_read,
        publications.sql_file,
        publications.sql_version,
        publications.git_revision,
        publications.published_at
    FROM day
    INNER JOIN marts.publications ON day.date = publications.date
    LEFT JOIN marts.sql_versions ON publications.sql_version = sql_versions.sql_version
    LEFT JOIN with_lists ON publications.model = with_lists.model
),

answer AS (
    SELECT
        day.date,
        (SELECT json_agg(row_to_json(models) ORDER BY models.model) FROM models) AS models
    FROM day
    WHERE day.date IS NOT NULL
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version
FROM answer
CROSS JOIN marts.version
