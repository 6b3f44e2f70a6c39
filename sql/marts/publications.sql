-- marts.publications: Which SQL and source objects made a day's lists.
-- Grain: log day, model. A rerun that changes nothing leaves it
-- Source: models.builds, marts.recommendations, marts.withdrawals, staging.source_objects, staging.accounting.
-- Freshness: DBWriting, in the transaction that publishes the day.
-- Parameters: ds, the log day; models, the names of all current models; git_revision; run_id.
-- date: Log day, UTC
-- model: Model name
-- row_count: List entries published
-- advertiser_count: Advertisers with a list
-- sql_file: The model's file, relative to the project
-- sql_version: SHA-256 of the file's text
-- git_revision: Revision of the project that published; -dirty: with local changes
-- lists_hash: MD5 of the MD5 of every list in order: equal hashes mean equal lists
-- load_id: The load that the lists were made from
-- sources: Source objects: source, uri, etag, size_bytes, lines, rejected
-- accounting: Per log: delivered = kept + other_day + inactive + rejected
-- run_id: Run that published: of Airflow, or rebuild, restore, hide
-- published_at: When these lists began to be written; readers see them a moment later, all at once
-- full_list_count: Advertisers with a full list: 20 products
-- days_read: Days whose counts made the lists: the log day, and what a model that looks back found loaded of the days
-- before it
-- revision: 1: as first published. More: published again, with other contents or after it was withdrawn
--
-- A row changes only with the lists, the SQL, the source objects or the days read, and goes with its lists; then, and
-- only then, listeners are told.
-- With its lists the counts of the newest load are what readers see.
DELETE FROM staging.product_daily_published
WHERE product_daily_published.date = %(ds)s::date;

DELETE FROM staging.days_set_aside
WHERE days_set_aside.date = %(ds)s::date;

WITH gone AS (
    DELETE FROM marts.publications
    WHERE
        publications.date = %(ds)s::date
        AND publications.model <> all(%(models)s)
        AND NOT EXISTS (
            SELECT 1
            FROM marts.recommendations
            WHERE
                recommendations.date = publications.date
                AND recommendations.model = publications.model
        )
    RETURNING publications.date, publications.model
),

sources AS (
    SELECT jsonb_agg(to_jsonb(source_objects) - 'date' ORDER BY source_objects.source, source_objects.uri) AS objects
    FROM staging.source_objects
    WHERE source_objects.date = %(ds)s::date
),

accounting AS (
    SELECT jsonb_agg(to_jsonb(accounting) - 'date' ORDER BY accounting.source) AS sums
    FROM staging.accounting
    WHERE accounting.date = %(ds)s::date
),

published AS (
    INSERT INTO marts.publications (
        date,
        model,
        row_count,
        advertiser_count,
        full_list_count,
        sql_file,
        sql_version,
        git_revision,
        lists_hash,
        load_id,
        days_read,
        sources,
        accounting,
        run_id,
        revision
    )
    SELECT
        builds.date,
        builds.model,
        builds.row_count,
        builds.advertiser_count,
        builds.full_list_count,
        builds.sql_file,
        builds.sql_version,
        %(git_revision)s AS git_revision,
        builds.lists_hash,
        builds.load_id,
        builds.days_read,
        sources.objects,
        accounting.sums,
        %(run_id)s AS run_id,
        (
            SELECT 1 + coalesce(max((withdrawals.lists -> builds.model ->> 'revision')::integer), 0)
            FROM marts.withdrawals
            WHERE withdrawals.date = builds.date
        ) AS revision
    FROM models.builds
    CROSS JOIN sources
    CROSS JOIN accounting
    WHERE
        builds.date = %(ds)s::date
        AND builds.model = any(%(models)s)
    ON CONFLICT (date, model) DO UPDATE
        SET
            row_count = excluded.row_count,
            advertiser_count = excluded.advertiser_count,
            full_list_count = excluded.full_list_count,
            sql_file = excluded.sql_file,
            sql_version = excluded.sql_version,
            git_revision = excluded.git_revision,
            lists_hash = excluded.lists_hash,
            load_id = excluded.load_id,
            days_read = excluded.days_read,
            sources = excluded.sources,
            accounting = excluded.accounting,
            run_id = excluded.run_id,
            published_at = excluded.published_at,
            revision = publications.revision + 1
        WHERE
        (
            publications.lists_hash,
            publications.sql_version,
            publications.days_read,
            publications.sources,
            publications.accounting
        )
        IS DISTINCT FROM (
            excluded.lists_hash, excluded.sql_version, excluded.days_read, excluded.sources, excluded.accounting
        )
    RETURNING publications.date, publications.model
)

SELECT
    changed.model,
    pg_notify(
        'recommendations_published',
        json_build_object('date', changed.date, 'model', changed.model)::text
    ) AS notified
FROM (
    SELECT
        published.date,
        published.model
    FROM published
    UNION ALL
    SELECT
        gone.date,
        gone.model
    FROM gone
) AS changed;
