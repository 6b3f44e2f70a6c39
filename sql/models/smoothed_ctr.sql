-- SmoothedCTR: the products of an advertiser with the highest click-through rate of 7 days, shrunk to its mean.
-- Grain: advertiser, rank (1 to 20). Parameters: ds, the log day.
-- Reads the 7 days that end with the log day, those of them that are loaded, of the advertisers active on the log day.
-- smoothed_ctr: (clicks + strength * advertiser_ctr) / (impressions + strength), rounded to 9 decimals
-- ctr: clicks / impressions of the 7 days, as observed
-- clicks: ad clicks of the 7 days
-- impressions: ad impressions of the 7 days
-- advertiser_ctr: click-through rate of all products of the advertiser in the 7 days: what smoothed_ctr is shrunk to
-- strength: impressions that advertiser_ctr counts for; null: the products differ no more than by chance
-- days: days of the 7 that are loaded
--
-- Empirical Bayes. The click rates of an advertiser's products are taken as drawn from one beta distribution with mean
-- p = advertiser_ctr and variance p (1 - p) / (strength + 1). With clicks k and impressions n of m products, and N the
-- sum of n, the moment estimator of 1 / (strength + 1) = g weighs each product by n:
--     S = sum of n (k / n - p)^2,   E(S) = p (1 - p) ((m - 1) + g (N - sum of n^2 / N - (m - 1)))
-- Kleinman, J. C. (1973): Proportions with extraneous variance: single and independent samples. Journal of the American
-- Statistical Association 68, 46-54. Where g comes out at or below 0 (also: one product, no click), the products differ
-- no more than by chance: strength is infinite, every product has the advertiser's rate.
--
-- clicks above impressions (a click after midnight, its impression before the 7 days) count as impressions, in the
-- formula only. A product without an impression in the 7 days has no rate and is not ranked.
-- Order: smoothed_ctr, then the clicks above what the mean would give (the limit of the order as strength grows, so
-- that it decides where all are shrunk to the mean), then more impressions, then the product id (byte order).
-- Sums of fractions are numeric: exact, so that the same counts give the same last digit in any order of summation.
WITH days AS (
    SELECT count(*) AS loaded
    FROM staging.loads
    WHERE loads.date BETWEEN %(ds)s::date - 6 AND %(ds)s::date
),

counted AS (
    SELECT
        product_daily.advertiser_id,
        product_daily.product_id,
        sum(product_daily.clicks)::bigint AS clicks,
        sum(product_daily.impressions)::bigint AS impressions
    FROM staging.product_daily
    INNER JOIN staging.active_advertisers
        ON
            product_daily.advertiser_id = active_advertisers.advertiser_id
            AND active_advertisers.date = %(ds)s::date
    WHERE product_daily.date BETWEEN %(ds)s::date - 6 AND %(ds)s::date
    GROUP BY product_daily.advertiser_id, product_daily.product_id
),

products AS (
    SELECT
        counted.advertiser_id,
        counted.product_id,
        counted.clicks,
        counted.impressions,
        least(counted.clicks, counted.impressions) AS k,
        counted.impressions AS n
    FROM counted
    WHERE counted.impressions > 0
),

advertisers AS (
    SELECT
        products.advertiser_id,
        count(*) AS m,
        sum(products.k) AS k,
        sum(products.n) AS n,
        sum(products.n::numeric * products.n) AS n_squared,
        sum(products.k::numeric * products.k / products.n) AS k_squared_over_n
    FROM products
    GROUP BY products.advertiser_id
),

moments AS (
    SELECT
        advertisers.advertiser_id,
        advertisers.k,
        advertisers.n,
        (advertisers.k / advertisers.n)::double precision AS p,
        (advertisers.k * (advertisers.n - advertisers.k) / advertisers.n / advertisers.n)::double precision AS p_q,
        (advertisers.k_squared_over_n - advertisers.k * advertisers.k / advertisers.n)::double precision AS s,
        (advertisers.m - 1)::double precision AS m_less_1,
        (advertisers.n - advertisers.n_squared / advertisers.n)::double precision AS n_between
    FROM advertisers
),

-- Nothing is to be estimated from one product, from products of one impression each, or without a click.
dispersions AS (
    SELECT
        moments.advertiser_id,
        moments.k,
        moments.n,
        moments.p,
        CASE
            WHEN moments.p_q > 0 AND moments.n_between > moments.m_less_1
                THEN
                    (moments.s - moments.p_q * moments.m_less_1)
                    / (moments.p_q * (moments.n_between - moments.m_less_1))
        END AS g
    FROM moments
),

priors AS (
    SELECT
        dispersions.advertiser_id,
        dispersions.k,
        dispersions.n,
        dispersions.p,
        CASE WHEN dispersions.g > 0 THEN greatest(1 / dispersions.g - 1, 0) END AS strength
    FROM dispersions
),

smoothed AS (
    SELECT
        products.advertiser_id,
        products.product_id,
        products.clicks,
        products.impressions,
        round(
            coalesce((products.k + priors.strength * priors.p) / (products.n + priors.strength), priors.p)::numeric, 9
        ) AS smoothed_ctr,
        products.k * priors.n - products.n * priors.k AS clicks_above_mean,
        priors.p AS advertiser_ctr,
        priors.strength
    FROM products
    INNER JOIN priors ON products.advertiser_id = priors.advertiser_id
),

ranked AS (
    SELECT
        smoothed.*,
        row_number() OVER (
            PARTITION BY smoothed.advertiser_id
            ORDER BY
                smoothed.smoothed_ctr DESC,
                smoothed.clicks_above_mean DESC,
                smoothed.impressions DESC,
                smoothed.product_id ASC
        ) AS rank
    FROM smoothed
)

SELECT
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    ranked.smoothed_ctr AS score,
    ranked.smoothed_ctr::double precision AS smoothed_ctr,
    ranked.clicks::double precision / ranked.impressions AS ctr,
    ranked.clicks,
    ranked.impressions,
    round(ranked.advertiser_ctr::numeric, 9)::double precision AS advertiser_ctr,
    round(ranked.strength::numeric, 3)::double precision AS strength,
    days.loaded AS days
FROM ranked
CROSS JOIN days
WHERE ranked.rank <= 20
