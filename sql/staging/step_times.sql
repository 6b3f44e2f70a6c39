-- staging.step_times: When each step of a day last began and ended.
-- Grain: log day, step
-- Source: the steps themselves.
-- Freshness: every step, last of all that it writes; of one that failed, or found the day loaded already, nothing.
-- Parameters: ds, the log day; step; seconds, since it began.
-- date: Log day, UTC
-- step: FiltrarDatos, a model's name, or DBWriting
-- began_at: When it began
-- ended_at: When it had done its work, just before it committed
--
-- Not in marts: what is written there is another version of what readers see, and DBWriting waits for them.
INSERT INTO staging.step_times (date, step, began_at, ended_at)
SELECT
    %(ds)s::date AS date,
    %(step)s AS step,
    clock.now - make_interval(secs => %(seconds)s) AS began_at,
    clock.now AS ended_at
FROM (SELECT clock_timestamp() AS now) AS clock
ON CONFLICT (date, step) DO UPDATE
    SET
        began_at = excluded.began_at,
        ended_at = excluded.ended_at
