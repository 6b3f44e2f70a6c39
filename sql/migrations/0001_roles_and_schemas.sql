-- Roles, schemas, and what each may touch.
--
-- Runs as the owner of the database (on RDS: the master user; CREATEROLE, not a superuser).
-- Roles belong to the whole server, so they are made only where they do not exist yet. They can log in but have no
-- password: `python -m elt password ROLE` sets one, `GRANT rds_iam TO role` allows IAM authentication instead.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'recommendations_pipeline') THEN
        CREATE ROLE recommendations_pipeline LOGIN;
        COMMENT ON ROLE recommendations_pipeline IS 'The Airflow DAG: writes staging, models and marts; no DDL there';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'recommendations_api') THEN
        CREATE ROLE recommendations_api LOGIN;
        COMMENT ON ROLE recommendations_api IS 'The HTTP API: reads marts, nothing else';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'recommendations_analyst') THEN
        CREATE ROLE recommendations_analyst LOGIN;
        COMMENT ON ROLE recommendations_analyst IS 'People who write SQL: read marts and the durable part of staging';
        ALTER ROLE recommendations_analyst SET default_transaction_read_only = on;
        ALTER ROLE recommendations_analyst SET statement_timeout = '5min';
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO recommendations_pipeline, recommendations_api, recommendations_analyst',
        current_database()
    );
    -- The raw logs land in temporary tables.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO recommendations_pipeline', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM public;

CREATE SCHEMA staging;
COMMENT ON SCHEMA staging IS 'What was delivered, what FiltrarDatos kept of it, and what it refused';
CREATE SCHEMA models;
COMMENT ON SCHEMA models IS 'Ranked candidates: built by the model tasks, not yet published';
CREATE SCHEMA marts;
COMMENT ON SCHEMA marts IS 'What readers see: published lists and their provenance. Changed by DBWriting only';

GRANT USAGE ON SCHEMA staging TO recommendations_pipeline, recommendations_analyst;
GRANT USAGE ON SCHEMA models TO recommendations_pipeline;
GRANT USAGE ON SCHEMA marts TO recommendations_pipeline, recommendations_api, recommendations_analyst;

ALTER DEFAULT PRIVILEGES IN SCHEMA staging, models, marts
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO recommendations_pipeline;
ALTER DEFAULT PRIVILEGES IN SCHEMA staging
GRANT SELECT ON TABLES TO recommendations_analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA marts
GRANT SELECT ON TABLES TO recommendations_api, recommendations_analyst;
