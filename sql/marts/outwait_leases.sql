-- marts.outwait_leases: Returns when no lease is left; until the transaction ends none is granted.
-- Grain: none, it returns nothing.
-- Source: marts.version: a transaction that has not changed it need not wait.
-- Freshness: a function, the last that DBWriting asks before it commits: what is committed next, all readers see at
-- once (marts.lease).
-- Parameters: none.
CREATE OR REPLACE FUNCTION marts.outwait_leases() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM marts.version AS current WHERE current.xmin = pg_current_xact_id()::xid) THEN
        PERFORM pg_advisory_xact_lock(24256, 1);
        -- Longer than a lease, by more than a reader takes from looking at its clock to having answered.
        PERFORM pg_sleep(0.25);
    END IF;
END
$$
