-- What a day could not be loaded from: what sql/staging/refused_loads.sql says.

CREATE TABLE staging.refused_loads (
    date date NOT NULL PRIMARY KEY,
    refused_at timestamptz NOT NULL DEFAULT now(),
    run_id text NOT NULL,
    why text NOT NULL,
    objects jsonb NOT NULL
);
