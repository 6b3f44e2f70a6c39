-- Who holds what a session waits for, or has waited for: pid, role, application, and since when its transaction is
-- open, where this role may know that.
-- Grain: a session.
-- Parameters: waiting, the process of a session that waits, or NULL; key, of an advisory lock of this project, or NULL.
-- With neither: who has any lock that the steps may wait for; what a wait that was given up was for can not be asked.
-- Order: who has been at it longest is named first.
SELECT
    holders.pid,
    holders.usename,
    holders.application_name,
    to_char(holders.xact_start, '"since" HH24:MI:SS "UTC"') AS since
FROM pg_stat_activity AS holders
WHERE
    holders.pid <> pg_backend_pid()
    AND CASE
        WHEN %(waiting)s::integer IS NOT NULL THEN holders.pid = any(pg_blocking_pids(%(waiting)s::integer))
        ELSE EXISTS (
            SELECT
            FROM pg_locks AS held
            INNER JOIN pg_database AS base ON held.database = base.oid
            LEFT JOIN pg_class AS relations ON held.relation = relations.oid
            WHERE
                held.pid = holders.pid
                AND held.granted
                AND base.datname = current_database()
                AND CASE
                    WHEN %(key)s::bigint IS NOT NULL
                        THEN held.classid = 24256 AND held.objid::bigint = %(key)s::bigint & 4294967295
                    WHEN held.locktype = 'advisory' THEN held.classid = 24256
                    ELSE
                        held.mode NOT IN ('AccessShareLock', 'RowShareLock')
                        AND relations.relnamespace::regnamespace::text IN ('staging', 'models', 'marts', 'months')
                END
        )
    END
ORDER BY holders.xact_start, holders.pid
