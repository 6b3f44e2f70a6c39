-- Which SQL and which days made a list: the text of every model version, and the loads that a list looked back on.

CREATE TABLE marts.sql_versions (
    sql_version text PRIMARY KEY,
    sql_file text NOT NULL,
    model text NOT NULL,
    title text NOT NULL,
    sql_text text NOT NULL,
    git_revision text NOT NULL,
    first_published_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE marts.sql_versions IS
'The SQL of every model version that made a published list. Grain: SQL version (as in marts.publications)';
COMMENT ON COLUMN marts.sql_versions.sql_version IS 'SHA-256 of the file''s text, hexadecimal';
COMMENT ON COLUMN marts.sql_versions.sql_file IS 'The model''s file, relative to the project';
COMMENT ON COLUMN marts.sql_versions.model IS 'Model name';
COMMENT ON COLUMN marts.sql_versions.title IS 'What the model is: the first line of the file, after the name';
COMMENT ON COLUMN marts.sql_versions.sql_text IS 'The text that ran; its parameter ds is the log day';
COMMENT ON COLUMN marts.sql_versions.git_revision IS
'Revision of the project that first published it; -dirty: with local changes';
COMMENT ON COLUMN marts.sql_versions.first_published_at IS 'When a list of it was first published';

ALTER TABLE models.builds
ADD COLUMN full_list_count bigint NOT NULL DEFAULT 0,
ADD COLUMN looks_back smallint NOT NULL DEFAULT 0,
ADD COLUMN loads_read uuid[] NOT NULL DEFAULT '{}',
ADD COLUMN days_read date[] NOT NULL DEFAULT '{}',
ADD COLUMN sql_text text;
COMMENT ON COLUMN models.builds.full_list_count IS 'Advertisers with 20 candidates';
COMMENT ON COLUMN models.builds.looks_back IS 'Days before the log day that the model reads, as its SQL says';
COMMENT ON COLUMN models.builds.loads_read IS 'The loads of the days that were there to read (staging.loads)';
COMMENT ON COLUMN models.builds.days_read IS
'Those days: the log day, and of the looks_back days before it the loaded ones';
COMMENT ON COLUMN models.builds.sql_text IS 'The file''s text';

ALTER TABLE marts.publications
ADD COLUMN full_list_count bigint NOT NULL DEFAULT 0,
ADD COLUMN days_read date[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN marts.publications.full_list_count IS 'Advertisers with a full list: 20 products';
COMMENT ON COLUMN marts.publications.days_read IS
'Days whose counts made the lists: the log day, and what a model that looks back found loaded of the days before it';

UPDATE marts.publications SET
    days_read = ARRAY[publications.date],
    full_list_count = (
        SELECT count(*)
        FROM marts.recommendations
        WHERE
            recommendations.date = publications.date
            AND recommendations.model = publications.model
            AND recommendations.rank = 20
    );

-- Nothing should be in it for long.
CREATE VIEW marts.outdated_lists AS
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
    AND (builds.lists_hash, builds.days_read) IS DISTINCT FROM (publications.lists_hash, publications.days_read);
COMMENT ON VIEW marts.outdated_lists IS
'Published lists that look back on a day which was loaded after they were ranked. DBWriting of that day ranks them '
'again, so that the view is empty but for moments. Grain: log day, model, earlier day';
COMMENT ON COLUMN marts.outdated_lists.date IS 'Log day of the lists, UTC';
COMMENT ON COLUMN marts.outdated_lists.model IS 'Model name';
COMMENT ON COLUMN marts.outdated_lists.newly_loaded IS
'The earlier day that the lists have not seen as it is now; null: ranked again, and about to be published';
