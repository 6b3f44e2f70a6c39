-- marts.outdated_lists: Published lists that look back on a day which was loaded after they were ranked. DBWriting of
-- that day ranks them again, so that the view is empty but for moments.
-- Grain: log day, model, earlier day
-- Source: marts.publications, models.builds, staging.loads.
-- Freshness: a view: always what the tables say.
-- Parameters: none.
-- date: Log day of the lists, UTC
-- model: Model name
-- newly_loaded: The earlier day that the lists have not seen as it is now; null: ranked again, and about to be
-- published
SELECT
    publications.date,
    publications.model,
    loads.date AS newly_loaded
FROM marts.publications
INNER JOIN models.builds
    ON
        publications.date = builds.date
        AND publications.model = builds.model
INNER JOIN staging.loads
    ON
        builds.date > loads.date
        AND builds.date - builds.looks_back <= loads.date
        AND loads.load_id <> all(builds.loads_read)
UNION ALL
SELECT
    publications.date,
    publications.model,
    NULL AS newly_loaded
FROM marts.publications
INNER JOIN models.builds
    ON
        publications.date = builds.date
        AND publications.model = builds.model
WHERE
    builds.looks_back > 0
    AND (builds.lists_hash, builds.days_read) IS DISTINCT FROM (publications.lists_hash, publications.days_read)
