-- Which server answers: two behind one host's name are told apart, and one from itself after a restart. No parameters.
SELECT pg_postmaster_start_time()::text AS started
