-- marts.withdrawals: Days whose lists were taken back from readers, and what brought them back.
-- Grain: log day, withdrawal
-- Source: marts.publications, staging.loads and staging.days_set_aside of the day; who took it back, and why.
-- Freshness: `python -m elt withdraw`, in the transaction that takes the lists away; a run of the day that begins after
-- it, or `python -m elt restore`, says so here and publishes the day again.
-- Parameters: ds, the log day; withdrawn_by; why.
-- date: Log day, UTC
-- withdrawn_at: When its lists went
-- withdrawn_by: Who withdrew it
-- why: The reason given
-- lists: What went: of each model lists_hash, sql_version, revision and published_at, as in marts.publications, and
-- load_id, the load whose counts readers saw
-- restored_by: What may publish the day again: the run, or who restored it; null: nothing may
-- restored_at: When it was published again; null: it is not
--
-- A publication that a load of the same events did not change names the load before it. Readers saw the counts of the
-- newest one, unless older ones are set aside.
INSERT INTO marts.withdrawals (date, withdrawn_by, why, lists)
WITH aside AS (
    SELECT count(*) AS counts
    FROM staging.days_set_aside
    WHERE days_set_aside.date = %(ds)s::date
)

SELECT
    publications.date,
    %(withdrawn_by)s AS withdrawn_by,
    %(why)s AS why,
    jsonb_object_agg(
        publications.model,
        jsonb_build_object(
            'lists_hash', publications.lists_hash,
            'sql_version', publications.sql_version,
            'revision', publications.revision,
            'published_at', publications.published_at,
            'load_id', CASE WHEN aside.counts > 0 THEN publications.load_id ELSE loads.load_id END
        )
    ) AS lists
FROM marts.publications
LEFT JOIN staging.loads ON publications.date = loads.date
CROSS JOIN aside
WHERE publications.date = %(ds)s::date
GROUP BY publications.date
