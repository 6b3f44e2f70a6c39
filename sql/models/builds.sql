-- models.builds: What each set of candidates was made of.
-- Grain: log day, model
-- Source: models.candidates of the day, pg_temp.dropped, staging.loads, marts.hidden_products.
-- Freshness: each model's task, in the transaction that writes its candidates.
-- Parameters: ds, the log day; model; sql_file; sql_version; sql_text; looks_back.
-- date: Log day, UTC
-- model: Model name
-- load_id: The load of the day that the model read (staging.loads)
-- sql_file: The model's file, relative to the project
-- sql_version: SHA-256 of the file's text
-- lists_hash: MD5 of the MD5 of every list in order: equal hashes mean equal lists
-- row_count: Candidates
-- advertiser_count: Advertisers with at least one candidate
-- full_list_count: Advertisers with 20 candidates
-- looks_back: Days before the log day that the model reads, as its SQL says
-- loads_read: The loads of the days that were there to read (staging.loads)
-- days_read: Those days: the log day, and of the looks_back days before it the loaded ones
-- sql_text: The texts of the file and of those that it stands on
-- hidings: How often products had been hidden or unhidden by then
-- left_out: Ranked products that are on no list because they are excluded or hidden
--
-- Each list is hashed by itself: the entries of all in one text would meet PostgreSQL's 1 GB, at 265,000 advertisers.
INSERT INTO models.builds (
    date,
    model,
    load_id,
    sql_file,
    sql_version,
    sql_text,
    looks_back,
    loads_read,
    days_read,
    lists_hash,
    row_count,
    advertiser_count,
    full_list_count,
    hidings,
    left_out
)
WITH lists AS (
    SELECT
        candidates.advertiser_id,
        md5(string_agg(candidates.score || candidates.entry::text, ',' ORDER BY candidates.rank)) AS list_hash,
        count(*) AS products
    FROM models.candidates
    WHERE
        candidates.date = %(ds)s::date
        AND candidates.model = %(model)s
    GROUP BY candidates.advertiser_id
),

ranked AS (
    SELECT
        md5(coalesce(string_agg(lists.advertiser_id || lists.list_hash, ',' ORDER BY lists.advertiser_id), ''))
            AS lists_hash,
        coalesce(sum(lists.products), 0) AS row_count,
        count(*) AS advertiser_count,
        count(*) FILTER (WHERE lists.products = 20) AS full_list_count
    FROM lists
),

hidden AS (
    SELECT count(*) + count(hidden_products.unhidden_at) AS hidings
    FROM marts.hidden_products
),

left_out AS (
    SELECT count(*) AS products
    FROM pg_temp.dropped
),

days AS (
    SELECT
        array_agg(loads.load_id ORDER BY loads.date) AS loads_read,
        array_agg(loads.date ORDER BY loads.date) AS days_read
    FROM staging.loads
    WHERE loads.date BETWEEN %(ds)s::date - %(looks_back)s::integer AND %(ds)s::date
)

SELECT
    loads.date,
    %(model)s AS model,
    loads.load_id,
    %(sql_file)s AS sql_file,
    %(sql_version)s AS sql_version,
    %(sql_text)s AS sql_text,
    %(looks_back)s AS looks_back,
    days.loads_read,
    days.days_read,
    ranked.lists_hash,
    ranked.row_count,
    ranked.advertiser_count,
    ranked.full_list_count,
    hidden.hidings,
    left_out.products AS left_out
FROM staging.loads
CROSS JOIN ranked
CROSS JOIN days
CROSS JOIN hidden
CROSS JOIN left_out
WHERE loads.date = %(ds)s::date
ON CONFLICT (date, model) DO UPDATE SET
    load_id = excluded.load_id,
    sql_file = excluded.sql_file,
    sql_version = excluded.sql_version,
    sql_text = excluded.sql_text,
    looks_back = excluded.looks_back,
    loads_read = excluded.loads_read,
    days_read = excluded.days_read,
    lists_hash = excluded.lists_hash,
    row_count = excluded.row_count,
    advertiser_count = excluded.advertiser_count,
    full_list_count = excluded.full_list_count,
    hidings = excluded.hidings,
    left_out = excluded.left_out
