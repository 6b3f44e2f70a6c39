-- marts.list_variation: how much lists change from day to day, averaged over the 7 published days that end with a day.
-- Grain: log day, model, advertiser. Parameters: ds, the log day.
-- Written for the day and for the 7 published days after it: a change of the day, or of the next published day against
-- it, is among the 7 changes of each. Reads marts.list_changes as they are now.
-- Place 1 varies most; ties by the rank-weighted change, then by advertiser_id (byte order).
DELETE FROM marts.list_variation
WHERE
    list_variation.date IN (
        SELECT DISTINCT publications.date
        FROM marts.publications
        WHERE publications.date >= %(ds)s::date
        ORDER BY publications.date ASC
        LIMIT 8
    );

INSERT INTO marts.list_variation (date, model, place, advertiser_id, days, replaced_share, rank_weighted_change)
WITH published AS (
    SELECT DISTINCT publications.date
    FROM marts.publications
),

concerned AS (
    SELECT published.date
    FROM published
    WHERE published.date >= %(ds)s::date
    ORDER BY published.date ASC
    LIMIT 8
),

weeks AS (
    SELECT
        concerned.date,
        seven_days.date AS changed_on
    FROM concerned
    CROSS JOIN LATERAL (
        SELECT published.date
        FROM published
        WHERE published.date <= concerned.date
        ORDER BY published.date DESC
        LIMIT 7
    ) AS seven_days
),

averages AS (
    SELECT
        weeks.date,
        list_changes.model,
        list_changes.advertiser_id,
        count(*) AS days,
        round(avg(list_changes.replaced_share::numeric), 6) AS replaced_share,
        round(avg(list_changes.rank_weighted_change::numeric), 6) AS rank_weighted_change
    FROM weeks
    INNER JOIN marts.list_changes ON weeks.changed_on = list_changes.date
    GROUP BY weeks.date, list_changes.model, list_changes.advertiser_id
)

SELECT
    averages.date,
    averages.model,
    row_number() OVER (
        PARTITION BY averages.date, averages.model
        ORDER BY
            averages.replaced_share DESC,
            averages.rank_weighted_change DESC NULLS LAST,
            averages.advertiser_id ASC
    ) AS place,
    averages.advertiser_id,
    averages.days,
    averages.replaced_share,
    averages.rank_weighted_change
FROM averages;
