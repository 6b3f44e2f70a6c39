-- DecayedCTR: the products of an advertiser with the highest click-through rate of 30 days, recent days weighing most.
-- Grain: advertiser, rank (1 to 20). Parameters: ds, the log day.
-- Reads the 30 days that end with the log day, those of them that are loaded, of the advertisers active on the log day.
-- decayed_ctr: (effective_impressions * rate + strength * mean_ctr) / (effective_impressions + strength), rounded to 9
-- decimals; rate is the click-through rate of the weighted counts
-- ctr: clicks / impressions of the 30 days, as observed; null: not shown in them
-- clicks: ad clicks of the 30 days
-- impressions: ad impressions of the 30 days
-- effective_impressions: impressions of one day that would tell the rate as well, rounded to 3 decimals
-- mean_ctr: mean click-through rate of the advertiser's products: what decayed_ctr is shrunk to
-- strength: impressions that mean_ctr counts for; null: the products differ no more than by chance
-- days: days of the 30 that are loaded
--
-- A day of age a (the log day has 0) weighs w = 2^(-a / 10): after ten days half. Exponential smoothing of clicks and
-- impressions, with a beta prior: Wang, X. et al. (2011): Click-through rate estimation for rare events in online
-- advertising. With n1 = sum of w * impressions and n2 = sum of w^2 * impressions, the rate
--     x = least(sum of w * clicks / n1, 1)
-- has the variance that n = n1^2 / n2 impressions of one day would give: the effective impressions (Kish 1965).
-- The strength of the prior: the moments of SmoothedCTR (Kleinman 1973) on x and n. Its mean is that of the products,
--     m = sum of x n / (n + strength) / sum of n / (n + strength)
-- and not that of the impressions, which were decided by lists like this one. Of infinite strength it is that of n.
--
-- Only products with a view or an impression in the last 3 days: a rate that was good says nothing of a product that
-- has gone. Of them, one without an impression in the 30 days has the mean; where no product has any, none is ranked.
-- Order: decayed_ctr, then the clicks above what the mean would give (the limit of the order as strength grows, so that
-- it decides where all are shrunk to the mean), then more effective impressions, then the product id (byte order).
-- Sums do not depend on their order, so a rerun has the same last digit: weights are whole thousandths, and whole
-- numbers are added exactly in double precision up to 2^53 (nine billion impressions of a product); fractions are
-- summed in billionths.
-- An advertiser at a time, each of its days looked up by the primary key: the planner has no other way, whatever it
-- knows of the days, and the counts of one advertiser stay in the processor's cache, where those of all do not.
WITH products AS (
    SELECT
        active_advertisers.advertiser_id,
        counted.*
    FROM staging.active_advertisers
    CROSS JOIN
        LATERAL (
            SELECT
                product_daily.product_id,
                -- Most rows have no click.
                coalesce(sum(weighed.clicks) FILTER (WHERE weighed.clicks > 0), 0) AS clicks,
                sum(weighed.impressions) AS impressions,
                coalesce(sum(weighed.w * weighed.clicks) FILTER (WHERE weighed.clicks > 0), 0) AS k1,
                sum(weighed.w * weighed.impressions) AS n1,
                sum(weighed.w_squared * weighed.impressions) AS n2
            FROM staging.product_daily
            CROSS JOIN
                LATERAL (
                    SELECT
                        product_daily.clicks::double precision AS clicks,
                        product_daily.impressions::double precision AS impressions,
                        -- round(1000 * 2^(-a / 10)) of the ages 0 to 29.
                        (
                            '{1000, 933, 871, 812, 758, 707, 660, 616, 574, 536,
                            500, 467, 435, 406, 379, 354, 330, 308, 287, 268,
                            250, 233, 218, 203, 189, 177, 165, 154, 144, 134}'::double precision[]
                        )[1 + %(ds)s::date - product_daily.date] AS w,
                        -- Their squares: looked up is faster than multiplied.
                        (
                            '{1000000, 870489, 758641, 659344, 574564, 499849, 435600, 379456, 329476, 287296,
                            250000, 218089, 189225, 164836, 143641, 125316, 108900, 94864, 82369, 71824,
                            62500, 54289, 47524, 41209, 35721, 31329, 27225, 23716, 20736, 17956}'::double precision[]
                        )[1 + %(ds)s::date - product_daily.date] AS w_squared,
                        product_daily.date > %(ds)s::date - 3
                        AND product_daily.views + product_daily.impressions > 0 AS is_seen
                ) AS weighed
            WHERE
                product_daily.advertiser_id = active_advertisers.advertiser_id
                AND product_daily.date IN (
                    %(ds)s::date, %(ds)s::date - 1, %(ds)s::date - 2, %(ds)s::date - 3, %(ds)s::date - 4,
                    %(ds)s::date - 5, %(ds)s::date - 6, %(ds)s::date - 7, %(ds)s::date - 8, %(ds)s::date - 9,
                    %(ds)s::date - 10, %(ds)s::date - 11, %(ds)s::date - 12, %(ds)s::date - 13, %(ds)s::date - 14,
                    %(ds)s::date - 15, %(ds)s::date - 16, %(ds)s::date - 17, %(ds)s::date - 18, %(ds)s::date - 19,
                    %(ds)s::date - 20, %(ds)s::date - 21, %(ds)s::date - 22, %(ds)s::date - 23, %(ds)s::date - 24,
                    %(ds)s::date - 25, %(ds)s::date - 26, %(ds)s::date - 27, %(ds)s::date - 28, %(ds)s::date - 29
                )
            GROUP BY product_daily.advertiser_id, product_daily.product_id
            HAVING bool_or(weighed.is_seen)
        ) AS counted
    WHERE active_advertisers.date = %(ds)s::date
),

