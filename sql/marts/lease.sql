-- marts.lease: May the reader answer from memory, of which version, for how long.
-- Grain: one row: granted, version, seconds.
-- Source: marts.version, and the lock that marts.commit_after_leases holds until the commit.
-- Freshness: a function: as young as its answer.
-- Parameters: none.
--
-- A reader that was granted a lease may answer from memory for `seconds`, counted from before it asked. Whoever changes
-- a table of marts commits only after every lease has run out and while none is granted; until then readers ask for the
-- version before each answer. So no reader answers with what was, after any reader has answered with what is. (Gray and
-- Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency", 1989.) A killed
-- publication leaves nothing behind: its lock goes with its session.
-- In plpgsql each statement has a snapshot of its own, so the version is as young as the lock.
CREATE OR REPLACE FUNCTION marts.lease(OUT granted boolean, OUT version bigint, OUT seconds double precision)
LANGUAGE plpgsql AS $$
BEGIN
    -- A standby does not see the locks of its primary.
    granted := NOT pg_is_in_recovery() AND pg_try_advisory_xact_lock_shared(24256, 1);
    SELECT current.number INTO version FROM marts.version AS current;
    seconds := 0.15;
END
$$
