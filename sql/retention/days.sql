-- Whole days go that are more than keep_days older than the newest published day: counts, candidates, and by
-- sql/retention/published.sql, which comes next, what readers see of them.
-- A day that has not ended is no measure: should one be published, true history must not go because of it.
-- Parameters: keep_days, keep_working_days; ds, the log day of the run, which stays.
-- keep_days is at least 60, so that what the API serves (the newest day and the 6 before it) and what models look back
-- on (at most 30 days) stays. A day loaded within keep_working_days stays too: somebody wanted it back.
-- The days as an array: each is looked up by the index. With IN the planner, which knows nothing of a temporary table,
-- reads all tables whole.
CREATE TEMPORARY TABLE expired ON COMMIT DROP AS
SELECT loads.date
FROM staging.loads
WHERE
    loads.date < (
        SELECT max(publications.date)
        FROM marts.publications
        WHERE publications.date < current_date
    ) - %(keep_days)s::integer
    AND loads.loaded_at < now() - make_interval(days => %(keep_working_days)s::integer)
    AND loads.date <> %(ds)s::date
    -- The lock of elt.warehouse.lock_day. A day that somebody loads, ranks or publishes now stays for another night.
    AND pg_try_advisory_xact_lock(24256, loads.date - '0001-01-01'::date + 1);

-- What was loaded between that look and the lock stays, too.
DELETE FROM pg_temp.expired
WHERE
    expired.date IN (
        SELECT loads.date
        FROM staging.loads
        WHERE loads.loaded_at >= now() - make_interval(days => %(keep_working_days)s::integer)
    );

-- Of a month that goes whole the large tables are left to sql/retention/months.sql, which drops it.
CREATE TEMPORARY TABLE expired_alone ON COMMIT DROP AS
SELECT expired.date
FROM pg_temp.expired
WHERE
    EXISTS (
        SELECT 1
        FROM staging.months
        INNER JOIN staging.loads
            ON
                months.first_day <= loads.date
                AND months.end_day > loads.date
        WHERE
            expired.date >= months.first_day
            AND expired.date < months.end_day
            AND loads.date NOT IN (
                SELECT gone.date
                FROM pg_temp.expired AS gone
            )
    );

DELETE FROM models.candidates
WHERE candidates.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM models.builds
WHERE builds.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.product_daily
WHERE product_daily.date = any(array(SELECT expired_alone.date FROM pg_temp.expired_alone));

DELETE FROM staging.published_files
WHERE published_files.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.active_advertisers
WHERE active_advertisers.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.exclusions
WHERE exclusions.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.accounting
WHERE accounting.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.source_objects
WHERE source_objects.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.rejected_lines
WHERE rejected_lines.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.loads
WHERE loads.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.step_times
WHERE step_times.date = any(array(SELECT expired.date FROM pg_temp.expired));

DELETE FROM staging.refused_loads
WHERE
    refused_loads.date = any(array(SELECT expired.date FROM pg_temp.expired))
    OR refused_loads.date < current_date - %(keep_days)s::integer;

DELETE FROM marts.withdrawals
WHERE withdrawals.date = any(array(SELECT expired.date FROM pg_temp.expired));

-- Also of days that no attempt has ever loaded.
DELETE FROM staging.audit_results
WHERE
    audit_results.date = any(array(SELECT expired.date FROM pg_temp.expired))
    OR (
        audit_results.date < current_date - %(keep_days)s::integer
        AND NOT EXISTS (
            SELECT 1
            FROM staging.loads
            WHERE loads.date = audit_results.date
        )
    );
