"""A pool of psycopg2 connections that waits when exhausted and replaces what broke, and the queries to run on it."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from queue import Empty, LifoQueue
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import POLL_OK, POLL_READ, connection, set_wait_callback

from api.settings import Settings

QUERIES = {file.stem: file.read_text() for file in (Path(__file__).parent / "queries").glob("*.sql")}
PARAMETERS = {name: list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text))) for name, text in QUERIES.items()}

Row = tuple[Any, ...]


class Connection(connection):
    """A connection that remembers which queries the server has prepared in its session."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: set[str] = set()


class Unavailable(Exception):
    """The warehouse can not answer now; it may a moment later."""


class Database:
    """At most `pool_size` connections, opened when needed, used by one request at a time.

    psycopg2's own ThreadedConnectionPool raises when it is exhausted, connects while holding its lock, and hands out
    connections that are dead.
    """

    def __init__(self, settings: Settings, pool_size: int | None = None) -> None:
        """Opens nothing yet. Raises RuntimeError when the settings name no database."""
        if settings.database_url is None:
            raise RuntimeError("DATABASE_URL is not set; it is the libpq URI of the warehouse, as recommendations_api")
        self._url = settings.database_url.get_secret_value()
        self._settings = settings
        self._free: LifoQueue[Connection | None] = LifoQueue()
        for _ in range(pool_size or settings.pool_size):
            self._free.put(None)

    def fetch(self, query: str, **params: Any) -> Row | None:
        """The first row of `queries/<query>.sql`, or None. Raises as `fetch_all` does."""
        rows = self.fetch_all(query, **params)
        return rows[0] if rows else None

    def fetch_all(self, query: str, **params: Any) -> list[Row]:
        """The rows of `queries/<query>.sql`.

        Raises Unavailable after `pool_wait` without a free connection, when no connection can be made, and when the
        query is cancelled. A connection that turns out to be dead is replaced, and the query asked once more.
        """
        try:
            conn = self._free.get(timeout=self._settings.pool_wait)
        except Empty:
            raise Unavailable("all connections to the warehouse are busy") from None
        try:
            try:
                return _rows(conn or (conn := self._connect()), query, params)
            except _Hangs:
                raise
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if conn is None or not conn.closed:
                    raise
            # The connection had died while it was idle: the warehouse was restarted, or failed over.
            conn = None
            return _rows(conn := self._connect(), query, params)
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
            connection_factory=Connection,
            application_name="recommendations api",
            # Every query looks a few keys up: planning it once for all keys is right, and most of its cost.
            options=f"-c statement_timeout={timeout} -c default_transaction_read_only=on -c timezone=UTC "
            "-c plan_cache_mode=force_generic_plan",
        )
        conn.autocommit = True
        return conn


class Batch:
    """Asks one query for all requests that came while it was being asked for those before them.

    The query takes an array a parameter, an element a request, and answers with rows that begin with the request's
    place (1 is the first). Under load that is far cheaper than a query each, at rest it is a query each.
    """

    def __init__(self, ask: Callable[..., list[Row]], *parameters: str) -> None:
        self._ask, self._parameters = ask, parameters
        self._waiting: dict[Row, asyncio.Future[Row | None]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def fetch(self, *key: Any) -> Row | None:
        """The row for the key (a value a parameter) without its place, or None. Raises what the query raises."""
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            if len(self._asking) < AT_ONCE:
                task = asyncio.create_task(self._ask_all())
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
        # One that waits may be cancelled (its client has gone) without the others losing their answer.
        return await asyncio.shield(answer)

    async def _ask_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            arrays = dict(zip(self._parameters, map(list, zip(*waiting, strict=True)), strict=True))
            try:
                rows = await asyncio.to_thread(self._ask, **arrays)
            except Exception as error:
                for answer in waiting.values():
                    answer.set_exception(error)
                    answer.exception()  # it has been seen, even if nobody waits for it any more
                continue
            found = {place: row for place, *row in rows}
            for place, answer in enumerate(waiting.values(), 1):
                answer.set_result(found.get(place))


AT_ONCE = 2
"""Queries of a batch at one time: while the server works on one, this process can read the other's answer."""


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


def _rows(conn: Connection, query: str, params: dict[str, Any]) -> list[Row]:
    """Runs the query as a prepared statement, so that the server plans it once a session."""
    names = PARAMETERS[query]
    with conn.cursor() as cursor:
        if query not in conn.prepared:
            numbered = {name: f"${place}" for place, name in enumerate(names, 1)}
            cursor.execute(
                identifiers.SQL("PREPARE {} AS {}").format(
                    identifiers.Identifier(query), identifiers.SQL(QUERIES[query] % numbered)
                )
            )
            conn.prepared.add(query)
        values = identifiers.SQL(", ").join(map(identifiers.Placeholder, names))
        execute = identifiers.SQL("EXECUTE {} ({})" if names else "EXECUTE {}")
        cursor.execute(execute.format(identifiers.Identifier(query), values), params)
        return cursor.fetchall()


def _why(error: psycopg2.Error) -> str:
    """For the client: what is wrong, without hosts, users or SQL."""
    match error:
        case psycopg2.errors.QueryCanceled():
            return "the warehouse took too long to answer"
        case psycopg2.ProgrammingError():
            return "the warehouse is not set up for this version of the API"
    return "the warehouse can not be reached"
