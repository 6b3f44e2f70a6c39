-- The published lists that are not on S3 as they are, and those on S3 that are published no more.
-- Grain: log day, model. Parameters: ds: of the 30 days before it and after it.
SELECT
    coalesce(publications.date, published_files.date)::text AS day,
    coalesce(publications.model, published_files.model) AS model,
    coalesce(publications.lists_hash, '') AS lists_hash
FROM marts.publications
FULL JOIN staging.published_files
    ON
        publications.date = published_files.date
        AND publications.model = published_files.model
WHERE
    coalesce(publications.date, published_files.date) BETWEEN %(ds)s::date - 30 AND %(ds)s::date + 30
    AND coalesce(publications.lists_hash, '') IS DISTINCT FROM published_files.lists_hash
ORDER BY day, model
