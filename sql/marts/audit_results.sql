-- marts.audit_results: What every audit found, each time that it was asked; passes too.
-- Grain: log day, audit, attempt
-- Source: staging.audit_results.
-- Freshness: a view: always what the table says.
-- Parameters: none.
-- date: Log day, UTC
-- kind: When it is asked: the folder of sql/audits that it is in
-- audit: Its file there, without .sql; its first line is the promise
-- audited_at: When the attempt began to audit
-- run_id: Run that asked: of Airflow, or rebuild, restore, hide
-- broken_rows: Rows that break the promise; 0: it holds
-- first_row: The first of them, as the audit selects it; null where it holds
SELECT
    audit_results.date,
    audit_results.kind,
    audit_results.audit,
    audit_results.audited_at,
    audit_results.run_id,
    audit_results.broken_rows,
    audit_results.first_row
FROM staging.audit_results
