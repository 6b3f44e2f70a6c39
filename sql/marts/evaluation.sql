-- marts.advertiser_evaluation, marts.evaluation: what became of the lists, by the events of the day after.
-- Grain: log day of the lists, model, advertiser active on both days; the same without advertiser.
-- Parameters: ds, the log day: the events of ds are what became of the lists of the day before, the events of the day
-- after are what became of those of ds. Each is written when both days are published.
-- lift = clicks on the listed products / clicks that as many impressions of average products would have had.
-- meaningful: in the table of (on the list, not on it) by (clicked, not clicked) every expected count is at least 5;
-- below, chance is larger than what is to be seen. Cochran, W. G. (1954): Some methods for strengthening the common
-- chi-square tests. Biometrics 10, 417-451. For all advertisers together, the sum of the smallest expected counts.
-- It says what happened, not why: nobody chose at random which products were shown, and a list that was followed
-- changes what is shown the day after.
-- expected_clicks is rounded and summed as numeric, so that a rerun gives the same last digit.
DELETE FROM marts.advertiser_evaluation
WHERE advertiser_evaluation.date IN (%(ds)s::date - 1, %(ds)s::date);

INSERT INTO marts.advertiser_evaluation (
    date,
    model,
    advertiser_id,
    products,
    products_shown,
    impressions,
    clicks,
    views,
    all_impressions,
    all_clicks,
    all_views,
    ctr,
    advertiser_ctr,
    expected_clicks,
    lift,
    click_share,
    view_share,
    smallest_expected,
    meaningful
)
WITH evaluated AS (
    SELECT
        publications.date,
        publications.model,
        publications.date + 1 AS day_after
    FROM marts.publications
    WHERE
        publications.date IN (%(ds)s::date - 1, %(ds)s::date)
        AND EXISTS (
            SELECT 1
            FROM marts.publications AS later
            WHERE later.date = publications.date + 1
        )
),

listed AS (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.advertiser_id,
        count(*) AS products,
        count(*) FILTER (WHERE product_daily.impressions > 0) AS products_shown,
        coalesce(sum(product_daily.impressions), 0) AS impressions,
        coalesce(sum(product_daily.clicks), 0) AS clicks,
        coalesce(sum(product_daily.views), 0) AS views
    FROM evaluated
    INNER JOIN marts.recommendations
        ON
            evaluated.date = recommendations.date
            AND evaluated.model = recommendations.model
    LEFT JOIN staging.product_daily
        ON
            evaluated.day_after = product_daily.date
            AND recommendations.advertiser_id = product_daily.advertiser_id
            AND recommendations.product_id = product_daily.product_id
    GROUP BY recommendations.date, recommendations.model, recommendations.advertiser_id
),

compared AS (
    SELECT
        listed.*,
        advertiser_daily.impressions AS all_impressions,
        advertiser_daily.clicks AS all_clicks,
        advertiser_daily.views AS all_views,
        coalesce(
            round(
                listed.impressions * advertiser_daily.clicks / nullif(advertiser_daily.impressions, 0)::numeric, 6
            ),
            0
        ) AS expected_clicks,
        -- The rarer of listed and not, of clicked and not. Clicks above impressions leave no room for 'not clicked'.
        coalesce(
            round(
                least(listed.impressions, advertiser_daily.impressions - listed.impressions)
                * greatest(least(advertiser_daily.clicks, advertiser_daily.impressions - advertiser_daily.clicks), 0)
                / nullif(advertiser_daily.impressions, 0)::numeric,
                6
            ),
            0
        ) AS smallest_expected
    FROM listed
    INNER JOIN marts.advertiser_daily
        ON
            listed.date + 1 = advertiser_daily.date
            AND listed.advertiser_id = advertiser_daily.advertiser_id
)

SELECT
    compared.date,
    compared.model,
    compared.advertiser_id,
    compared.products,
    compared.products_shown,
    compared.impressions,
    compared.clicks,
    compared.views,
    compared.all_impressions,
    compared.all_clicks,
    compared.all_views,
    compared.clicks::double precision / nullif(compared.impressions, 0) AS ctr,
    compared.all_clicks::double precision / nullif(compared.all_impressions, 0) AS advertiser_ctr,
    compared.expected_clicks,
    compared.clicks / nullif(compared.expected_clicks, 0) AS lift,
    compared.clicks::double precision / nullif(compared.all_clicks, 0) AS click_share,
    compared.views::double precision / nullif(compared.all_views, 0) AS view_share,
    compared.smallest_expected,
    compared.smallest_expected >= 5 AS meaningful
FROM compared;

DELETE FROM marts.evaluation
WHERE evaluation.date IN (%(ds)s::date - 1, %(ds)s::date);

INSERT INTO marts.evaluation (
    date,
    model,
    advertisers,
    impressions,
    clicks,
    views,
    all_impressions,
    all_clicks,
    all_views,
    ctr,
    average_ctr,
    expected_clicks,
    lift,
    click_share,
    view_share,
    smallest_expected,
    meaningful
)
WITH sums AS (
    SELECT
        advertiser_evaluation.date,
        advertiser_evaluation.model,
        count(*) AS advertisers,
        sum(advertiser_evaluation.impressions) AS impressions,
        sum(advertiser_evaluation.clicks) AS clicks,
        sum(advertiser_evaluation.views) AS views,
        sum(advertiser_evaluation.all_impressions) AS all_impressions,
        sum(advertiser_evaluation.all_clicks) AS all_clicks,
        sum(advertiser_evaluation.all_views) AS all_views,
        sum(advertiser_evaluation.expected_clicks::numeric) AS expected_clicks,
        sum(advertiser_evaluation.smallest_expected::numeric) AS smallest_expected
    FROM marts.advertiser_evaluation
    WHERE advertiser_evaluation.date IN (%(ds)s::date - 1, %(ds)s::date)
    GROUP BY advertiser_evaluation.date, advertiser_evaluation.model
)

SELECT
    sums.date,
    sums.model,
    sums.advertisers,
    sums.impressions,
    sums.clicks,
    sums.views,
    sums.all_impressions,
    sums.all_clicks,
    sums.all_views,
    sums.clicks::double precision / nullif(sums.impressions, 0) AS ctr,
    sums.expected_clicks::double precision / nullif(sums.impressions, 0) AS average_ctr,
    sums.expected_clicks,
    sums.clicks / nullif(sums.expected_clicks, 0) AS lift,
    sums.clicks::double precision / nullif(sums.all_clicks, 0) AS click_share,
    sums.views::double precision / nullif(sums.all_views, 0) AS view_share,
    sums.smallest_expected,
    sums.smallest_expected >= 5 AS meaningful
FROM sums;
