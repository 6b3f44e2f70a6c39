-- The published days before of whose lists rows were lost: deleted by hand, or by a damage.
-- Grain: log day. Parameters: ds, the log day: of the 7 days before it; models, the names of all current models: nobody
-- ranks what another has lost again.
-- Counted a publication at a time, by the first columns of the primary key: the planner, which may know less days than
-- there are, takes 7 days for a large part of them and reads them all.
SELECT
    publications.date::text AS day,
    string_agg(
        publications.model || ' has ' || entries.there || ' of ' || publications.row_count || ' entries',
        ', ' ORDER BY publications.model
    ) AS lost
FROM marts.publications
CROSS JOIN
    LATERAL (
        SELECT count(*) AS there
        FROM marts.recommendations
        WHERE
            recommendations.date = publications.date
            AND recommendations.model = publications.model
    ) AS entries
WHERE
    publications.date BETWEEN %(ds)s::date - 7 AND %(ds)s::date - 1
    AND publications.model = any(%(models)s)
    AND publications.row_count <> entries.there
GROUP BY publications.date
ORDER BY publications.date
