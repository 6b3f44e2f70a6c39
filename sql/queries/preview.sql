-- What pg_temp.previewed says of a day, or of all: how lists differ, and what became of them the day after.
-- Grain: one row. Parameters: ds, the log day, or NULL for all.
-- new, old: clicks on listed products over those of products not listed, of the previewed and of the published lists;
-- margins are half of 95 percent intervals, clustered by advertiser, as in sql/marts/evaluation.sql. gain: new - old,
-- of the same advertisers, so that what they have in common cancels out.
WITH lists AS (
    SELECT *
    FROM pg_temp.previewed
    WHERE %(ds)s::date IS NULL OR date = %(ds)s::date
),

advertisers AS (
    SELECT
        lists.advertiser_id,
        sum(lists.new_c) FILTER (WHERE lists.new_e > 0 AND lists.old_e > 0) AS new_c,
        sum(lists.new_e) FILTER (WHERE lists.new_e > 0 AND lists.old_e > 0) AS new_e,
        sum(lists.old_c) FILTER (WHERE lists.new_e > 0 AND lists.old_e > 0) AS old_c,
        sum(lists.old_e) FILTER (WHERE lists.new_e > 0 AND lists.old_e > 0) AS old_e
    FROM lists
    GROUP BY lists.advertiser_id
),

totals AS (
    SELECT
        count(advertisers.new_e) AS m,
        sum(advertisers.new_e) AS new_e,
        sum(advertisers.old_e) AS old_e,
        sum(advertisers.new_c) / sum(advertisers.new_e) AS new_ratio,
        sum(advertisers.old_c) / sum(advertisers.old_e) AS old_ratio
    FROM advertisers
),

residuals AS (
    SELECT
        (advertisers.new_c - totals.new_ratio * advertisers.new_e) / totals.new_e AS of_new,
        (advertisers.old_c - totals.old_ratio * advertisers.old_e) / totals.old_e AS of_old
    FROM advertisers
    CROSS JOIN totals
),

margins AS (
    SELECT
        sum(residuals.of_new * residuals.of_new) AS of_new,
        sum(residuals.of_old * residuals.of_old) AS of_old,
        sum((residuals.of_new - residuals.of_old) * (residuals.of_new - residuals.of_old)) AS gain
    FROM residuals
),

differences AS (
    SELECT
        count(DISTINCT lists.date) AS days,
        count(*) AS lists,
        count(*) FILTER (WHERE lists.change > 0) AS changed,
        avg(lists.common::numeric / lists.longer) AS overlap,
        avg(lists.change) AS rank_weighted_change
    FROM lists
)

SELECT row_to_json(found) AS found
FROM (
    SELECT
        differences.days,
        differences.lists,
        differences.changed,
        round(differences.overlap, 6) AS overlap,
        round(differences.rank_weighted_change, 6) AS rank_weighted_change,
        totals.m AS advertisers_compared,
        round(totals.new_ratio, 6) AS new,
        round(1.96 * sqrt(totals.m / nullif(totals.m - 1, 0)::numeric * margins.of_new), 6) AS new_margin,
        round(totals.old_ratio, 6) AS old,
        round(1.96 * sqrt(totals.m / nullif(totals.m - 1, 0)::numeric * margins.of_old), 6) AS old_margin,
        round(totals.new_ratio - totals.old_ratio, 6) AS gain,
        round(1.96 * sqrt(totals.m / nullif(totals.m - 1, 0)::numeric * margins.gain), 6) AS gain_margin
    FROM differences
    CROSS JOIN totals
    CROSS JOIN margins
) AS found
