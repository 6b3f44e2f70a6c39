-- TopCTR: the products of an advertiser with the highest click-through rate of the day.
-- Grain: advertiser, rank (1 to 20). Parameters: ds, the log day.
-- ctr: click-through rate, clicks / impressions of the day; above 1 where a click came after midnight
-- clicks: ad clicks of the day
-- impressions: ad impressions of the day
--
-- A product without an impression that day has no rate and is not ranked.
-- Order: rate, then more clicks, then fewer impressions. At a rate of about 1 percent most lists are cut inside a tie,
-- so the product id (byte order) makes the order total: the same logs give the same list.
WITH rates AS (
    SELECT
        product_daily.advertiser_id,
        product_daily.product_id,
        product_daily.clicks::double precision / product_daily.impressions AS ctr,
        product_daily.clicks,
        product_daily.impressions
    FROM staging.product_daily
    WHERE
        product_daily.date = %(ds)s::date
        AND product_daily.impressions > 0
),

ranked AS (
    SELECT
        rates.*,
        row_number() OVER (
            PARTITION BY rates.advertiser_id
            ORDER BY rates.ctr DESC, rates.clicks DESC, rates.impressions ASC, rates.product_id ASC
        ) AS rank
    FROM rates
)

SELECT
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    ranked.ctr AS score,
    ranked.ctr,
    ranked.clicks,
    ranked.impressions
FROM ranked
