-- What lets readers answer from memory without ever being behind: a version, and leases that a publication waits out.
--
-- A reader that was granted a lease may answer from memory for `seconds`, counted from before it asked. DBWriting
-- commits only after every lease has run out and while none is granted; until it has committed, readers ask for the
-- version before each answer. So no reader answers with what was, after any reader has answered with what is. (Gray and
-- Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency", 1989.) A killed
-- publication leaves nothing behind: its lock goes with its session.

CREATE TABLE marts.version (
    number bigint NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT there_is_one_row CHECK (only_row)
);
COMMENT ON TABLE marts.version IS 'Counts the changes of marts.publications. Grain: one row';
COMMENT ON COLUMN marts.version.number IS 'Another number: something else is published. It says nothing more';
COMMENT ON COLUMN marts.version.only_row IS 'Always true';
INSERT INTO marts.version (number) VALUES (0);
REVOKE INSERT, DELETE ON marts.version FROM recommendations_pipeline;

CREATE FUNCTION marts.change_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE marts.version SET number = version.number + 1;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION marts.change_version() IS 'A row of marts.publications came, changed or went: another version';

CREATE TRIGGER change_version AFTER INSERT OR UPDATE OR DELETE ON marts.publications
FOR EACH ROW EXECUTE FUNCTION marts.change_version();

-- In plpgsql each statement has a snapshot of its own, so the version is as young as the lock.
CREATE FUNCTION marts.lease(OUT granted boolean, OUT version bigint, OUT seconds double precision)
LANGUAGE plpgsql AS $$
BEGIN
    -- A standby does not see the locks of its primary.
    granted := NOT pg_is_in_recovery() AND pg_try_advisory_xact_lock_shared(24256, 1);
    SELECT current.number INTO version FROM marts.version AS current;
    seconds := 0.15;
END
$$;
COMMENT ON FUNCTION marts.lease() IS 'May the reader answer from memory, of which version, for how long';

CREATE FUNCTION marts.outwait_leases() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(24256, 1);
    -- Longer than a lease, by more than a reader takes from looking at its clock to having answered.
    PERFORM pg_sleep(0.25);
END
$$;
COMMENT ON FUNCTION marts.outwait_leases() IS
'Returns when no lease is left; until the transaction ends none is granted';

REVOKE ALL ON FUNCTION marts.change_version() FROM public;
REVOKE ALL ON FUNCTION marts.lease() FROM public;
REVOKE ALL ON FUNCTION marts.outwait_leases() FROM public;
GRANT EXECUTE ON FUNCTION marts.change_version() TO recommendations_pipeline;
GRANT EXECUTE ON FUNCTION marts.lease() TO recommendations_api;
GRANT EXECUTE ON FUNCTION marts.outwait_leases() TO recommendations_pipeline;

ALTER TABLE marts.publications ADD COLUMN revision integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN marts.publications.revision IS '1: as first published. More: published again, with other contents';
