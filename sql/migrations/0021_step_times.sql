-- How long each step took, as it was when it last ran to its end: what sql/staging/step_times.sql says.

CREATE TABLE staging.step_times (
    date date NOT NULL,
    step text NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (date, step)
);
