"""A pool of asynchronous psycopg2 connections that waits when exhausted and replaces what broke, and its queries."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import POLL_OK, POLL_READ, connection

from api.settings import Settings
from api.trouble import Trouble

QUERIES = {file.stem: file.read_text() for file in (Path(__file__).parent / "queries").glob("*.sql")}
PARAMETERS = {name: list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text))) for name, text in QUERIES.items()}

EXECUTE = {
    name: identifiers.SQL("EXECUTE {} ({})" if names else "EXECUTE {}").format(
        identifiers.Identifier(name), identifiers.SQL(", ").join(map(identifiers.Placeholder, names))
    )
    for name, names in PARAMETERS.items()
}

EXECUTE_AT = {name: identifiers.SQL("; ").join([EXECUTE["at_version"], execute]) for name, execute in EXECUTE.items()}
"""In one message, which is one transaction."""

KEEPALIVE: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""How soon an idle connection is known to be dead whose server has vanished without a word (seconds; milliseconds)."""

NO_CONNECTION, NO_LEASE = "no connection to the warehouse", "no lease: what is in memory is asked about each time"
"""Told apart in the log."""

STANDBY = (
    "DATABASE_URL leads to a standby, which grants no lease: what is in memory is asked about each time, and the lists "
    "may be behind those that others read. DATABASE_URL is to name the primary, REPLICA_URL the standby"
)

log = logging.getLogger("uvicorn.error")

REPLICA_LOCK_TIMEOUT = 100
"""Milliseconds that a query waits for a lock on a replica."""

POOLER_PATIENCE = 1.0
"""Seconds that a second connection waits for a pooler to give it a server."""

Row = tuple[Any, ...]


class Connection(connection):
    """A connection that knows how old it is, which server it leads to, and what that has prepared in its session."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: set[str] = set()
        self.opened = monotonic()
        self.server: Row | None = None


OfAnotherVersion = psycopg2.errors.DivisionByZero
"""What queries/at_version.sql fails with."""

Pool = asyncio.LifoQueue[Connection | None]


class Unavailable(Exception):
    """The warehouse can not answer now; it may a moment later."""


class TooSlow(Unavailable):
    """It is there, and has too much to do."""


class Shared(psycopg2.OperationalError):
    """A pooler before the warehouse gives the server's process to others, too."""

    def __init__(self) -> None:
        super().__init__(
            "the pooler before the warehouse is in transaction mode: sessions do not keep their server; session mode "
            "works, and so does no pooler"
        )


