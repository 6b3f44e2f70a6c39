-- A version of what readers see that never repeats, set by whatever transaction changes it.
--
-- Counted numbers repeat: after a restore, a failover that lost a publication, a switch to another database. A reader
-- that had been idle meanwhile took its old answers for the new ones. No reader waits for this migration.

-- Kept for the release before this one, should it run again: the commit itself waits now (marts.commit_after_leases).
CREATE OR REPLACE FUNCTION marts.outwait_leases() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
END
$$;

CREATE FUNCTION marts.commit_after_leases() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(24256, 1);
    PERFORM pg_sleep(0.25);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION marts.commit_after_leases() FROM public;

CREATE CONSTRAINT TRIGGER commit_after_leases AFTER UPDATE ON marts.version
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION marts.commit_after_leases();

CREATE OR REPLACE FUNCTION marts.change_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF tg_op = 'DELETE' THEN
        IF NOT EXISTS (SELECT FROM deleted) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE marts.version
    SET number = hashtextextended(gen_random_uuid()::text, 0)
    WHERE version.xmin <> pg_current_xact_id()::xid;
    RETURN NULL;
END
$$;

-- Every table of marts has these two; one that a later migration makes gets them there.
DO $$
DECLARE
    seen regclass;
BEGIN
    FOR seen IN
        SELECT pg_class.oid
        FROM pg_class
        WHERE
            pg_class.relnamespace = 'marts'::regnamespace
            AND pg_class.relkind IN ('r', 'p')
            AND NOT pg_class.relispartition
            AND pg_class.oid <> 'marts.version'::regclass
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER change_version AFTER INSERT OR UPDATE OR TRUNCATE ON %s '
            'FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version()',
            seen
        );
        EXECUTE format(
            'CREATE TRIGGER change_version_if_deleted AFTER DELETE ON %s REFERENCING OLD TABLE AS deleted '
            'FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version()',
            seen
        );
    END LOOP;
END
$$;

UPDATE marts.version SET number = hashtextextended(gen_random_uuid()::text, 0);