-- k is n * x.
rated AS (
    SELECT
        products.advertiser_id,
        products.product_id,
        products.clicks,
        products.impressions,
        coalesce(least(products.k1, products.n1) * products.n1 / nullif(products.n2, 0), 0) AS k,
        coalesce(products.n1 * products.n1 / nullif(products.n2, 0), 0) AS n
    FROM products
),

totals AS (
    SELECT
        rated.*,
        count(*) FILTER (WHERE rated.n > 0) OVER advertiser - 1 AS m_less_1,
        (sum(round(rated.k * 1e9)::bigint) OVER advertiser)::double precision / 1e9 AS all_k,
        (sum(round(rated.n * 1e9)::bigint) OVER advertiser)::double precision / 1e9 AS all_n,
        (sum((rated.n * rated.n)::numeric) OVER advertiser)::double precision AS n_squared,
        (sum(round(rated.k * rated.k / nullif(rated.n, 0) * 1e9)::bigint) OVER advertiser)::double precision
        / 1e9 AS k_squared_over_n
    FROM rated
    WINDOW advertiser AS (PARTITION BY rated.advertiser_id)
),

moments AS (
    SELECT
        totals.*,
        totals.all_k / totals.all_n AS p,
        totals.k_squared_over_n - totals.all_k * totals.all_k / totals.all_n AS s,
        totals.all_n - totals.n_squared / totals.all_n AS n_between
    FROM totals
    WHERE totals.all_n > 0
),

-- 1 / g - 1, g being the dispersion as in SmoothedCTR. Nothing is to be estimated where g is not above 0, and from one
-- product, from products of one impression each, or without a click.
priors AS (
    SELECT
        moments.*,
        CASE
            WHEN
                moments.m_less_1 > 0 AND moments.p > 0 AND moments.p < 1
                AND moments.n_between > moments.m_less_1
                AND moments.s > moments.m_less_1 * moments.p * (1 - moments.p)
                THEN
                    greatest(
                        (moments.n_between - moments.m_less_1)
                        / (moments.s / (moments.p * (1 - moments.p)) - moments.m_less_1)
                        - 1,
                        0
                    )
        END AS strength
    FROM moments
),

-- Weights times 1 + strength, which changes no mean: so they stay between 1 and n, however strong the prior.
means AS (
    SELECT
        priors.*,
        coalesce(
            (
                sum(round(1e9 * priors.k * (1 + priors.strength) / nullif(priors.n + priors.strength, 0))::bigint)
                    OVER advertiser
            )::double precision
            / (
                sum(round(1e9 * priors.n * (1 + priors.strength) / nullif(priors.n + priors.strength, 0))::bigint)
                    OVER advertiser
            )::double precision,
            priors.p
        ) AS mean_ctr
    FROM priors
    WINDOW advertiser AS (PARTITION BY priors.advertiser_id)
),

smoothed AS (
    SELECT
        means.*,
        round(1e9 * coalesce(
            (means.k + means.strength * means.mean_ctr) / nullif(means.n + means.strength, 0), means.mean_ctr
        )) / 1e9 AS decayed_ctr,
        round(1e6 * (means.k - means.n * means.p)) AS clicks_above_mean,
        round(1e3 * means.n) / 1e3 AS effective_impressions
    FROM means
),

ranked AS (
    SELECT
        smoothed.*,
        row_number() OVER (
            PARTITION BY smoothed.advertiser_id
            ORDER BY
                smoothed.decayed_ctr DESC,
                smoothed.clicks_above_mean DESC,
                smoothed.effective_impressions DESC,
                smoothed.product_id ASC
        ) AS rank
    FROM smoothed
)

SELECT
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    ranked.decayed_ctr AS score,
    ranked.decayed_ctr,
    ranked.clicks / nullif(ranked.impressions, 0) AS ctr,
    ranked.clicks::bigint AS clicks,
    ranked.impressions::bigint AS impressions,
    ranked.effective_impressions,
    round(ranked.mean_ctr::numeric, 9)::double precision AS mean_ctr,
    round(ranked.strength::numeric, 3)::double precision AS strength,
    (
        SELECT count(*)
        FROM staging.loads
        WHERE loads.date BETWEEN %(ds)s::date - 29 AND %(ds)s::date
    ) AS days
FROM ranked
