-- TopProduct: the products of an advertiser that were viewed most on the day.
-- Grain: advertiser, rank (1 to 20). Parameters: ds, the log day.
-- views: views of the product's page on the day
--
-- Order: views. Ties are common at the cut, so the product id (byte order) makes the order total: the same logs give
-- the same list.
WITH ranked AS (
    SELECT
        product_daily.advertiser_id,
        product_daily.product_id,
        product_daily.views,
        row_number() OVER (
            PARTITION BY product_daily.advertiser_id
            ORDER BY product_daily.views DESC, product_daily.product_id ASC
        ) AS rank
    FROM staging.product_daily
    WHERE
        product_daily.date = %(ds)s::date
        AND product_daily.views > 0
)

SELECT
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    ranked.views AS score,
    ranked.views
FROM ranked
