-- marts.step_times: When each step of a day last began and ended, and how long it took.
-- Grain: log day, step
-- Source: staging.step_times.
-- Freshness: a view: always what the table says.
-- Parameters: none.
-- date: Log day, UTC
-- step: FiltrarDatos, a model's name, or DBWriting
-- began_at: When it began
-- ended_at: When it had done its work, just before it committed
-- seconds: From began_at to ended_at
SELECT
    step_times.date,
    step_times.step,
    step_times.began_at,
    step_times.ended_at,
    extract(EPOCH FROM step_times.ended_at - step_times.began_at)::double precision AS seconds
FROM staging.step_times
