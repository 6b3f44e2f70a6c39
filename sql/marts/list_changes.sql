-- marts.list_changes: how the day's lists differ from those of the published day before, and how those of the next
-- published day differ from the day's.
-- Grain: log day, model, advertiser with lists on both days. Parameters: ds, the log day.
-- replaced_share = products of the list that were not on the earlier list / products of the list.
DELETE FROM marts.list_changes
WHERE
    list_changes.date = %(ds)s::date
    OR list_changes.date = (
        SELECT min(publications.date)
        FROM marts.publications
        WHERE publications.date > %(ds)s::date
    );

INSERT INTO marts.list_changes (date, model, advertiser_id, previous_date, products, replaced, replaced_share)
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
        array_agg(recommendations.product_id) AS products
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
)

SELECT
    pairs.date,
    pairs.model,
    later.advertiser_id,
    pairs.previous_date,
    cardinality(later.products) AS products,
    fresh.products AS replaced,
    fresh.products::double precision / cardinality(later.products) AS replaced_share
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
CROSS JOIN LATERAL (
    SELECT count(*) AS products
    FROM unnest(later.products) AS product (product_id)
    WHERE product.product_id <> all(earlier.products)
) AS fresh;
