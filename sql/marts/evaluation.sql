-- marts.evaluation: What became of a model's lists: marts.advertiser_evaluation, all advertisers together. Once the
-- day after is published.
-- Grain: log day of the lists, model
-- Source: marts.advertiser_evaluation; marts.daily and marts.publications of the day of the lists.
-- Freshness: DBWriting of the day and of the day after it, once both are published.
-- Parameters: ds, the log day: its events are what became of the lists of the day before, those of the day after
-- what became of its own.
-- date: Log day of the lists, UTC; the events are those of date + 1
-- model: Model name
-- advertisers: Advertisers with a list, active on both days
-- impressions: Ad impressions of the listed products the day after
-- clicks: Ad clicks on the listed products the day after
-- views: Views of the listed products the day after
-- all_impressions: Ad impressions of all products of these advertisers that day
-- all_clicks: Ad clicks on all products of these advertisers that day
-- all_views: Views of all products of these advertisers that day
-- ctr: clicks / impressions; null without an impression
-- average_ctr: expected_clicks / impressions: the rate that average products of the same advertisers have
-- expected_clicks: Sum over the advertisers of impressions * the advertiser's click-through rate that day
-- lift: clicks / expected_clicks: 1 is the advertisers' average, 1.5 half as many again. Null: no click was to be
-- expected
-- click_share: clicks / all_clicks, 0 to 1; null without a click
-- view_share: views / all_views, 0 to 1; null without a view
-- smallest_expected: Sum over the advertisers of the expected count of the rarest outcome
-- meaningful: smallest_expected is at least 5 (Cochran 1954): otherwise lift is mostly chance
-- unlisted_ctr: Click-through rate of the products of these advertisers that are on no list of the model
-- advantage: Clicks on the listed products / clicks that as many impressions of products not listed, of the same
-- advertisers, would have had: 1 is no better. Advertisers of whom both were shown; null: there was none, or no click
-- advantage_low: Lower end of its 95 percent interval; null with fewer than 2 such advertisers
-- advantage_high: Upper end
-- listed_share: impressions / all_impressions, 0 to 1; null without an impression. Near 1 the list is followed
-- dead_slots: Listed products without any event the day after
-- dead_share: dead_slots / listed products, 0 to 1
-- concentration: Mean over the advertisers of marts.advertiser_evaluation.concentration
-- without_list: Advertisers active on the day of the lists that have none
--
-- advantage is a ratio R of sums over advertisers, who are what differs: with c clicks and e expected ones of each of m
-- advertisers its standard error is sqrt(m / (m - 1) * sum of (c - R e)^2) / sum of e (linearized, clustered by
-- advertiser), the interval R -+ 1.96 of them. Cochran, W. G. (1977): Sampling techniques, 6.19.
-- Sums of fractions are numeric: exact, so that a rerun gives the same last digit.
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
    meaningful,
    unlisted_ctr,
    advantage,
    advantage_low,
    advantage_high,
    listed_share,
    dead_slots,
    dead_share,
    concentration,
    without_list
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
        sum(advertiser_evaluation.smallest_expected::numeric) AS smallest_expected,
        sum(advertiser_evaluation.products) AS products,
        sum(advertiser_evaluation.dead_slots) AS dead_slots,
        avg(round(advertiser_evaluation.concentration::numeric, 12)) AS concentration,
        count(advertiser_evaluation.unlisted_expected) AS m,
        sum(advertiser_evaluation.clicks) FILTER (WHERE advertiser_evaluation.unlisted_expected IS NOT NULL) AS c,
        sum(advertiser_evaluation.unlisted_expected::numeric) AS e,
        sum(advertiser_evaluation.clicks::numeric * advertiser_evaluation.clicks)
        FILTER (WHERE advertiser_evaluation.unlisted_expected IS NOT NULL) AS c_squared,
        sum(advertiser_evaluation.unlisted_expected::numeric * advertiser_evaluation.unlisted_expected::numeric)
            AS e_squared,
        sum(advertiser_evaluation.clicks * advertiser_evaluation.unlisted_expected::numeric) AS c_times_e
    FROM marts.advertiser_evaluation
    WHERE advertiser_evaluation.date IN (%(ds)s::date - 1, %(ds)s::date)
    GROUP BY advertiser_evaluation.date, advertiser_evaluation.model
),

ratios AS (
    SELECT
        sums.*,
        sums.c / nullif(sums.e, 0) AS advantage,
        publications.advertiser_count AS lists,
        active.advertisers AS active
    FROM sums
    INNER JOIN marts.publications
        ON
            sums.date = publications.date
            AND sums.model = publications.model
    INNER JOIN marts.daily AS active ON sums.date = active.date
),

errors AS (
    SELECT
        ratios.*,
        1.96 * sqrt(
            ratios.m / nullif(ratios.m - 1, 0)::numeric
            * greatest(
                ratios.c_squared - 2 * ratios.advantage * ratios.c_times_e
                + ratios.advantage * ratios.advantage * ratios.e_squared,
                0
            )
        ) / nullif(ratios.e, 0) AS margin
    FROM ratios
)

SELECT
    errors.date,
    errors.model,
    errors.advertisers,
    errors.impressions,
    errors.clicks,
    errors.views,
    errors.all_impressions,
    errors.all_clicks,
    errors.all_views,
    errors.clicks::double precision / nullif(errors.impressions, 0) AS ctr,
    errors.expected_clicks::double precision / nullif(errors.impressions, 0) AS average_ctr,
    errors.expected_clicks,
    errors.clicks / nullif(errors.expected_clicks, 0) AS lift,
    errors.clicks::double precision / nullif(errors.all_clicks, 0) AS click_share,
    errors.views::double precision / nullif(errors.all_views, 0) AS view_share,
    errors.smallest_expected,
    errors.smallest_expected >= 5 AS meaningful,
    (errors.all_clicks - errors.clicks)::double precision / nullif(errors.all_impressions - errors.impressions, 0)
        AS unlisted_ctr,
    errors.advantage,
    errors.advantage - errors.margin AS advantage_low,
    errors.advantage + errors.margin AS advantage_high,
    errors.impressions::double precision / nullif(errors.all_impressions, 0) AS listed_share,
    errors.dead_slots,
    errors.dead_slots::double precision / nullif(errors.products, 0) AS dead_share,
    errors.concentration,
    errors.active - errors.lists AS without_list
FROM errors;
