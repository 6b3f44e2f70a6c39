-- marts.sql_versions: the text of the SQL that made the day's lists, kept when it is published for the first time.
-- Grain: SQL version. Parameters: ds; models, the names of all current models; git_revision.
INSERT INTO marts.sql_versions (sql_version, sql_file, model, title, sql_text, git_revision)
SELECT
    builds.sql_version,
    builds.sql_file,
    builds.model,
    -- The first line of a model file is '-- Name: what it is.'
    substring(builds.sql_text FROM '^--\s*\w+:\s*([^\n]*\S)') AS title,
    builds.sql_text,
    %(git_revision)s AS git_revision
FROM models.builds
WHERE
    builds.date = %(ds)s::date
    AND builds.model = any(%(models)s)
    AND builds.sql_text IS NOT NULL
ON CONFLICT (sql_version) DO NOTHING
