-- The published lists that are not on S3 as they are, and those on S3 that are published no more.
-- Grain: log day, model. Parameters: first_day, last_day: of the days from the one to the other; days, models, etags:
-- the objects of these days that are on S3, an element each.
-- What is recorded is believed only of the very object that is there: the warehouse may have been restored, or be told
-- of another place.
WITH known AS (
    SELECT
        publications.date,
        publications.model,
        publications.lists_hash AS published,
        NULL AS written,
        NULL AS etag,
        NULL AS found
    FROM marts.publications
    UNION ALL
    SELECT
        published_files.date,
        published_files.model,
        NULL AS published,
        published_files.lists_hash AS written,
        published_files.etag,
        NULL AS found
    FROM staging.published_files
    UNION ALL
    SELECT
        there.date,
        there.model,
        NULL AS published,
        NULL AS written,
        NULL AS etag,
        there.etag AS found
    FROM unnest(%(days)s::date[], %(models)s::text[], %(etags)s::text[])
        AS there (date, model, etag)
)

SELECT
    known.date::text AS day,
    known.model,
    coalesce(max(known.published), '') AS lists_hash
FROM known
WHERE known.date BETWEEN %(first_day)s::date AND %(last_day)s::date
GROUP BY known.date, known.model
HAVING
    count(known.published) + count(known.found) > 0
    AND (
        coalesce(max(known.published), '') IS DISTINCT FROM max(known.written)
        OR max(known.etag) IS DISTINCT FROM max(known.found)
    )
ORDER BY known.date, known.model
