-- staging.published_files: The published lists that have been written to S3 for other programs.
-- Grain: log day, model
-- Source: S3: `published/date=YYYY-MM-DD/<model>.csv.gz` under INTERMEDIATE_URI.
-- Freshness: DBWriting, after the lists are published.
-- Parameters: ds, the log day; model; lists_hash; etag.
-- date: Log day, UTC
-- model: Model name
-- lists_hash: marts.publications.lists_hash of what is in the file; empty: published no more, nothing but the header
-- etag: S3's name for the contents of the object; null: written before it was recorded
INSERT INTO staging.published_files (date, model, lists_hash, etag)
VALUES (%(ds)s::date, %(model)s, %(lists_hash)s, %(etag)s)
ON CONFLICT (date, model) DO UPDATE SET
    lists_hash = excluded.lists_hash,
    etag = excluded.etag;
