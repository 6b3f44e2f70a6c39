-- Takes from the roles what they do not need, as far as who migrates can: what can not be taken is told in
-- docs/reliability.md, "Who may do what".
--
-- Roles are the server's: an owner who did not make them leaves them as they are.

DO $$
DECLARE
    command text;
    large_object regprocedure;
BEGIN
    FOREACH command IN ARRAY ARRAY[
        -- An open transaction keeps a migration, and vacuum, waiting.
        'ALTER ROLE recommendations_analyst SET idle_in_transaction_session_timeout = ''5min''',
        'ALTER ROLE recommendations_api SET idle_in_transaction_session_timeout = ''10s''',
        -- Only for a superuser, or with GRANT SET ON PARAMETER.
        'ALTER ROLE recommendations_analyst SET temp_file_limit = ''5GB'''
    ] LOOP
        BEGIN
            EXECUTE command;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE NOTICE '%: %', command, SQLERRM;
        END;
    END LOOP;

    -- Everybody may write large objects, which no schema holds: only for a superuser, whose the functions are.
    FOR large_object IN
        SELECT functions.oid
        FROM pg_proc AS functions
        WHERE functions.pronamespace = 'pg_catalog'::regnamespace
            AND functions.proname IN (
                'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64'
            )
            AND pg_has_role(functions.proowner, 'USAGE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', large_object);
    END LOOP;
END
$$;
