"""Talking to PostgreSQL: sessions, locks, and running the files in sql/ so that a mistake names its file and line."""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date
from decimal import Decimal
from socket import SHUT_RDWR, socket
from typing import Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import parse_dsn

from elt import sql
from elt.errors import Broken, Locked, NotYet, PipelineError
from elt.look_back import one_select

Connect = Callable[[], Connection]
"""Opens a connection to the warehouse."""

KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""How long either side of a connection waits for one that has vanished (seconds; milliseconds): about a minute, not
two hours."""

CONNECT: dict[str, Any] = {"connect_timeout": 10, **KEEPALIVE}
"""What a connection is opened with."""

LOCK_TIMEOUT = "10min"
"""How long a step waits for a lock before it leaves that to a retry."""

POOLER_PATIENCE = 1.0
"""Seconds that a second connection waits for a pooler to give it a server."""

SECOND_PATIENCE = 5.0
"""The same, of who can not go on without."""

log = logging.getLogger(__name__)

LOCKS = 0x5EC0
"""First key of every advisory lock of this project, so that others on the same server are not met."""


def opens(url: str, setting: str = "DATABASE_URL") -> Connect:
    """How to open the warehouse at the libpq URI, which is that of the setting."""
    check_url(url, setting)
    return lambda: psycopg2.connect(url, **CONNECT)


def check_url(url: str, setting: str = "DATABASE_URL") -> None:
    """Raises PipelineError when it is no libpq URI; what libpq says of it would show the password."""
    try:
        parts = parse_dsn(url)
    except (psycopg2.Error, UnicodeError):
        parts = {"host": "@"}
    # What is not encoded in a password ends up in other parts of it, which libpq names too.
    if "@" in parts.get("host", "") + parts.get("dbname", "") or not re.fullmatch(r"[\d,]*", parts.get("port", "")):
        raise PipelineError(
            f"{setting} can not be read; it is postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, and in the password "
            "% is written %25, / %2F, @ %40, : %3A"
        )


@contextmanager
def session(connect: Connect) -> Iterator[Connection]:
    """A connection, closed at the end; everything uncommitted is rolled back, every lock released.

    A server process whose client was killed notices within seconds, one whose client's machine has vanished within
    about a minute, and gives up its locks. Raises Locked that names who holds a lock that was waited for too long, and
    PipelineError when a pooler gives the session's server process to others, too.
    """
    with closing(connect()) as conn:
        conn.autocommit = True
        conn.set_client_encoding("UTF8")
        with conn.cursor() as cursor:
            run(cursor, "queries/session", mark=_mark(conn), lock_timeout=LOCK_TIMEOUT, **KEEPALIVE)
            (process, *_) = cursor.fetchone() or ()
        # A pooler tells its clients a number of its own making.
        if process != conn.info.backend_pid and _is_shared(conn, connect):
            raise PipelineError(TRANSACTION_MODE)
        conn.autocommit = False
        try:
            yield conn
        except psycopg2.errors.LockNotAvailable as error:
            conn.rollback()
            raise _given_up(conn) from error


TRANSACTION_MODE = (
    "the pooler before the warehouse is in transaction mode: a session does not keep its server process, so that its "
    "locks and temporary tables come to others; session mode works, and so does no pooler"
)


def _mark(conn: Connection) -> str:
    """What tells the session from every other: the number that the client knows it by."""
    return str(conn.info.backend_pid)


def _is_shared(conn: Connection, connect: Connect) -> bool:
    """Does a pooler give the session's server process to others between two transactions?

    A transaction of another connection then either gets that process, or leaves it for none.
    """

    others = _asked_beside(connect, _mark(conn), POOLER_PATIENCE)
    # It waited for a server: whoever has one keeps it.
    return others is not None and (others or not _is_marked(conn, _mark(conn)))


def check_second(connect: Connect) -> None:
    """Raises PipelineError when nobody gives a second connection beside those that there are."""
    if _asked_beside(connect, "", SECOND_PATIENCE) is None:
        raise PipelineError(
            "two connections at the same time are needed, and the pooler before the warehouse has no server for the "
            f"second one within {SECOND_PATIENCE:.0f} s: give it a pool of two or more (PgBouncer: pool_size), or "
            "connect without it"
        )


def _is_marked(conn: Connection, mark: str) -> bool:
    with conn.cursor() as cursor:
        cursor.execute("SELECT current_setting('recommendations.session', true) = %s", (mark,))
        return cursor.fetchone() == (True,)


def _asked_beside(connect: Connect, mark: str, patience: float) -> bool | None:
    """Has another connection a server process with the mark? None when it gets no server within `patience`, seconds."""
    with closing(connect()) as other, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_is_marked, other, mark)
        try:
            return asked.result(patience)
        except TimeoutError:
            with socket(fileno=os.dup(other.fileno())) as end:
                end.shutdown(SHUT_RDWR)
            return None


def holders(conn: Connection, *, waiting: int | None = None, key: int | None = None) -> str:
    """Who holds what the server process `waiting` waits for, or the advisory lock `key`, or any lock of the warehouse
    that a step may wait for; for people. Nothing when nobody does any more."""
    with conn.cursor() as cursor:
        run(cursor, "queries/lock_holders", waiting=waiting, key=key)
        found = [f"pid {pid} ({', '.join(filter(None, who))})" for pid, *who in cursor.fetchall()]
    return f"held by {'; '.join(found)}" if found else ""


def lock_day(conn: Connection, day: str, *, shared: bool = False) -> None:
    """Waits for the day, until the session ends. Alone: who loads or publishes it. Shared: who ranks it."""
    _lock(conn, date.fromisoformat(day).toordinal(), shared=shared)


def lock_days_before(conn: Connection, day: str, model: sql.Model) -> None:
    """On Citus, waits for the days before the day that the model reads, shared, until the session ends: a snapshot is
    of one node there, so that nobody may load what is being read. Elsewhere does nothing, and what is wrong with the
    model is PostgreSQL's to say."""
    conn.autocommit = True
    with conn.cursor() as cursor:
        earlier = model.looks_back if is_distributed(cursor) else 0
    conn.autocommit = False
    for before in range(earlier, 0, -1):
        _lock(conn, date.fromisoformat(day).toordinal() - before, shared=True)


