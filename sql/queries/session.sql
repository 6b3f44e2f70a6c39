-- The settings of a session of the pipeline, of `mark` too, which tells it from others behind a pooler.
-- Grain: one row.
-- Parameters: mark; lock_timeout; keepalives_idle, keepalives_interval (seconds), keepalives_count, tcp_user_timeout
-- (milliseconds): as the client's side has them (elt/warehouse.py).
--
-- A client that was killed is noticed by the look at the connection, one whose machine has vanished by what nobody
-- acknowledges: then the session ends, and its locks go. Nothing is compiled (jit), which takes longer than it saves:
-- tables that were made a moment ago are taken for large ones.
SELECT
    pg_backend_pid() AS process,
    set_config('recommendations.session', %(mark)s, false) AS mark,
    set_config('TimeZone', 'UTC', false) AS time_zone,
    set_config('application_name', 'recommendations', false) AS application_name,
    set_config('work_mem', '64MB', false) AS work_mem,
    set_config('jit', 'off', false) AS jit,
    set_config('lock_timeout', %(lock_timeout)s, false) AS lock_timeout,
    set_config('client_connection_check_interval', '2s', false) AS client_connection_check_interval,
    set_config('tcp_keepalives_idle', %(keepalives_idle)s::text, false) AS keepalives_idle,
    set_config('tcp_keepalives_interval', %(keepalives_interval)s::text, false) AS keepalives_interval,
    set_config('tcp_keepalives_count', %(keepalives_count)s::text, false) AS keepalives_count,
    set_config('tcp_user_timeout', %(tcp_user_timeout)s::text, false) AS user_timeout
