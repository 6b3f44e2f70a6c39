-- What every session is, set by a query: poolers refuse it among the options that a connection begins with.
-- Parameters: statement_timeout and lock_timeout, in milliseconds (0: none); isolation.
-- A query looks a few keys up: planning it once for all keys is right, and most of its cost.
SELECT
    pg_backend_pid() AS process,
    set_config('statement_timeout', %(statement_timeout)s, false) AS statement_timeout,
    set_config('lock_timeout', %(lock_timeout)s, false) AS lock_timeout,
    set_config('default_transaction_read_only', 'on', false) AS read_only,
    set_config('default_transaction_isolation', %(isolation)s, false) AS isolation,
    set_config('TimeZone', 'UTC', false) AS time_zone,
    set_config('plan_cache_mode', 'force_generic_plan', false) AS plan_cache_mode
