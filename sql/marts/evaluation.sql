-- marts.evaluation: What became of a model's lists: marts.advertiser_evaluation, all advertisers together. Once the
-- day after is published.
-- Grain: log day of the lists, model
-- Source: marts.advertiser_evaluation.
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
--
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
