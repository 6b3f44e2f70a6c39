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
WITH counted AS (
    -- Not a join with the active list: the planner, which knows nothing of a day that has just been written, expects
    -- one advertiser on it and would read the 7 days again for each.
    SELECT
        product_daily.advertiser_id,
        product_daily.product_id,
        product_daily.clicks,
        product_daily.impressions,
        false AS is_active
    FROM staging.product_daily
    WHERE product_daily.date BETWEEN %(ds)s::date - 6 AND %(ds)s::date
    UNION ALL
    SELECT
        active_advertisers.advertiser_id,
        null AS product_id,
        0 AS clicks,
        0 AS impressions,
        true AS is_active
    FROM staging.active_advertisers
    WHERE active_advertisers.date = %(ds)s::date
),

of_the_week AS (
    SELECT
        counted.advertiser_id,
        counted.product_id,
        sum(counted.clicks)::bigint AS clicks,
        sum(counted.impressions)::bigint AS impressions,
        bool_or(bool_or(counted.is_active)) OVER (PARTITION BY counted.advertiser_id) AS is_active
    FROM counted
    GROUP BY counted.advertiser_id, counted.product_id
),

products AS (
    SELECT
        of_the_week.advertiser_id,
        of_the_week.product_id,
        of_the_week.clicks,
        of_the_week.impressions,
        least(of_the_week.clicks, of_the_week.impressions) AS k,
        of_the_week.impressions AS n
    FROM of_the_week
    WHERE
        of_the_week.is_active
        AND of_the_week.impressions > 0
),

totals AS (
    SELECT
        products.*,
        count(*) OVER advertiser AS m,
        sum(products.k) OVER advertiser AS all_k,
        sum(products.n) OVER advertiser AS all_n,
        sum(products.n::numeric * products.n) OVER advertiser AS n_squared,
        sum(products.k::numeric * products.k / products.n) OVER advertiser AS k_squared_over_n
    FROM products
    WINDOW advertiser AS (PARTITION BY products.advertiser_id)
),

moments AS (
    SELECT
        totals.*,
        totals.all_k::double precision / totals.all_n::double precision AS p,
        totals.k_squared_over_n::double precision
        - totals.all_k::double precision * totals.all_k::double precision / totals.all_n::double precision AS s,
        (totals.m - 1)::double precision AS m_less_1,
        totals.all_n::double precision
        - totals.n_squared::double precision / totals.all_n::double precision AS n_between,
        row_number() OVER (PARTITION BY totals.advertiser_id) AS fence1
    FROM totals
),

-- Nothing is to be estimated from one product, from products of one impression each, or without a click.
dispersions AS (
    SELECT
        moments.*,
        CASE
            WHEN moments.p > 0 AND moments.p < 1 AND moments.n_between > moments.m_less_1
                THEN
                    (moments.s / (moments.p * (1 - moments.p)) - moments.m_less_1)
                    / (moments.n_between - moments.m_less_1)
        END AS g
    FROM moments
),

-- The fences keep what is here and above from being inlined: each expression would be computed again wherever it is
-- used.
priors AS (
    SELECT
        dispersions.*,
        CASE WHEN dispersions.g > 0 THEN greatest(1 / dispersions.g - 1, 0) END AS strength,
        row_number() OVER (PARTITION BY dispersions.advertiser_id) AS fence2
    FROM dispersions
),

smoothed AS (
    SELECT
        priors.advertiser_id,
        priors.product_id,
        priors.clicks,
        priors.impressions,
        round(
            coalesce((priors.k + priors.strength * priors.p) / (priors.n + priors.strength), priors.p)::numeric, 9
        ) AS smoothed_ctr,
        priors.k * priors.all_n - priors.n * priors.all_k AS clicks_above_mean,
        priors.p AS advertiser_ctr,
        priors.strength
    FROM priors
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
    (
        SELECT count(*)
        FROM staging.loads
        WHERE loads.date BETWEEN %(ds)s::date - 6 AND %(ds)s::date
    ) AS days
FROM ranked
