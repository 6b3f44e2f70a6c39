-- pg_temp.previewed: The lists of a day that were ranked to be looked at, beside the published ones of a model.
-- Grain: log day, advertiser with a list of either
-- Source: models.candidates, marts.recommendations, staging.product_daily of the day after.
-- Parameters: ds, the log day; preview, the name under which the candidates are; against, the published model.
--
-- met_at: of each product on both lists the depth from which on both name it. change: 1 - average overlap, as in
-- sql/marts/list_changes.sql. comes and goes: what only one of the lists names, by rank. new_e and old_e: clicks that
-- as many impressions of products not listed would have had, as in sql/marts/advertiser_evaluation.sql; null: there is
-- nothing to compare.
CREATE TEMPORARY TABLE IF NOT EXISTS previewed (
    date date,
    advertiser_id text COLLATE "C",
    common bigint,
    longer bigint,
    met_at bigint[],
    change numeric,
    comes text[],
    goes text[],
    new_c numeric,
    new_e numeric,
    old_c numeric,
    old_e numeric
);

INSERT INTO pg_temp.previewed (date, advertiser_id, common, longer, met_at, comes, goes, new_c, new_e, old_c, old_e)
WITH listed AS (
    SELECT
        candidates.advertiser_id,
        candidates.product_id,
        candidates.rank AS new_rank,
        NULL::integer AS old_rank,
        0::numeric AS impressions,
        0::numeric AS clicks
    FROM models.candidates
    WHERE
        candidates.date = %(ds)s::date
        AND candidates.model = %(preview)s
    UNION ALL
    SELECT
        recommendations.advertiser_id,
        recommendations.product_id,
        NULL AS new_rank,
        recommendations.rank AS old_rank,
        0 AS impressions,
        0 AS clicks
    FROM marts.recommendations
    WHERE
        recommendations.date = %(ds)s::date
        AND recommendations.model = %(against)s
    UNION ALL
    SELECT
        product_daily.advertiser_id,
        product_daily.product_id,
        NULL AS new_rank,
        NULL AS old_rank,
        product_daily.impressions,
        product_daily.clicks
    FROM staging.product_daily
    WHERE product_daily.date = %(ds)s::date + 1
),

products AS (
    SELECT
        listed.advertiser_id,
        listed.product_id,
        max(listed.new_rank) AS new_rank,
        max(listed.old_rank) AS old_rank,
        sum(listed.impressions) AS impressions,
        sum(listed.clicks) AS clicks
    FROM listed
    GROUP BY listed.advertiser_id, listed.product_id
),

sums AS (
    SELECT
        products.advertiser_id,
        count(*) FILTER (WHERE products.new_rank + products.old_rank > 0) AS common,
        greatest(count(products.new_rank), count(products.old_rank)) AS longer,
        array_agg(greatest(products.new_rank, products.old_rank))
        FILTER (WHERE products.new_rank + products.old_rank > 0) AS met_at,
        array_agg(products.product_id ORDER BY products.new_rank)
        FILTER (WHERE products.new_rank > 0 AND products.old_rank IS NULL) AS comes,
        array_agg(products.product_id ORDER BY products.old_rank)
        FILTER (WHERE products.old_rank > 0 AND products.new_rank IS NULL) AS goes,
        sum(products.impressions) AS i,
        sum(products.clicks) AS c,
        nullif(sum(products.impressions) FILTER (WHERE products.new_rank > 0), 0) AS new_i,
        sum(products.clicks) FILTER (WHERE products.new_rank > 0) AS new_c,
        nullif(sum(products.impressions) FILTER (WHERE products.old_rank > 0), 0) AS old_i,
        sum(products.clicks) FILTER (WHERE products.old_rank > 0) AS old_c
    FROM products
    GROUP BY products.advertiser_id
)

SELECT
    %(ds)s::date AS date,
    sums.advertiser_id,
    sums.common,
    sums.longer,
    sums.met_at,
    sums.comes,
    sums.goes,
    sums.new_c,
    sums.new_i * (sums.c - sums.new_c) / nullif(sums.i - sums.new_i, 0) AS new_e,
    sums.old_c,
    sums.old_i * (sums.c - sums.old_c) / nullif(sums.i - sums.old_i, 0) AS old_e
FROM sums
WHERE sums.longer > 0;

-- A statement of its own: Citus can not plan it together with what is distributed.
UPDATE pg_temp.previewed
SET
    change = 1 - coalesce(
        (
            SELECT sum(1.0 / series.depth)
            FROM unnest(previewed.met_at) AS met (place)
            CROSS JOIN LATERAL generate_series(met.place, previewed.longer) AS series (depth)
        ),
        0
    ) / previewed.longer
WHERE previewed.date = %(ds)s::date
