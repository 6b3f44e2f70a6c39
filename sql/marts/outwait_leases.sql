-- marts.outwait_leases: Does nothing. For the release before this one, should it run again.
-- Grain: none, it returns nothing.
-- Source: none; what it did, every commit does that changes what readers see (marts.commit_after_leases).
-- Freshness: a function.
-- Parameters: none.
CREATE OR REPLACE FUNCTION marts.outwait_leases() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
END
$$
