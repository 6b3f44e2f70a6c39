-- Which server answers: two behind one host's name are told apart, and one from itself after a restart; whether it is a
-- standby. No parameters.
SELECT
    pg_postmaster_start_time()::text AS started,
    pg_is_in_recovery() AS is_standby
