-- marts.change_version: A table of marts has changed: another version, once a transaction.
-- Grain: none, it returns nothing.
-- Source: the triggers change_version and change_version_if_deleted of every table of marts but marts.version.
-- Freshness: a function, called by every statement that writes into one of the tables.
-- Parameters: none.
--
-- Random, not counted: after a restore, a failover that lost a publication, or in another database, the next number
-- would be one that readers have seen before, of other lists.
CREATE OR REPLACE FUNCTION marts.change_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- Most nights there is no day to forget, and nobody need ask again or wait.
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
$$