def lock_model(conn: Connection, day: str, model: str) -> None:
    """Waits for the (day, model), until the session ends."""
    _lock(conn, hash_of(f"{day} {model}"))


def lock_migrations(conn: Connection) -> None:
    """Waits until nobody migrates, until the session ends."""
    _lock(conn, hash_of("migrate"))


def lock_publication(conn: Connection) -> None:
    """Waits until nobody publishes, until the session ends: a day's statistics look at the days beside it."""
    _lock(conn, hash_of("publication"))


def lock_published_files(conn: Connection) -> None:
    """Waits until nobody writes published lists to S3, until the session ends."""
    _lock(conn, hash_of("published files"))


def hash_of(text: str) -> int:
    """A negative 32-bit number for the text; days are positive, so that the two never meet."""
    return -int(hashlib.md5(text.encode()).hexdigest()[:7], 16) - 1


def run(cursor: Cursor, name: str, **params: Any) -> None:
    """Runs every statement of `sql/<name>.sql`. Raises PipelineError that names the file and the line of a mistake."""
    started = time.monotonic()
    with blamed_on(f"sql/{name}.sql"):
        cursor.execute(sql.read(name), params)
    log.debug("sql/%s.sql: %s rows in %.2f s", name, cursor.rowcount, time.monotonic() - started)


def ranking(cursor: Cursor, model: sql.Model, day: str) -> identifiers.SQL:
    """The model's query for the log day, every product of every list; what it stands on is in temporary views.

    Raises PipelineError that names the file when it is not one SELECT, or has another parameter than ds.
    """
    for other in model.stands_on:
        view = identifiers.SQL("CREATE OR REPLACE TEMPORARY VIEW {} AS {}")
        cursor.execute(view.format(identifiers.Identifier(other.relation), ranking(cursor, other, day)))
    one_select(model.query(), sql.shown(model.file))
    with blamed_on(sql.shown(model.file)):
        return identifiers.SQL(cursor.mogrify(model.query(), {"ds": day}).decode())


