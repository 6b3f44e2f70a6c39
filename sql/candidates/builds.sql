-- models.builds: what the model's candidates of the day were made of.
-- Grain: log day, model. Parameters: ds, model, sql_file, sql_version.
INSERT INTO models.builds (
    date, model, load_id, sql_file, sql_version, lists_hash, row_count, advertiser_count
)
WITH ranked AS (
    SELECT
        md5(coalesce(string_agg(
            candidates.advertiser_id || candidates.score || candidates.entry::text, ','
            ORDER BY candidates.advertiser_id, candidates.rank
        ), '')) AS lists_hash,
        count(*) AS row_count,
        count(DISTINCT candidates.advertiser_id) AS advertiser_count
    FROM models.candidates
    WHERE
        candidates.date = %(ds)s::date
        AND candidates.model = %(model)s
)

SELECT
    loads.date,
    %(model)s AS model,
    loads.load_id,
    %(sql_file)s AS sql_file,
    %(sql_version)s AS sql_version,
    ranked.lists_hash,
    ranked.row_count,
    ranked.advertiser_count
FROM staging.loads
CROSS JOIN ranked
WHERE loads.date = %(ds)s::date
ON CONFLICT (date, model) DO UPDATE SET
    load_id = excluded.load_id,
    sql_file = excluded.sql_file,
    sql_version = excluded.sql_version,
    lists_hash = excluded.lists_hash,
    row_count = excluded.row_count,
    advertiser_count = excluded.advertiser_count
