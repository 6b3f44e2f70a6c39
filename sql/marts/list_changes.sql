-- marts.list_changes: how the day's lists differ from those of the published day before, and how those of the next
-- published day differ from the day's.
-- Grain: log day, model, advertiser with lists on both days. Parameters: ds, the log day.
-- replaced_share = products of the list that were not on the earlier list / products of the list.
-- rank_weighted_change = 1 - average overlap. With k the length of the longer list, average overlap is the mean over
-- d = 1 to k of (products among the first d of both lists) / d. Fagin, R., Kumar, R., Sivakumar, D. (2003): Comparing
-- top k lists. SIAM Journal on Discrete Mathematics 17, 134-160 ("intersection metric"). A common product with ranks i
-- and j counts from d = max(i, j) on, so that its part is the sum of 1 / d from there to k.
-- Sums of fractions are numeric: exact, so that a rerun gives the same last digit.
DELETE FROM marts.list_changes
WHERE
    list_changes.date = %(ds)s::date
    OR list_changes.date = (
        SELECT min(publications.date)
        FROM marts.publications
        WHERE publications.date > %(ds)s::date
    );

INSERT INTO marts.list_changes (
    date, model, advertiser_id, previous_date, products, replaced, replaced_share, rank_weighted_change
)
WITH days AS (
    SELECT
        publications.date,
        publications.model,
        lag(publications.date) OVER (PARTITION BY publications.model ORDER BY publications.date) AS previous_date
    FROM marts.publications
),

pairs AS (
    SELECT
        days.date,
        days.model,
        days.previous_date
    FROM days
    WHERE
        days.previous_date IS NOT NULL
        AND (days.date = %(ds)s::date OR days.previous_date = %(ds)s::date)
),

lists AS (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.advertiser_id,
        count(*) AS products
    FROM marts.recommendations
    WHERE
        recommendations.date IN (
            SELECT pairs.date
            FROM pairs
            UNION
            SELECT pairs.previous_date
            FROM pairs
        )
    GROUP BY recommendations.date, recommendations.model, recommendations.advertiser_id
),

list_pairs AS (
    SELECT
        pairs.date,
        pairs.model,
        later.advertiser_id,
        pairs.previous_date,
        later.products,
        greatest(later.products, earlier.products) AS longer
    FROM pairs
    INNER JOIN lists AS later
        ON
            pairs.date = later.date
            AND pairs.model = later.model
    INNER JOIN lists AS earlier
        ON
            pairs.previous_date = earlier.date
            AND pairs.model = earlier.model
            AND later.advertiser_id = earlier.advertiser_id
),

common AS (
    SELECT
        pairs.date,
        pairs.model,
        later.advertiser_id,
        greatest(later.rank, earlier.rank) AS depth
    FROM pairs
    INNER JOIN marts.recommendations AS later
        ON
            pairs.date = later.date
            AND pairs.model = later.model
    INNER JOIN marts.recommendations AS earlier
        ON
            pairs.previous_date = earlier.date
            AND pairs.model = earlier.model
            AND later.advertiser_id = earlier.advertiser_id
            AND later.product_id = earlier.product_id
),

-- harmonic_number of depth = 1 + 1 / 2 + ... + 1 / depth
harmonic AS (
    SELECT
        depths.depth,
        coalesce(sum(1.0 / nullif(depths.depth, 0)) OVER (ORDER BY depths.depth), 0) AS harmonic_number
    FROM generate_series(0, 20) AS depths (depth)
),

similarities AS (
    SELECT
        list_pairs.date,
        list_pairs.model,
        list_pairs.advertiser_id,
        count(*) AS products,
        sum(whole.harmonic_number - above.harmonic_number) / min(list_pairs.longer) AS average_overlap
    FROM list_pairs
    INNER JOIN common
        ON
            list_pairs.date = common.date
            AND list_pairs.model = common.model
            AND list_pairs.advertiser_id = common.advertiser_id
    INNER JOIN harmonic AS whole ON list_pairs.longer = whole.depth
    INNER JOIN harmonic AS above ON common.depth - 1 = above.depth
    GROUP BY list_pairs.date, list_pairs.model, list_pairs.advertiser_id
)

SELECT
    list_pairs.date,
    list_pairs.model,
    list_pairs.advertiser_id,
    list_pairs.previous_date,
    list_pairs.products,
    list_pairs.products - coalesce(similarities.products, 0) AS replaced,
    (list_pairs.products - coalesce(similarities.products, 0))::double precision
    / list_pairs.products AS replaced_share,
    round(1 - coalesce(similarities.average_overlap, 0), 6) AS rank_weighted_change
FROM list_pairs
LEFT JOIN similarities
    ON
        list_pairs.date = similarities.date
        AND list_pairs.model = similarities.model
        AND list_pairs.advertiser_id = similarities.advertiser_id;
