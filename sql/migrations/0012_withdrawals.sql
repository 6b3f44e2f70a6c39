-- Days that an operator took back from readers: what sql/marts/withdrawals.sql says.

CREATE TABLE marts.withdrawals (
    date date NOT NULL,
    withdrawn_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_by text NOT NULL,
    why text NOT NULL,
    lists jsonb NOT NULL,
    restored_by text,
    restored_at timestamptz,
    PRIMARY KEY (date, withdrawn_at)
);
