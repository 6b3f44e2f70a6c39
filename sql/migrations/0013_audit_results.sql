-- What every audit found, passes too: what sql/staging/audit_results.sql says.

CREATE TABLE staging.audit_results (
    date date NOT NULL,
    kind text NOT NULL,
    audit text NOT NULL,
    audited_at timestamptz NOT NULL DEFAULT now(),
    run_id text NOT NULL,
    broken_rows bigint NOT NULL,
    first_row jsonb,
    PRIMARY KEY (date, kind, audit, audited_at)
);
