-- marts.commit_after_leases: Returns when no lease is left; until the transaction ends none is granted.
-- Grain: none, it returns nothing.
-- Source: the trigger of its name on marts.version, which is deferred to the commit of what has changed the version.
-- Freshness: a function, the last thing before the commit, whoever commits: what is committed, all readers see at once
-- (marts.lease).
-- Parameters: none.
CREATE OR REPLACE FUNCTION marts.commit_after_leases() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(24256, 1);
    -- Longer than a lease, by more than a reader takes from looking at its clock to having answered.
    PERFORM pg_sleep(0.25);
    RETURN NULL;
END
$$
