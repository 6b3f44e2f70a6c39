-- What the audits of sql/audits/publication would say of lists that were ranked to be looked at.
-- Grain: audit that would be broken. Parameters: ds, the log day; preview, the name under which the candidates are.
-- Products that a model makes up are asked for a list at a time, as in sql/audits/publication/products_had_events.sql.
WITH listed AS (
    SELECT
        candidates.advertiser_id,
        candidates.rank,
        candidates.product_id,
        candidates.score,
        lag(candidates.score) OVER (PARTITION BY candidates.advertiser_id ORDER BY candidates.rank) AS score_above,
        row_number() OVER (PARTITION BY candidates.advertiser_id ORDER BY candidates.rank) AS place
    FROM models.candidates
    WHERE
        candidates.date = %(ds)s::date
        AND candidates.model = %(preview)s
),

broken AS (
    SELECT
        'every_model_is_published' AS audit,
        'it lists nothing' AS said
    WHERE
        NOT EXISTS (SELECT 1 FROM listed)
        AND NOT EXISTS (SELECT 1 FROM pg_temp.dropped)
    UNION ALL
    SELECT
        'lists_are_whole' AS audit,
        'rank ' || listed.rank || ' of ' || listed.advertiser_id || ' has the score ' || listed.score AS said
    FROM listed
    WHERE
        listed.rank <> listed.place
        OR listed.score > listed.score_above
        OR listed.score IN ('NaN', 'Infinity', '-Infinity')
    UNION ALL
    SELECT
        'active_advertisers_only' AS audit,
        'not active: ' || listed.advertiser_id AS said
    FROM listed
    WHERE
        listed.advertiser_id NOT IN (
            SELECT active_advertisers.advertiser_id
            FROM staging.active_advertisers
            WHERE active_advertisers.date = %(ds)s::date
        )
    UNION ALL
    -- Asked of the candidates themselves: the nodes of Citus know no others.
    SELECT
        'products_had_events' AS audit,
        'no event in 31 days: ' || candidates.product_id || ' of ' || candidates.advertiser_id AS said
    FROM models.candidates
    WHERE
        candidates.date = %(ds)s::date
        AND candidates.model = %(preview)s
        AND NOT EXISTS (
            SELECT 1
            FROM generate_series(0, 30) AS back (days)
            CROSS JOIN LATERAL (
                SELECT 1 AS found
                FROM staging.product_daily
                WHERE
                    product_daily.date = %(ds)s::date - back.days
                    AND product_daily.advertiser_id = candidates.advertiser_id
                    AND product_daily.product_id = candidates.product_id
                GROUP BY product_daily.advertiser_id
            ) AS seen
        )
)

SELECT
    broken.audit,
    count(*) AS broken_rows,
    min(broken.said) AS said
FROM broken
GROUP BY broken.audit
ORDER BY broken.audit