class Database:
    """At most `pool_size` connections, opened when needed, used by one request at a time, waited for by the event loop;
    one more asks for leases.

    A host's name may come to lead to another server while the old one goes on answering. So no connection is older than
    `connection_lifetime`, and the server of the newest one decides: what leads to another is not used any more.

    A replica, whose every answer says what it was made of (`fetch_all_at`), may be several servers, and is asked for no
    lease.

    psycopg2's own pools raise when they are exhausted, and hand out connections that are dead.
    """

    def __init__(self, settings: Settings, replica: bool = False) -> None:
        """Opens nothing yet. Raises RuntimeError when the settings name no database."""
        name, url = ("REPLICA_URL", settings.replica_url) if replica else ("DATABASE_URL", settings.database_url)
        if url is None:
            raise RuntimeError(f"{name} is not set; it is the libpq URI of the warehouse, as recommendations_api")
        self._url = url.get_secret_value()
        self._settings, self._is_replica = settings, replica
        # Beside a replica the primary is asked little: a quarter is for what the replica can not say yet.
        asked_little = settings.replica_url is not None and not replica
        self._free = _pool(max(1, settings.pool_size // 4) if asked_little else settings.pool_size)
        self._free_for_leases = _pool(1)
        self._no_lease_until = 0.0
        self._server: Row | None = None
        self._trouble = Trouble(name)
        self._no_connection = NO_CONNECTION.replace("warehouse", "replica") if replica else NO_CONNECTION
        self.on_another_server: Callable[[], None] = lambda: None
        """Called when the newest connection leads to another server than those before."""

    async def fetch(self, query: str, **params: Any) -> Row | None:
        """The first row of `queries/<query>.sql`, or None. Raises as `fetch_all` does."""
        rows = await self.fetch_all(query, **params)
        return rows[0] if rows else None

    async def fetch_all(self, query: str, **params: Any) -> list[Row]:
        """The rows of `queries/<query>.sql`.

        Raises Unavailable after `pool_wait` without a free connection, when no connection can be made, and when the
        query is cancelled. A connection that turns out to be dead is replaced, and the query asked once more.
        """
        return await self._asked(query, params)

    async def fetch_all_at(self, version: int, query: str, **params: Any) -> list[Row] | None:
        """The same, if what readers see is of the version, else None. For a replica."""
        try:
            return await self._asked(query, params | {"version": version}, EXECUTE_AT)
        except Unavailable as error:
            if isinstance(error.__cause__, OfAnotherVersion):
                return None
            raise

    async def _asked(
        self, query: str, params: dict[str, Any], execute: dict[str, identifiers.Composed] = EXECUTE
    ) -> list[Row]:
        try:
            return await self._fetch_all(self._free, query, params, execute)
        except psycopg2.errors.QueryCanceled as error:
            raise TooSlow(_why(error)) from error
        except (psycopg2.Error, TimeoutError) as error:
            raise Unavailable(_why(error)) from error

    async def lease(self) -> tuple[bool, int, float]:
        """May answers be given from memory, of which version, for how many seconds (queries/lease.sql).

        It has a connection of its own: what is in memory does not wait for slow queries. When the warehouse refuses it
        while it answers others, there is no lease, but the version is known all the same. Raises Unavailable.
        """
        refused = None
        if monotonic() >= self._no_lease_until:
            try:
                ((granted, version, seconds),) = await self._fetch_all(self._free_for_leases, "lease", {})
            except TimeoutError as error:
                raise Unavailable(_why(error)) from error
            except psycopg2.Error as error:
                refused = error
            else:
                self._trouble.over(NO_LEASE)
                return granted, version, seconds
        ((version,),) = await self._asked("version", {})
        if refused:
            # Not before: when nothing is answered at all, that is what is wrong.
            self._trouble.failed(NO_LEASE, refused)
            self._no_lease_until = monotonic() + 1
        return False, version, 0.0

    def close(self) -> None:
        """Closes what is free."""
        for pool in (self._free, self._free_for_leases):
            while not pool.empty():
                if conn := pool.get_nowait():
                    conn.close()

    async def _fetch_all(
        self, pool: Pool, query: str, params: dict[str, Any], execute: dict[str, identifiers.Composed] = EXECUTE
    ) -> list[Row]:
        try:
            async with asyncio.timeout(self._settings.pool_wait):
                conn = await pool.get()
        except TimeoutError:
            raise TooSlow("all connections to the warehouse are busy") from None
        good = None
        try:
            if conn is not None and (conn := await self._current(conn)):
                try:
                    rows = await self._rows(conn, query, params, execute)
                    if conn.server == self._server:
                        good = conn
                        return rows
                except (psycopg2.OperationalError, psycopg2.InterfaceError):
                    if not conn.closed:
                        raise
                except psycopg2.errors.FeatureNotSupported:
                    # A column has another type now: what is prepared in this session can not be asked any more.
                    pass
                # The connection had died while it was idle: the warehouse was restarted, or failed over. Or, while it
                # was asked, another one led to another server.
                conn.close()
            conn = await self._connect()
            rows = await self._rows(conn, query, params, execute)
            good = conn
            return rows
        except OfAnotherVersion:
            good = conn
            raise
        finally:
            if good is None and conn is not None:
                conn.close()
            pool.put_nowait(good)

    async def _current(self, conn: Connection) -> Connection | None:
        """The connection, or a younger one in its place; None when there is to be another."""
        if conn.server != self._server:
            conn.close()
            return None
        if monotonic() - conn.opened < self._settings.connection_lifetime:
            return conn
        try:
            younger = await self._connect()
        except psycopg2.Error:
            # The server is full, or the password a new one: better the old connection than none, for as long again.
            # One that hangs is not waited for twice.
            conn.opened = monotonic()
            return conn
        conn.close()
        return younger

    async def _connect(self) -> Connection:
        try:
            conn = await self._opened()
        except (psycopg2.Error, UnicodeError, TimeoutError) as error:
            self._trouble.failed(self._no_connection, error)
            if isinstance(error, UnicodeError):  # an unencoded % in the password may make bytes that are no UTF-8
                raise psycopg2.ProgrammingError("no libpq URI") from None
            raise
        self._trouble.over(self._no_connection)
        if conn.server != self._server:
            if self._server is not None:
                self.on_another_server()
            self._server = conn.server
            if conn.server and conn.server[-1]:
                log.warning(STANDBY)
        return conn

    async def _opened(self) -> Connection:
        """A session that is what the settings say. Raises Shared when it is not its own."""
        settings = {
            "statement_timeout": str(int(self._settings.statement_timeout * 1000)),
            # What a standby replays may wait for somebody's long query, and every reader of the table behind it, while
            # the primary answers.
            "lock_timeout": str(REPLICA_LOCK_TIMEOUT) if self._is_replica else "0",
            # On a replica all of a message is of one snapshot. A lease is as young as the lock that it has taken.
            "isolation": "repeatable read" if self._is_replica else "read committed",
        }
        async with self._patience():
            conn = await self._open()
            ((process, *_),) = await _answer(conn, QUERIES["session"], settings)
            # A pooler tells its clients a number of its own making.
            if process != conn.info.backend_pid and await self._is_shared(conn, process):
                conn.close()
                raise Shared
        if not self._is_replica:
            (conn.server,) = await self._rows(conn, "server", {})
        return conn

    async def _open(self) -> Connection:
        # In a thread, since it looks the host's name up, which blocks.
        conn = await asyncio.to_thread(
            psycopg2.connect,
            self._url,
            connection_factory=Connection,
            async_=True,
            application_name="recommendations api",
            **KEEPALIVE,
        )
        await _ready(conn)
        return conn

    async def _is_shared(self, conn: Connection, process: int) -> bool:
        """Does a pooler give the connection's server process to others between two transactions?

        A transaction of another connection then either gets that process, or leaves it for none.
        """
        other = await self._open()
        try:
            async with asyncio.timeout(POOLER_PATIENCE):
                ((others,),) = await _answer(other, "BEGIN; SELECT pg_backend_pid()")
                return others == process or await _answer(conn, "SELECT pg_backend_pid()") != [(process,)]
        except TimeoutError:
            # It waits for a server: whoever has one keeps it.
            return False
        finally:
            other.close()

    async def _rows(
        self,
        conn: Connection,
        query: str,
        params: dict[str, Any],
        execute: dict[str, identifiers.Composed] = EXECUTE,
    ) -> list[Row]:
        """Runs the query as a prepared statement, so that the server plans it once a session."""
        async with self._patience():
            for name in (query, "at_version") if execute is EXECUTE_AT else (query,):
                if name not in conn.prepared:
                    numbered = {parameter: f"${place}" for place, parameter in enumerate(PARAMETERS[name], 1)}
                    cursor = conn.cursor()
                    cursor.execute(
                        identifiers.SQL("PREPARE {} AS {}").format(
                            identifiers.Identifier(name), identifiers.SQL(QUERIES[name] % numbered)
                        )
                    )
                    await _ready(conn)
                    conn.prepared.add(name)
            return await _answer(conn, execute[query], params)

    def _patience(self) -> asyncio.Timeout:
        """The server's own statement_timeout can not help when it is the server that hangs."""
        return asyncio.timeout(self._settings.statement_timeout + 2)


def _pool(size: int) -> Pool:
    pool: Pool = asyncio.LifoQueue()
    for _ in range(size):
        pool.put_nowait(None)
    return pool


class Batch:
    """Asks one query for all requests that came while it was being asked for those before them.

    The query takes an array a parameter, an element a request, and answers with rows that begin with the request's
    place (1 is the first). Under load that is far cheaper than a query each, at rest it is a query each.
    """

    def __init__(self, ask: Callable[..., Awaitable[list[Row]]], *parameters: str) -> None:
        self._ask, self._parameters = ask, parameters
        self._waiting: dict[Row, asyncio.Future[Row | None]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def fetch(self, *key: Any) -> Row | None:
        """The row for the key (a value a parameter) without its place, or None. Raises what the query raises."""
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            if len(self._asking) < AT_ONCE:
                self._asking.add(asyncio.create_task(self._ask_all()))
        # One that waits may be cancelled (its client has gone) without the others losing their answer.
        return await asyncio.shield(answer)

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                await self._ask_waiting()
        finally:
            # Not by a callback: in the moment until then a request would wait for a task that has ended.
            self._asking.discard(asyncio.current_task())

    async def _ask_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        arrays = dict(zip(self._parameters, map(list, zip(*waiting, strict=True)), strict=True))
        try:
            rows = await self._ask(**arrays)
        except Exception as error:
            for answer in waiting.values():
                answer.set_exception(error)
                answer.exception()  # it has been seen, even if nobody waits for it any more
            return
        found = {row[0]: row[1:] for row in rows}
        for place, answer in enumerate(waiting.values(), 1):
            answer.set_result(found.get(place))


AT_ONCE = 2
"""Queries of a batch at one time: while the server works on one, this process can read the other's answer."""


async def _answer(conn: Connection, query: str | identifiers.Composable, params: Any = None) -> list[Row]:
    """The rows that the query has, or the last of several."""
    cursor = conn.cursor()
    cursor.execute(query, params)
    await _ready(conn)
    return cursor.fetchall()


async def _ready(conn: Connection) -> None:
    """Waits until the connection is made, or has the answer to what it was asked."""
    loop = asyncio.get_running_loop()
    while (state := conn.poll()) != POLL_OK:
        ready = loop.create_future()
        watch, forget = (
            (loop.add_reader, loop.remove_reader) if state == POLL_READ else (loop.add_writer, loop.remove_writer)
        )
        watch(conn.fileno(), _resolve, ready)
        try:
            await ready
        finally:
            forget(conn.fileno())


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _why(error: Exception) -> str:
    """For the client: what is wrong, without hosts, users or SQL."""
    match error:
        case TimeoutError():
            return "the warehouse does not answer"
        case psycopg2.errors.QueryCanceled():
            return "the warehouse took too long to answer"
        case Shared() | psycopg2.errors.DuplicatePreparedStatement() | psycopg2.errors.InvalidSqlStatementName():
            return str(Shared())
        case psycopg2.ProgrammingError():
            return "the warehouse is not set up for this version of the API"
    return "the warehouse can not be reached"
