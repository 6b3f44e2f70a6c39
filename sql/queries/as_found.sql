-- The relations and functions that there are, and may the role write into the tables?
-- Grain: relation or function. Parameters: schemas, an array of their names.
SELECT
    pg_namespace.nspname::text AS schema_name,
    pg_class.relname::text AS relation,
    array(
        SELECT pg_attribute.attname::text
        FROM pg_catalog.pg_attribute
        WHERE
            pg_attribute.attrelid = pg_class.oid
            AND pg_attribute.attnum > 0
            AND NOT pg_attribute.attisdropped
    ) AS column_names,
    has_schema_privilege(pg_namespace.oid, 'USAGE') AND has_table_privilege(pg_class.oid, 'INSERT') AS is_writable
FROM pg_catalog.pg_namespace
INNER JOIN pg_catalog.pg_class ON pg_namespace.oid = pg_class.relnamespace
WHERE
    pg_namespace.nspname = any(%(schemas)s)
    AND pg_class.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT
    pg_namespace.nspname::text AS schema_name,
    pg_proc.proname::text AS relation,
    NULL AS column_names,
    NULL AS is_writable
FROM pg_catalog.pg_namespace
INNER JOIN pg_catalog.pg_proc ON pg_namespace.oid = pg_proc.pronamespace
WHERE pg_namespace.nspname = any(%(schemas)s)
