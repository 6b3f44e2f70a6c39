"""Bringing a database to the current schema: the numbered migrations, then what the files of sql/ declare.

Run by a person or a deployment as the owner of the database; never by the DAG, never by the API.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from typing import TypeVar

import psycopg2
import yoyo
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import parse_dsn
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration

from elt import sql, warehouse
from elt.declare import declare
from elt.errors import NotYet

T = TypeVar("T")

LOCK_TIMEOUT = "500ms"
"""How long a change of the schema waits for a lock at a time: everybody who comes meanwhile waits behind it."""

PAUSE = 2.0
"""Seconds until it tries again: those who waited behind it go on."""

PATIENCE = 600.0
"""Seconds after which it gives up; longer than any statement of an analyst takes."""


def migrate(database_url: str, say: Callable[[str], None] = print) -> list[str]:
    """Applies what is missing and returns what it did, a line each; on a current database nothing.

    Two at a time are safe: the second waits. A killed one leaves nothing behind: every change is one transaction, with
    the mark that it is made, and what was not done yet is by the next. Readers go on: what they hold is waited for half
    a second at a time, and `say` is told who holds it. Raises PipelineError that names the file of a mistake, NotYet
    that names who did not let go of something for ten minutes.
    """
    connect = warehouse.opens(database_url)
    with warehouse.session(connect) as watch:
        warehouse.check_second(connect)
        warehouse.lock_migrations(watch)
        watch.autocommit = True  # one look is no younger than its transaction
        patiently = partial(_patiently, watch=watch, say=say)
        with watch.cursor() as cursor:
            cursor.execute("CREATE SCHEMA IF NOT EXISTS migrations")
        applied = _apply_migrations(database_url, patiently)
        # One beside it at a time: a pooler's pool of two is enough.
        with warehouse.session(connect) as conn, conn.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
            conn.commit()
            done = applied + declare(cursor, partial(patiently, conn))
            return done + patiently(conn, "sql/citus/distributed.sql", partial(_distribute, cursor))


def _distribute(cursor: Cursor) -> list[str]:
    """Where the database has Citus, spreads over its nodes what is not yet; elsewhere does nothing."""
    with cursor.connection:
        if not warehouse.is_distributed(cursor):
            return []
        warehouse.run(cursor, "citus/distributed")
        return [f"distributed {relation}" for (relation,) in cursor.fetchall()]


def _apply_migrations(database_url: str, patiently: Callable[..., object]) -> list[str]:
    backend = _backend(database_url)
    with closing(backend.connection):
        backend.init_database()
        # A row, which one that was killed leaves behind. Nobody else is here: the session's lock is held.
        backend.break_lock()
        missing = backend.to_apply(yoyo.read_migrations(str(sql.SQL / "migrations")))
        for migration in missing:
            with warehouse.blamed_on(f"sql/migrations/{migration.id}.sql"):
                patiently(backend.connection, f"sql/migrations/{migration.id}.sql", partial(_apply, backend, migration))
    return [f"applied sql/migrations/{migration.id}.sql" for migration in missing]


def _apply(backend: PostgresqlBackend, migration: Migration) -> None:
    """Applies and marks in one transaction; yoyo by itself marks in a second one, which a kill keeps from happening."""
    with backend.transaction():
        backend.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        migration.process_steps(backend, "apply")
        backend.log_migration(migration, "apply")
        backend.mark_one(migration, log=False)


def _patiently(
    conn: Connection, what: str, attempt: Callable[[], T], *, watch: Connection, say: Callable[[str], None]
) -> T:
    """What the attempt returns, which is one transaction of the connection; tried again while it gets no lock."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (process,) = cursor.fetchone() or ()
    give_up, said = time.monotonic() + PATIENCE, ""
    with ThreadPoolExecutor(1) as pool:
        while True:
            trying, holders = pool.submit(attempt), ""
            while not wait([trying], 0.1).done:
                holders = warehouse.holders(watch, waiting=process) or holders
            try:
                return trying.result()
            except psycopg2.errors.LockNotAvailable as error:
                message = f"{what} waits for a lock: {holders}"
                if time.monotonic() > give_up:
                    raise NotYet(f"{message}; given up after {PATIENCE:.0f} s, nothing of it was done") from error
            if message != said:
                say(message)
                said = message
            time.sleep(PAUSE)


def _backend(database_url: str) -> PostgresqlBackend:
    """yoyo on the database, its own tables in the schema `migrations`. libpq reads the URI: all of them work."""
    parts = parse_dsn(database_url)
    names = ("user", "password", "host", "port", "dbname")
    return PostgresqlBackend(
        DatabaseURI("postgresql", *(parts.pop(name, None) for name in names), parts | {"schema": "migrations"}),
        "_yoyo_migration",
    )
