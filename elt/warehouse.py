"""Talking to PostgreSQL: sessions, locks, and running the files in sql/ so that a mistake names its file and line."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from elt import sql
from elt.errors import PipelineError

Connect = Callable[[], Connection]
"""Opens a connection to the warehouse."""

KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""How long a connection waits for a server that has vanished (seconds; milliseconds): about a minute, not two hours."""

log = logging.getLogger(__name__)

LOCKS = 0x5EC0
"""First key of every advisory lock of this project, so that others on the same server are not met."""


def opens(url: str) -> Connect:
    """How to open the warehouse at the libpq URI."""
    return lambda: psycopg2.connect(url, **KEEPALIVE)


@contextmanager
def session(connect: Connect) -> Iterator[Connection]:
    """A connection, closed at the end; everything uncommitted is rolled back, every lock released.

    A server process whose client was killed notices within seconds and gives up its locks.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        conn.set_client_encoding("UTF8")
        with conn.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'; SET client_connection_check_interval = '2s'; SET work_mem = '64MB'")
        conn.autocommit = False
        yield conn


def lock_day(conn: Connection, day: str, *, shared: bool = False) -> None:
    """Waits for the day, until the session ends. Alone: who loads or publishes it. Shared: who ranks it."""
    _lock(conn, date.fromisoformat(day).toordinal(), shared=shared)


def lock_model(conn: Connection, day: str, model: str) -> None:
    """Waits for the (day, model), until the session ends."""
    _lock(conn, hash_of(f"{day} {model}"))


def lock_publication(conn: Connection) -> None:
    """Waits until nobody publishes, until the session ends: a day's statistics look at the days beside it."""
    _lock(conn, hash_of("publication"))


def hash_of(text: str) -> int:
    """A negative 32-bit number for the text; days are positive, so that the two never meet."""
    return -int(hashlib.md5(text.encode()).hexdigest()[:7], 16) - 1


def run(cursor: Cursor, name: str, **params: Any) -> None:
    """Runs every statement of `sql/<name>.sql`. Raises PipelineError that names the file and the line of a mistake."""
    with blamed_on(f"sql/{name}.sql"):
        cursor.execute(sql.read(name), params)
    log.debug("sql/%s.sql: %s rows", name, cursor.rowcount)


def audit(cursor: Cursor, kind: str, **params: Any) -> None:
    """Runs every audit of a kind. Raises PipelineError with the first rows of each that is broken."""
    broken = []
    for name in sql.audits(kind):
        run(cursor, name, **params)
        if rows := cursor.fetchmany(5):
            columns = [column.name for column in cursor.description or ()]
            promise = sql.read(name).splitlines()[0].removeprefix("-- ")
            facts = "\n".join(
                "    " + ", ".join(f"{column}={value!r}" for column, value in zip(columns, row, strict=True))
                for row in rows
            )
            broken.append(f"sql/{name}.sql: broken: {promise}\n{facts}")
    if broken:
        raise PipelineError("nothing was published:\n" + "\n".join(broken))


@contextmanager
def blamed_on(file: str) -> Iterator[None]:
    """Turns what PostgreSQL says about the text of a file into a PipelineError that names the file and the line.

    Errors that waiting may cure (a lost connection, a deadlock, a server that is full, or read-only after a failover)
    pass through as they are.
    """
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError):
        raise
    except psycopg2.Error as error:
        hints = filter(None, [error.diag.message_primary, error.diag.message_detail, error.diag.message_hint])
        raise PipelineError(f"{file}: {'; '.join(hints) or error}{_line(error)}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PipelineError(f"{file}: parameters are written %(name)s, a percent sign %%: {error!r}") from error


def _lock(conn: Connection, key: int, *, shared: bool = False) -> None:
    """Takes the lock outside any transaction, so that the next snapshot is younger than the lock."""
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.callproc("pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock", (LOCKS, key))
        if cursor.fetchone() != (True,):
            log.info("another session holds this day; waiting for it")
            cursor.callproc("pg_advisory_lock_shared" if shared else "pg_advisory_lock", (LOCKS, key))
    conn.autocommit = False


def _line(error: psycopg2.Error) -> str:
    position = error.diag.statement_position
    query = error.cursor.query if error.cursor is not None else None
    if not position or not query:
        return ""
    text = query.decode(errors="replace")
    start = text.rfind("\n", 0, int(position) - 1) + 1
    return f" (at: {text[start:].splitlines()[0].strip()})"
