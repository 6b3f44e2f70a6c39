-- GET /exports/lists.ndjson: the next lists of a day and a model, a line of JSON each, as /recommendations has them.
-- Grain: one row. Parameters: date; model; after, the advertiser that the lines before ended with, or ''; seen, the
-- advertisers that the one who asks may see, or NULL for all.
-- last: the advertiser that these lines end with, NULL when there are no more. entries: how many there are, published:
-- how many at least there were when they were published (a list has no gap). lists: what the day's lists are now, as
-- export_of.sql says it.
WITH advertisers AS (
    SELECT active_advertisers.advertiser_id
    FROM marts.active_advertisers
    WHERE
        active_advertisers.date = %(date)s::date
        AND active_advertisers.advertiser_id > %(after)s::text
        AND (%(seen)s::text[] IS NULL OR active_advertisers.advertiser_id = any(%(seen)s::text[]))
    ORDER BY active_advertisers.advertiser_id ASC
    LIMIT 50
),

lists AS (
    SELECT
        advertisers.advertiser_id,
        %(model)s::text AS model,
        %(date)s::date AS date,
        entries.count,
        entries.recommendations,
        entries.last_rank
    FROM advertisers
    CROSS JOIN LATERAL (
        SELECT
            count(*) AS count,
            max(recommendations.rank) AS last_rank,
            coalesce(json_agg(recommendations.entry ORDER BY recommendations.rank), '[]') AS recommendations
        FROM marts.recommendations
        WHERE
            recommendations.date = %(date)s::date
            AND recommendations.model = %(model)s::text
            AND recommendations.advertiser_id = advertisers.advertiser_id
    ) AS entries
)

SELECT
    string_agg(row_to_json(answer)::text || chr(10), '' ORDER BY lists.advertiser_id) AS lines,
    max(lists.advertiser_id) AS last,
    coalesce(sum(lists.count), 0) AS entries,
    coalesce(sum(lists.last_rank), 0) AS published,
    (
        SELECT concat_ws(' ', publications.lists_hash, publications.published_at)
        FROM marts.publications
        WHERE
            publications.date = %(date)s::date
            AND publications.model = %(model)s::text
    ) AS lists
FROM lists
CROSS JOIN LATERAL (
    VALUES (lists.advertiser_id, lists.model, lists.date, lists.count, lists.recommendations)
) AS answer (advertiser_id, model, date, count, recommendations)
