-- The day looks whole: no log has lost too many of its lines or advertisers, compared with the days before.
-- Lines: more than max_volume_drop of them; advertisers: more than max_silent_advertisers.
-- Parameters: ds; max_volume_drop, max_silent_advertisers (0 to 1). A row returned = the promise is broken.
-- What is usual is the smaller of two medians, of the same weekday (of two the larger: one may have been a holiday)
-- and of the last days (at most 7), so that neither a weekend nor the first day after a week of holidays looks small,
-- and one odd day counts for nothing; times the growth that these medians lag behind. Growth is how far a day is above
-- the median of its weekday: the second highest of the last 8 days, so that one odd day is no growth, and at most a
-- quarter, so that two are not believed either. More than two fifths is a sale, after which a holiday may come, and no
-- growth; a third of the objects could not be told by that quarter either. Days are looked for in the 22 days before,
-- and there must be 7 of them: in a first week nothing is usual yet. There can not be more advertisers than on the
-- active list of the day: that it became shorter is another audit's business.
-- What chance may do is no loss: logs that usually have fewer than 25 lines are not judged, and three advertisers may
-- pause by themselves.
WITH history AS (
    SELECT
        accounting.source,
        accounting.date,
        accounting.kept + accounting.inactive AS lines,
        accounting.advertisers,
        row_number() OVER (PARTITION BY accounting.source ORDER BY accounting.date DESC) AS newest
    FROM staging.accounting
    WHERE accounting.date BETWEEN %(ds)s::date - 22 AND %(ds)s::date - 1
),

last_days AS (
    SELECT
        history.source,
        history.date,
        history.lines
        / nullif(percentile_disc(0.5) WITHIN GROUP (ORDER BY same_weekday.lines DESC), 0)::numeric AS above_weekday
    FROM history
    INNER JOIN history AS same_weekday
        ON
            history.source = same_weekday.source
            AND history.date - same_weekday.date IN (0, 7, 14)
    WHERE history.date >= %(ds)s::date - 8
    GROUP BY history.source, history.date, history.lines
    HAVING count(*) > 1
),

grown AS (
    SELECT
        last_days.source,
        last_days.above_weekday,
        row_number() OVER (
            PARTITION BY last_days.source
            ORDER BY last_days.above_weekday DESC NULLS LAST, last_days.date DESC
        ) AS highest
    FROM last_days
),

medians AS (
    SELECT
        history.source,
        count(*) AS days,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY history.lines) FILTER (WHERE history.newest <= 7) AS lines_lately,
        percentile_disc(0.5) WITHIN GROUP (ORDER BY history.lines DESC) FILTER (
            WHERE extract(DOW FROM history.date) = extract(DOW FROM %(ds)s::date)
        ) AS lines_on_this_weekday,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY history.advertisers) FILTER (
            WHERE history.newest <= 7
        ) AS advertisers_lately,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY history.advertisers) FILTER (
            WHERE extract(DOW FROM history.date) = extract(DOW FROM %(ds)s::date)
        ) AS advertisers_on_this_weekday
    FROM history
    GROUP BY history.source
),

active AS (
    SELECT count(*) AS advertisers
    FROM staging.active_advertisers
    WHERE active_advertisers.date = %(ds)s::date
),

usual AS (
    SELECT
        medians.source,
        least(medians.lines_lately, medians.lines_on_this_weekday)
        * CASE WHEN grown.above_weekday BETWEEN 1 AND 1.4 THEN least(grown.above_weekday, 1.25) ELSE 1 END AS lines,
        CASE
            WHEN medians.advertisers_lately IS NOT NULL
                THEN least(medians.advertisers_lately, medians.advertisers_on_this_weekday, active.advertisers)
        END AS advertisers
    FROM medians
    CROSS JOIN active
    LEFT JOIN grown
        ON
            medians.source = grown.source
            AND grown.highest = 2
    WHERE medians.days >= 7
)

SELECT
    accounting.source,
    accounting.kept + accounting.inactive AS lines,
    round(usual.lines)::bigint AS usual_lines,
    %(max_volume_drop)s AS max_volume_drop,
    accounting.advertisers,
    round(usual.advertisers)::bigint AS usual_advertisers,
    %(max_silent_advertisers)s AS max_silent_advertisers
FROM staging.accounting
INNER JOIN usual ON accounting.source = usual.source
WHERE
    accounting.date = %(ds)s::date
    AND usual.lines >= 25
    AND (
        accounting.kept + accounting.inactive < usual.lines * (1 - %(max_volume_drop)s::numeric)
        OR (
            accounting.advertisers < usual.advertisers * (1 - %(max_silent_advertisers)s::numeric)
            AND accounting.advertisers < usual.advertisers - 3
        )
    )
ORDER BY accounting.source
