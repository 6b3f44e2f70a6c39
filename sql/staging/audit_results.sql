-- staging.audit_results: What every audit found, each time that it was asked; passes too.
-- Grain: log day, audit, attempt
-- Source: the files of sql/audits, run by FiltrarDatos and DBWriting.
-- Freshness: a pass: in the transaction that it let through; a break: right after everything else was rolled back.
-- Parameters: ds, the log day; kind; run_id; results, a JSON array of objects with audit, broken_rows, first_row.
-- date: Log day, UTC
-- kind: When it is asked: the folder of sql/audits that it is in
-- audit: Its file there, without .sql; its first line is the promise
-- audited_at: When the attempt began to audit
-- run_id: Run that asked: of Airflow, or rebuild, restore, hide
-- broken_rows: Rows that break the promise; 0: it holds
-- first_row: The first of them, as the audit selects it; null where it holds
--
-- Not in marts: what is written there is another version of what readers see, and DBWriting waits for them.
INSERT INTO staging.audit_results (date, kind, audit, run_id, broken_rows, first_row)
SELECT
    %(ds)s::date AS date,
    %(kind)s AS kind,
    results.audit,
    %(run_id)s AS run_id,
    results.broken_rows,
    results.first_row
FROM json_to_recordset(%(results)s::json) AS results (audit text, broken_rows bigint, first_row jsonb)
