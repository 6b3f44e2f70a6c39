-- marts.advertiser_evaluation: What became of an advertiser's list: the events of the day after on the products it
-- names, beside all of the advertiser's. Once the day after is published.
-- Grain: log day of the list, model, advertiser active on both days
-- Source: marts.recommendations and marts.publications of the day, marts.advertiser_daily of the day after, and what
-- marts.product_daily shows of it: staging.product_daily, or staging.product_daily_published of staging.days_set_aside.
-- Freshness: DBWriting of the day and of the day after it, once both are published.
-- Parameters: ds, the log day: its events are what became of the lists of the day before, those of the day after
-- what became of its own.
-- date: Log day of the list, UTC; the events are those of date + 1
-- model: Model name
-- advertiser_id: Advertiser
-- products: Products on the list
-- products_shown: Those with an ad impression the day after
-- impressions: Ad impressions of the listed products the day after
-- clicks: Ad clicks on the listed products the day after
-- views: Views of the listed products the day after
-- all_impressions: Ad impressions of all products of the advertiser that day
-- all_clicks: Ad clicks on all products of the advertiser that day
-- all_views: Views of all products of the advertiser that day
-- ctr: clicks / impressions; null without an impression
-- advertiser_ctr: all_clicks / all_impressions; null without an impression
-- expected_clicks: impressions * advertiser_ctr: clicks that as many impressions of average products would have had
-- lift: clicks / expected_clicks: 1 is the advertiser's average, 1.5 half as many again. Null: no click was to be
-- expected
-- click_share: clicks / all_clicks, 0 to 1; null without a click
-- view_share: views / all_views, 0 to 1; null without a view
-- smallest_expected: Expected count of the rarest of the four outcomes: on the list or not, clicked or not
-- meaningful: smallest_expected is at least 5 (Cochran 1954): otherwise lift is mostly chance
-- unlisted_ctr: Click-through rate of the advertiser's products that are not on the list; null: none of them was shown
-- unlisted_expected: impressions * unlisted_ctr: clicks that as many impressions of products not listed would have had;
-- null unless both were shown
-- listed_share: impressions / all_impressions, 0 to 1; null without an impression
-- dead_slots: Products on the list without any event the day after
-- concentration: Sum of squared shares of the listed products in their impressions: 1 / products where all are shown
-- alike, 1 where one has them all; null without an impression
--
-- meaningful: in the table of (on the list, not on it) by (clicked, not clicked) every expected count is at least 5;
-- below, chance is larger than what is to be seen. Cochran, W. G. (1954): Some methods for strengthening the common
-- chi-square tests. Biometrics 10, 417-451.
-- It says what happened, not why: nobody chose at random which products were shown, and a list that was followed
-- changes what is shown the day after.
-- What became of a product is looked up by the whole primary key, where its counts are: GROUP BY leaves the planner no
-- other way, like reading the counts of all days ever.
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
    meaningful,
    unlisted_ctr,
    unlisted_expected,
    listed_share,
    dead_slots,
    concentration
)
WITH evaluated AS (
    SELECT
        publications.date,
        publications.model,
        publications.date + 1 AS day_after,
        publications.date + 1 IN (SELECT days_set_aside.date FROM staging.days_set_aside) AS is_set_aside
    FROM marts.publications
    WHERE
        publications.date IN (%(ds)s::date - 1, %(ds)s::date)
        AND EXISTS (
            SELECT 1
            FROM marts.publications AS later
            WHERE later.date = publications.date + 1
        )
),

lists AS (
    SELECT
        recommendations.date,
        recommendations.model,
        recommendations.advertiser_id,
        recommendations.product_id,
        evaluated.day_after,
        evaluated.is_set_aside
    FROM evaluated
    INNER JOIN marts.recommendations
        ON
            evaluated.date = recommendations.date
            AND evaluated.model = recommendations.model
),

