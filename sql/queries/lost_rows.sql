-- The published days before of whose lists rows were lost: deleted by hand, or by a damage.
-- Grain: log day. Parameters: ds, the log day: of the 7 days before it.
-- Grouped, not joined: the planner, which knows nothing of days that were just written, would count them again for each
-- publication.
WITH entries AS (
    SELECT
        recommendations.date,
        recommendations.model,
        NULL AS published,
        count(*) AS there
    FROM marts.recommendations
    WHERE recommendations.date BETWEEN %(ds)s::date - 7 AND %(ds)s::date - 1
    GROUP BY recommendations.date, recommendations.model
    UNION ALL
    SELECT
        publications.date,
        publications.model,
        publications.row_count AS published,
        0 AS there
    FROM marts.publications
    WHERE publications.date BETWEEN %(ds)s::date - 7 AND %(ds)s::date - 1
),

lists AS (
    SELECT
        entries.date,
        entries.model,
        sum(entries.published) AS published,
        sum(entries.there) AS there
    FROM entries
    GROUP BY entries.date, entries.model
)

SELECT
    lists.date::text AS day,
    string_agg(
        lists.model || ' has ' || lists.there || ' of ' || lists.published || ' entries', ', ' ORDER BY lists.model
    ) AS lost
FROM lists
WHERE lists.there <> lists.published
GROUP BY lists.date
ORDER BY lists.date
