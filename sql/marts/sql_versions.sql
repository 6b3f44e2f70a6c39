-- marts.sql_versions: The SQL of every model version that made a published list.
-- Grain: SQL version (as in marts.publications)
-- Source: models.builds.
-- Freshness: DBWriting, with the first list that the version made.
-- Parameters: ds, the log day; models, the names of all current models; git_revision.
-- sql_version: SHA-256 of the file's text, hexadecimal
-- sql_file: The model's file, relative to the project
-- model: Model name
-- title: What the model is: the first line of the file, after the name
-- sql_text: The text that ran; its parameter ds is the log day
-- git_revision: Revision of the project that first published it; -dirty: with local changes
-- first_published_at: When a list of it was first published
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