-- The lists, and what the day after says of their products, one below the other.
counted AS (
    SELECT
        lists.date,
        lists.model,
        lists.advertiser_id,
        count(*) AS products,
        0 AS products_with_events,
        0 AS products_shown,
        0 AS impressions,
        0 AS clicks,
        0 AS views,
        0 AS squares
    FROM lists
    GROUP BY lists.date, lists.model, lists.advertiser_id
    UNION ALL
    SELECT
        lists.date,
        lists.model,
        outcome.advertiser_id,
        0 AS products,
        count(*) AS products_with_events,
        count(*) FILTER (WHERE outcome.impressions > 0) AS products_shown,
        sum(outcome.impressions) AS impressions,
        sum(outcome.clicks) AS clicks,
        sum(outcome.views) AS views,
        sum(outcome.impressions * outcome.impressions) AS squares
    FROM lists
    CROSS JOIN
        LATERAL (
            SELECT
                product_daily.advertiser_id,
                max(product_daily.impressions) AS impressions,
                max(product_daily.clicks) AS clicks,
                max(product_daily.views) AS views
            FROM staging.product_daily
            WHERE
                product_daily.date = lists.day_after
                AND product_daily.advertiser_id = lists.advertiser_id
                AND product_daily.product_id = lists.product_id
            GROUP BY product_daily.advertiser_id
        ) AS outcome
    WHERE NOT lists.is_set_aside
    GROUP BY lists.date, lists.model, outcome.advertiser_id
    UNION ALL
    SELECT
        lists.date,
        lists.model,
        outcome.advertiser_id,
        0 AS products,
        count(*) AS products_with_events,
        count(*) FILTER (WHERE outcome.impressions > 0) AS products_shown,
        sum(outcome.impressions) AS impressions,
        sum(outcome.clicks) AS clicks,
        sum(outcome.views) AS views,
        sum(outcome.impressions * outcome.impressions) AS squares
    FROM lists
    CROSS JOIN
        LATERAL (
            SELECT
                aside.advertiser_id,
                max(aside.impressions) AS impressions,
                max(aside.clicks) AS clicks,
                max(aside.views) AS views
            FROM staging.product_daily_published AS aside
            WHERE
                aside.date = lists.day_after
                AND aside.advertiser_id = lists.advertiser_id
                AND aside.product_id = lists.product_id
            GROUP BY aside.advertiser_id
        ) AS outcome
    WHERE lists.is_set_aside
    GROUP BY lists.date, lists.model, outcome.advertiser_id
),

listed AS (
    SELECT
        counted.date,
        counted.model,
        counted.advertiser_id,
        sum(counted.products)::bigint AS products,
        sum(counted.products_shown)::bigint AS products_shown,
        sum(counted.impressions) AS impressions,
        sum(counted.clicks) AS clicks,
        sum(counted.views) AS views,
        sum(counted.products - counted.products_with_events)::bigint AS dead_slots,
        sum(counted.squares) AS squares
    FROM counted
    GROUP BY counted.date, counted.model, counted.advertiser_id
),

compared AS (
    SELECT
        listed.*,
        nullif(day_after.impressions - listed.impressions, 0) AS not_listed,
        day_after.impressions AS all_impressions,
        day_after.clicks AS all_clicks,
        day_after.views AS all_views,
        coalesce(
            round(
                listed.impressions * day_after.clicks / nullif(day_after.impressions, 0)::numeric, 6
            ),
            0
        ) AS expected_clicks,
        -- The rarer of listed and not, of clicked and not. Clicks above impressions leave no room for 'not clicked'.
        coalesce(
            round(
                least(listed.impressions, day_after.impressions - listed.impressions)
                * greatest(least(day_after.clicks, day_after.impressions - day_after.clicks), 0)
                / nullif(day_after.impressions, 0)::numeric,
                6
            ),
            0
        ) AS smallest_expected
    FROM listed
    CROSS JOIN LATERAL (
        SELECT
            advertiser_daily.impressions,
            advertiser_daily.clicks,
            advertiser_daily.views
        FROM marts.advertiser_daily
        WHERE
            advertiser_daily.date = listed.date + 1
            AND advertiser_daily.advertiser_id = listed.advertiser_id
        ORDER BY advertiser_daily.date
        LIMIT 1
    ) AS day_after
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
    compared.smallest_expected >= 5 AS meaningful,
    (compared.all_clicks - compared.clicks)::double precision / compared.not_listed AS unlisted_ctr,
    round(nullif(compared.impressions, 0) * (compared.all_clicks - compared.clicks) / compared.not_listed::numeric, 6)
        AS unlisted_expected,
    compared.impressions::double precision / nullif(compared.all_impressions, 0) AS listed_share,
    compared.dead_slots,
    compared.squares::double precision / nullif(compared.impressions * compared.impressions, 0) AS concentration
FROM compared;
