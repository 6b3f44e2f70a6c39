-- A partition a month: sql/staging/months.sql. What there was becomes the first one as it is, to the last row and index
-- entry: its constraint says which days it has, so that nobody looks. Where there was nothing, there is no first one.
--
-- The partitions are in a schema that nobody else may enter: who wrote into one directly would change no version
-- (sql/marts/version.sql). Views go with the table that they were made on, so they are made again here, each as it was;
-- who asks meanwhile waits that moment.

CREATE SCHEMA months;
COMMENT ON SCHEMA months IS 'Partitions of staging.product_daily and marts.recommendations, read through those alone';

DO $$
DECLARE
    relation record;
    first_months text;
    holds boolean;
    allowed record;
    affected record;
BEGIN
    LOCK TABLE staging.product_daily, marts.recommendations IN ACCESS EXCLUSIVE MODE;
    CREATE TEMPORARY TABLE views_there ON COMMIT DROP AS
    SELECT DISTINCT
        pg_rewrite.ev_class::regclass AS name,
        pg_get_viewdef(pg_rewrite.ev_class) AS definition
    FROM pg_depend
    INNER JOIN pg_rewrite ON pg_depend.objid = pg_rewrite.oid
    WHERE
        pg_depend.classid = 'pg_rewrite'::regclass
        AND pg_depend.refclassid = 'pg_class'::regclass
        AND pg_depend.refobjid IN ('staging.product_daily'::regclass, 'marts.recommendations'::regclass);
    FOR relation IN
        SELECT
            pg_class.relnamespace::regnamespace AS schema_name,
            pg_class.relname AS name,
            pg_class.relacl AS rights,
            substring(pg_get_constraintdef(pg_constraint.oid) FROM '''(.+?)''') AS end_day
        FROM pg_class
        INNER JOIN pg_constraint ON pg_class.oid = pg_constraint.conrelid
        WHERE pg_constraint.conname = 'before_its_months'
    LOOP
        first_months := format('months.%I', relation.name || '_first');
        EXECUTE format('ALTER TABLE %s.%I SET SCHEMA months', relation.schema_name, relation.name);
        EXECUTE format('ALTER TABLE months.%I RENAME TO %I', relation.name, relation.name || '_first');
        EXECUTE format(
            'CREATE TABLE %s.%I (LIKE %s INCLUDING ALL EXCLUDING CONSTRAINTS) PARTITION BY RANGE (date)',
            relation.schema_name, relation.name, first_months
        );
        FOR allowed IN
            SELECT
                entry.privilege_type AS kind,
                CASE entry.grantee WHEN 0 THEN 'public' ELSE entry.grantee::regrole::text END AS role
            FROM aclexplode(relation.rights) AS entry
            WHERE entry.grantee <> entry.grantor
        LOOP
            EXECUTE format('GRANT %s ON %s.%I TO %s', allowed.kind, relation.schema_name, relation.name, allowed.role);
            EXECUTE format('REVOKE %s ON %s FROM %s', allowed.kind, first_months, allowed.role);
        END LOOP;
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', first_months) INTO holds;
        IF holds THEN
            EXECUTE format(
                'ALTER TABLE %s.%I ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (%L)',
                relation.schema_name, relation.name, first_months, relation.end_day
            );
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT before_its_months', first_months);
        END IF;
    END LOOP;
    FOR affected IN SELECT * FROM pg_temp.views_there LOOP
        EXECUTE format('CREATE OR REPLACE VIEW %s AS %s', affected.name, affected.definition);
    END LOOP;
    FOR relation IN
        SELECT pg_constraint.conrelid::regclass AS first_months
        FROM pg_constraint
        WHERE pg_constraint.conname = 'before_its_months'
    LOOP
        EXECUTE format('DROP TABLE %s', relation.first_months);
    END LOOP;
END
$$;

DROP TRIGGER IF EXISTS change_version ON months.recommendations_first;
DROP TRIGGER IF EXISTS change_version_if_deleted ON months.recommendations_first;

CREATE TRIGGER change_version AFTER INSERT OR UPDATE OR TRUNCATE ON marts.recommendations
FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version();

CREATE TRIGGER change_version_if_deleted AFTER DELETE ON marts.recommendations REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION marts.change_version();

-- What they do is in their files.
CREATE FUNCTION staging.make_month(of_date date) RETURNS void
LANGUAGE plpgsql AS 'BEGIN END';
REVOKE ALL ON FUNCTION staging.make_month(date) FROM public;
GRANT EXECUTE ON FUNCTION staging.make_month(date) TO recommendations_pipeline;

CREATE FUNCTION staging.drop_months() RETURNS void
LANGUAGE plpgsql AS 'BEGIN END';
REVOKE ALL ON FUNCTION staging.drop_months() FROM public;
GRANT EXECUTE ON FUNCTION staging.drop_months() TO recommendations_pipeline;

CREATE FUNCTION marts.list_of(
    of_date date,
    of_model text,
    of_advertiser text,
    most integer,
    OUT products bigint,
    OUT last_rank smallint,
    OUT entries json,
    OUT entries_of_all bigint
)
LANGUAGE plpgsql AS 'BEGIN END';
REVOKE ALL ON FUNCTION marts.list_of(date, text, text, integer) FROM public;
GRANT EXECUTE ON FUNCTION marts.list_of(date, text, text, integer) TO recommendations_api;
