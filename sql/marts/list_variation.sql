-- marts.list_variation: How much lists change from day to day, over the 7 published days that end with the date, most
-- varying first.
-- Grain: log day, model, advertiser
-- Source: marts.list_changes, marts.publications.
-- Freshness: DBWriting of the day, and of each of the days before it that a change of the 7 days looks at.
-- Parameters: ds, the log day: written are the 7 published days that begin with the day, and those that begin with each
-- model's next day after it: a change of the day, or of the next against it, is among the 7 changes of each.
-- date: Last of the 7 published days, UTC
-- model: Model name
-- place: 1 varies most: by replaced_share, then rank_weighted_change, then advertiser_id (byte order)
-- advertiser_id: Advertiser
-- days: Changes from one published day to the next that the averages are over, 1 to 7
-- replaced_share: Average of marts.list_changes.replaced_share, 0 to 1
-- rank_weighted_change: Average of marts.list_changes.rank_weighted_change, 0 to 1
DELETE FROM marts.list_variation
WHERE
    list_variation.date IN (
        WITH changed AS (
            SELECT %(ds)s::date AS date
            UNION
            SELECT min(publications.date) AS date
            FROM marts.publications
            WHERE publications.date > %(ds)s::date
            GROUP BY publications.model
        )

        SELECT later_days.date
        FROM changed
        CROSS JOIN LATERAL (
            SELECT DISTINCT publications.date
            FROM marts.publications
            WHERE publications.date >= changed.date
            ORDER BY publications.date ASC
            LIMIT 7
        ) AS later_days
    );

INSERT INTO marts.list_variation (date, model, place, advertiser_id, days, replaced_share, rank_weighted_change)
WITH published AS (
    SELECT DISTINCT publications.date
    FROM marts.publications
),

changed AS (
    SELECT %(ds)s::date AS date
    UNION
    SELECT min(publications.date) AS date
    FROM marts.publications
    WHERE publications.date > %(ds)s::date
    GROUP BY publications.model
),

concerned AS (
    SELECT DISTINCT later_days.date
    FROM changed
    CROSS JOIN LATERAL (
        SELECT published.date
        FROM published
        WHERE published.date >= changed.date
        ORDER BY published.date ASC
        LIMIT 7
    ) AS later_days
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
    -- Said again as an array: these days are looked up by the index.
    WHERE list_changes.date = any(array(SELECT changes.changed_on FROM weeks AS changes))
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
