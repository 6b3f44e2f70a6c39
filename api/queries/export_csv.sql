-- GET /exports/lists.csv: the next lists of a day and a model, a line an entry.
-- Grain: one row. Parameters: date; model; after, the advertiser that the lines before ended with, or ''; seen, the
-- advertisers that the one who asks may see, or NULL for all.
-- lines: NULL when these advertisers have no list. last, entries, published, lists: as in export_ndjson.sql.
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

entries AS (
    SELECT
        advertisers.advertiser_id,
        recommendations.rank,
        concat_ws(
            ',',
            %(date)s::date,
            %(model)s::text,
            '"' || replace(advertisers.advertiser_id, '"', '""') || '"',
            recommendations.rank,
            '"' || replace(recommendations.product_id, '"', '""') || '"',
            recommendations.score
        ) || chr(10) AS line
    FROM advertisers
    INNER JOIN marts.recommendations
        ON
            recommendations.date = %(date)s::date
            AND recommendations.model = %(model)s::text
            AND advertisers.advertiser_id = recommendations.advertiser_id
),

ends AS (
    SELECT max(entries.rank) AS last_rank
    FROM entries
    GROUP BY entries.advertiser_id
)

SELECT
    (SELECT string_agg(entries.line, '' ORDER BY entries.advertiser_id, entries.rank) FROM entries) AS lines,
    (SELECT max(advertisers.advertiser_id) FROM advertisers) AS last,
    (SELECT count(*) FROM entries) AS entries,
    (SELECT coalesce(sum(ends.last_rank), 0) FROM ends) AS published,
    (
        SELECT concat_ws(' ', publications.lists_hash, publications.published_at)
        FROM marts.publications
        WHERE
            publications.date = %(date)s::date
            AND publications.model = %(model)s::text
    ) AS lists
