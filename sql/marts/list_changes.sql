-- marts.list_changes: How much of a list is new since the day on which its model was published before.
-- Grain: log day, model, advertiser with lists on both days
-- Source: marts.recommendations, marts.publications.
-- Freshness: DBWriting of the day, and of the day on which the model was published before it.
-- Parameters: ds, the log day: each model's lists are compared with those of the day on which it was published before,
-- and so are those of the next day on which it was published: with the day's, or where the day lacks the model with
-- those before it.
-- date: Log day of the list, UTC
-- model: Model name
-- advertiser_id: Advertiser
-- previous_date: The day on which the model was published before
-- products: Products on the list
-- replaced: Products on it that were not on the list of the day before
-- replaced_share: replaced / products, 0 to 1
-- rank_weighted_change: 1 - average overlap of the two lists, 0 (same products, same order) to 1: a change at the top
-- weighs more. Null: published before this was measured
--
-- Average overlap: with k the length of the longer list, the mean over d = 1 to k of (products among the first d of
-- both lists) / d. Fagin, R., Kumar, R., Sivakumar, D. (2003): Comparing top k lists. SIAM Journal on Discrete
-- Mathematics 17, 134-160 ("intersection metric"). A common product with ranks i and j counts from d = max(i, j) on,
-- so that its part is the sum of 1 / d from there to k.
-- Sums of fractions are numeric: exact, so that a rerun gives the same last digit.
DELETE FROM marts.list_changes
WHERE
    list_changes.date = %(ds)s::date
    OR (list_changes.date, list_changes.model) IN (
        SELECT DISTINCT ON (publications.model)
            publications.date,
            publications.model
        FROM marts.publications
        WHERE publications.date > %(ds)s::date
        ORDER BY publications.model ASC, publications.date ASC
    );

INSERT INTO marts.list_changes (
    date, model, advertiser_id, previous_date, products, replaced, replaced_share, rank_weighted_change
)
WITH concerned AS (
    SELECT
        publications.date,
        publications.model
    FROM marts.publications
    WHERE publications.date = %(ds)s::date
    UNION ALL
    (
        SELECT DISTINCT ON (publications.model)
            publications.date,
            publications.model
        FROM marts.publications
        WHERE publications.date > %(ds)s::date
        ORDER BY publications.model ASC, publications.date ASC
    )
),

pairs AS (
    SELECT
        concerned.date,
        concerned.model,
        earlier.date AS previous_date
    FROM concerned
    CROSS JOIN LATERAL (
        SELECT publications.date
        FROM marts.publications
        WHERE
            publications.model = concerned.model
            AND publications.date < concerned.date
        ORDER BY publications.date DESC
        LIMIT 1
    ) AS earlier
),

lists AS (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.advertiser_id,
        array_agg(recommendations.product_id ORDER BY recommendations.rank) AS products
    FROM marts.recommendations
    WHERE
        -- An array: these days are looked up by the index. Joined, the planner reads those of all days.
        recommendations.date = any(array(
            SELECT pairs.date
            FROM pairs
            UNION
            SELECT pairs.previous_date
            FROM pairs
        ))
    GROUP BY recommendations.date, recommendations.model, recommendations.advertiser_id
),

-- Not a join of the lists with themselves: the planner has no statistics of a day that has just been written.
neighbours AS (
    SELECT
        lists.date,
        lists.model,
        lists.advertiser_id,
        lists.products,
        lag(lists.date) OVER advertiser AS previous_date,
        lag(lists.products) OVER advertiser AS previous_products
    FROM lists
    WINDOW advertiser AS (PARTITION BY lists.model, lists.advertiser_id ORDER BY lists.date)
),

depths AS (
    SELECT
        series.depth,
        coalesce(sum(1.0 / nullif(series.depth, 0)) OVER (ORDER BY series.depth), 0) AS number
    FROM generate_series(0, 20) AS series (depth)
),

-- numbers[n + 1] = 1 + 1 / 2 + ... + 1 / n
harmonic AS (
    SELECT array_agg(depths.number ORDER BY depths.depth) AS numbers
    FROM depths
),

compared AS (
    SELECT
        neighbours.date,
        neighbours.model,
        neighbours.advertiser_id,
        neighbours.previous_date,
        neighbours.products,
        neighbours.previous_products,
        cardinality(neighbours.products) AS length,
        greatest(cardinality(neighbours.products), cardinality(neighbours.previous_products)) AS longer
    FROM neighbours
    INNER JOIN pairs
        ON
            neighbours.date = pairs.date
            AND neighbours.model = pairs.model
            AND neighbours.previous_date = pairs.previous_date
)

SELECT
    compared.date,
    compared.model,
    compared.advertiser_id,
    compared.previous_date,
    compared.length AS products,
    compared.length - common.products AS replaced,
    (compared.length - common.products)::double precision / compared.length AS replaced_share,
    round(1 - common.overlap / compared.longer, 6) AS rank_weighted_change
FROM compared
CROSS JOIN harmonic
CROSS JOIN LATERAL (
    SELECT
        count(*) AS products,
        coalesce(
            sum(harmonic.numbers[1 + compared.longer] - harmonic.numbers[greatest(listed.rank, previous.rank)]), 0
        ) AS overlap
    FROM unnest(compared.products) WITH ORDINALITY AS listed (product_id, rank)
    CROSS JOIN LATERAL array_position(compared.previous_products, listed.product_id) AS previous (rank)
    WHERE previous.rank IS NOT NULL
) AS common;
