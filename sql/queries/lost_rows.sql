-- The published days before of whose lists rows were lost: deleted by hand, or by a damage.
-- Grain: log day. Parameters: ds, the log day: of the 7 days before it.
WITH entries AS (
    SELECT
        recommendations.date,
        recommendations.model,
        count(*) AS there
    FROM marts.recommendations
    WHERE recommendations.date BETWEEN %(ds)s::date - 7 AND %(ds)s::date - 1
    GROUP BY recommendations.date, recommendations.model
)

SELECT
    publications.date::text AS day,
    string_agg(
        publications.model || ' has ' || coalesce(entries.there, 0) || ' of ' || publications.row_count || ' entries',
        ', ' ORDER BY publications.model
    ) AS lost
FROM marts.publications
LEFT JOIN entries
    ON
        publications.date = entries.date
        AND publications.model = entries.model
WHERE
    publications.date BETWEEN %(ds)s::date - 7 AND %(ds)s::date - 1
    AND publications.row_count <> coalesce(entries.there, 0)
GROUP BY publications.date
ORDER BY publications.date
