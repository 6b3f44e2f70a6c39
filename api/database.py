"""A pool of psycopg2 connections that waits when exhausted and replaces what broke, and the queries to run on it."""

from pathlib import Path
from queue import Empty, LifoQueue
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, set_wait_callback
from psycopg2.extensions import connection as Connection

from api.settings import Settings

QUERIES = {file.stem: file.read_text() for file in (Path(__file__).parent / "queries").glob("*.sql")}


class Unavailable(Exception):
    """The warehouse can not answer now; it may a moment later."""


class Database:
    """At most `pool_size` connections, opened when needed, used by one request at a time.

    psycopg2's own ThreadedConnectionPool raises when it is exhausted, connects while holding its lock, and hands out
    connections that are dead.
    """

    def __init__(self, settings: Settings) -> None:
        """Opens nothing yet. Raises RuntimeError when the settings name no database."""
        if settings.database_url is None:
            raise RuntimeError("DATABASE_URL is not set; it is the libpq URI of the warehouse, as recommendations_api")
        self._url = settings.database_url.get_secret_value()
        self._settings = settings
        self._free: LifoQueue[Connection | None] = LifoQueue()
        for _ in range(settings.pool_size):
            self._free.put(None)

    def fetch(self, query: str, **params: Any) -> tuple[Any, ...] | None:
        """The first row of `queries/<query>.sql`, or None.

        Raises Unavailable after `pool_wait` without a free connection, when no connection can be made, and when the
        query is cancelled. A connection that turns out to be dead is replaced, and the query asked once more.
        """
        try:
            conn = self._free.get(timeout=self._settings.pool_wait)
        except Empty:
            raise Unavailable("all connections to the warehouse are busy") from None
        try:
            try:
                return _first_row(conn or (conn := self._connect()), query, params)
            except _Hangs:
                raise
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if conn is None or not conn.closed:
                    raise
            # The connection had died while it was idle: the warehouse was restarted, or failed over.
            conn = None
            return _first_row(conn := self._connect(), query, params)
        except psycopg2.Error as error:
            raise Unavailable(_why(error)) from error
        finally:
            self._free.put(None if conn is None or conn.closed else conn)

    def close(self) -> None:
        """Closes what is free."""
        while True:
            try:
                conn = self._free.get_nowait()
            except Empty:
                return
            if conn is not None:
                conn.close()

    def _connect(self) -> Connection:
        timeout = int(self._settings.statement_timeout * 1000)
        conn = psycopg2.connect(
            self._url,
            application_name="recommendations api",
            options=f"-c statement_timeout={timeout} -c default_transaction_read_only=on -c timezone=UTC",
        )
        conn.autocommit = True
        return conn


class _Hangs(psycopg2.OperationalError):
    """Asking again would take as long again."""


def bound_waiting(seconds: float) -> None:
    """Lets no psycopg2 call of this process wait for the server longer than this, connecting or reading.

    The server's own statement_timeout can not help when it is the server that hangs. What waits longer raises
    psycopg2.OperationalError, upon which psycopg2 closes the connection.
    """

    def wait(conn: Connection) -> None:
        deadline = monotonic() + seconds
        while (state := conn.poll()) != POLL_OK:
            # poll, not select, which knows no file descriptor above 1023.
            waiting = poll()
            waiting.register(conn.fileno(), POLLIN if state == POLL_READ else POLLOUT)
            if not waiting.poll(max(0, deadline - monotonic()) * 1000):
                raise _Hangs("the server does not answer")

    set_wait_callback(wait)


def _first_row(conn: Connection, query: str, params: dict[str, Any]) -> tuple[Any, ...] | None:
    with conn.cursor() as cursor:
        cursor.execute(QUERIES[query], params)
        return cursor.fetchone()


def _why(error: psycopg2.Error) -> str:
    """For the client: what is wrong, without hosts, users or SQL."""
    match error:
        case psycopg2.errors.QueryCanceled():
            return "the warehouse took too long to answer"
        case psycopg2.ProgrammingError():
            return "the warehouse is not set up for this version of the API"
    return "the warehouse can not be reached"
