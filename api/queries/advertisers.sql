-- GET /advertisers: the active advertisers of a published day with their events, in byte order of the id, as JSON text.
-- Parameters: date, or NULL for the newest published day; limit; after, the id that the page before ended with, or '';
-- seen, the advertisers that the one who asks may see, or NULL for all.
-- next_after: what `after` is for the next page, NULL when there is none.
-- No row when nothing is published, or not the date.
WITH day AS (
    SELECT max(publications.date) AS date
    FROM marts.publications
    WHERE %(date)s::date IS NULL OR publications.date = %(date)s::date
),

page AS (
    SELECT
        active_advertisers.advertiser_id,
        advertiser_daily.products,
        advertiser_daily.impressions,
        advertiser_daily.clicks,
        advertiser_daily.clicks::double precision / nullif(advertiser_daily.impressions, 0) AS ctr,
        advertiser_daily.views
    FROM day
    INNER JOIN marts.active_advertisers
        ON
            day.date = active_advertisers.date
            AND active_advertisers.advertiser_id > %(after)s::text
            AND (%(seen)s::text[] IS NULL OR active_advertisers.advertiser_id = any(%(seen)s::text[]))
    LEFT JOIN marts.advertiser_daily
        ON
            active_advertisers.date = advertiser_daily.date
            AND active_advertisers.advertiser_id = advertiser_daily.advertiser_id
    ORDER BY active_advertisers.advertiser_id ASC
    LIMIT %(limit)s::integer
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
        ) AS active,
        (SELECT count(*) FROM page) AS count,
        (
            SELECT coalesce(json_agg(row_to_json(page) ORDER BY page.advertiser_id), '[]')
            FROM page
        ) AS advertisers
    FROM day
    WHERE day.date IS NOT NULL
)

SELECT
    row_to_json(answer)::text AS body,
    version.number AS version,
    (
        SELECT max(page.advertiser_id)
        FROM page
        WHERE
            EXISTS (
                SELECT 1
                FROM marts.active_advertisers
                WHERE
                    active_advertisers.date = answer.date
                    AND active_advertisers.advertiser_id > (SELECT max(shown.advertiser_id) FROM page AS shown)
                    AND (%(seen)s::text[] IS NULL OR active_advertisers.advertiser_id = any(%(seen)s::text[]))
            )
    ) AS next_after
FROM answer
CROSS JOIN marts.version