def audit(cursor: Cursor, kind: str, *, ds: str, run_id: str, **params: Any) -> None:
    """Runs every audit of a kind on the day, and keeps what each found in staging.audit_results.

    Raises Broken with the first rows of each that is broken. Then the transaction has been rolled back, and what
    was found is committed apart from it.
    """
    results, broken = [], []
    for name in sql.audits(kind):
        run(cursor, name, ds=ds, **params)
        columns = [column.name for column in cursor.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchmany(5)]
        found = {"audit": name.rpartition("/")[2], "broken_rows": cursor.rowcount, "first_row": next(iter(rows), None)}
        results.append(found)
        if rows:
            promise = sql.read(name).splitlines()[0].removeprefix("-- ")
            facts = "\n".join(
                "    " + ", ".join(f"{column}={value!r}" for column, value in row.items()) for row in rows
            )
            broken.append(f"sql/{name}.sql: broken: {promise}\n{facts}")
    if broken:
        cursor.connection.rollback()
    run(cursor, "staging/audit_results", ds=ds, kind=kind, run_id=run_id, results=json.dumps(results, default=_plain))
    if broken:
        cursor.connection.commit()
        raise Broken(f"{ds}: nothing was published:\n" + "\n".join(broken))


def _plain(value: Any) -> float | str:
    """As JSON has it."""
    return float(value) if isinstance(value, Decimal) else str(value)


@contextmanager
def blamed_on(file: str) -> Iterator[None]:
    """Turns what PostgreSQL says about the text of a file into a PipelineError that names the file and the line.

    Errors that waiting may cure (a lost connection, a deadlock, a server that is full, or read-only after a failover)
    pass through as they are.
    """
    try:
        yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        raise
    except psycopg2.Error as error:
        # What a node of Citus refuses of rows that it is given is told without its kind.
        if isinstance(error, psycopg2.InternalError) and "violates" not in str(error):
            raise
        hints = filter(None, [error.diag.message_primary, error.diag.message_detail, error.diag.message_hint])
        raise PipelineError(f"{file}: {'; '.join(hints) or error}{_line(error)}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PipelineError(f"{file}: parameters are written %(name)s, a percent sign %%: {error!r}") from error


def is_distributed(cursor: Cursor) -> bool:
    """Has the database Citus?"""
    cursor.execute("SELECT FROM pg_extension WHERE extname = 'citus'")
    return cursor.rowcount > 0


def check_committed(cursor: Cursor) -> None:
    """Raises NotYet when a node of the warehouse lacks what was committed before: what is read would be half old."""
    if is_distributed(cursor):
        run(cursor, "citus/nodes_behind")
        if behind := [f"{node} {said}" for node, said in cursor.fetchall()]:
            raise NotYet(
                f"the warehouse's nodes are not alike: {'; '.join(behind)}; Citus tells those that are there within a "
                "minute"
            )


def _lock(conn: Connection, key: int, *, shared: bool = False) -> None:
    """Takes the lock outside any transaction, so that the next snapshot is younger than the lock.

    Raises Locked that names who holds it, PipelineError when another server process than the session's would.
    """
    conn.autocommit = True
    name = "advisory_lock_shared" if shared else "advisory_lock"
    with conn.cursor() as cursor:
        for function in (f"pg_try_{name}", f"pg_{name}"):
            # Without a pooler the client knows the process by its number, else the session has its mark.
            take = identifiers.SQL(
                "SELECT CASE WHEN %s IN (pg_backend_pid()::text, current_setting('recommendations.session', true)) "
                "THEN {}(%s, %s)::text END"
            ).format(identifiers.Identifier(function))
            try:
                cursor.execute(take, (_mark(conn), LOCKS, key))
            except psycopg2.errors.LockNotAvailable as error:
                raise _given_up(conn, key) from error
            (taken,) = cursor.fetchone() or ()
            if taken is None:
                raise PipelineError(TRANSACTION_MODE)
            if taken != "false":
                break
            log.info("waiting for another session's lock: %s", holders(conn, key=key))
    conn.autocommit = False


def _given_up(conn: Connection, key: int | None = None) -> Locked:
    return Locked(f"a lock was waited for {LOCK_TIMEOUT}: {holders(conn, key=key) or 'nobody holds it any more'}")


def _line(error: psycopg2.Error) -> str:
    position = error.diag.statement_position
    query = error.cursor.query if error.cursor is not None else None
    if not position or not query:
        return ""
    text = query.decode(errors="replace")
    start = text.rfind("\n", 0, int(position) - 1) + 1
    return f" (at: {text[start:].splitlines()[0].strip()})"
