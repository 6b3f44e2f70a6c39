"""Bringing a database to the current schema: the numbered migrations, then what the files of sql/ declare.

Run by a person or a deployment as the owner of the database; never by the DAG, never by the API.
"""

from contextlib import closing

import psycopg2
import yoyo
from psycopg2.extensions import parse_dsn
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import DatabaseURI

from elt import sql, warehouse
from elt.declare import declare


def migrate(database_url: str) -> list[str]:
    """Applies what is missing and returns what it did, a line each; on a current database nothing.

    Two at a time are safe: the second waits. A killed one leaves nothing behind: every migration is one transaction,
    and what was not declared yet is by the next. Raises PipelineError that names the file of a mistake.
    """
    conn = psycopg2.connect(database_url)
    try:
        conn.autocommit = True
        with conn.cursor() as cursor:
            # Not yoyo's own lock: it is a row, which a killed process leaves behind.
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.callproc("pg_advisory_lock", (warehouse.LOCKS, warehouse.hash_of("migrate")))
            cursor.execute("CREATE SCHEMA IF NOT EXISTS migrations")
            return _apply_migrations(database_url) + declare(cursor)
    finally:
        conn.close()


def _apply_migrations(database_url: str) -> list[str]:
    backend = _backend(database_url)
    with closing(backend.connection):
        backend.init_database()
        missing = backend.to_apply(yoyo.read_migrations(str(sql.SQL / "migrations")))
        for migration in missing:
            with warehouse.blamed_on(f"sql/migrations/{migration.id}.sql"):
                backend.apply_one(migration)
    return [f"applied sql/migrations/{migration.id}.sql" for migration in missing]


def _backend(database_url: str) -> PostgresqlBackend:
    """yoyo on the database, its own tables in the schema `migrations`. libpq reads the URI: all of them work."""
    parts = parse_dsn(database_url)
    names = ("user", "password", "host", "port", "dbname")
    return PostgresqlBackend(
        DatabaseURI("postgresql", *(parts.pop(name, None) for name in names), parts | {"schema": "migrations"}),
        "_yoyo_migration",
    )
