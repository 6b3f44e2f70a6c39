"""Behind PgBouncer: in session mode everything works; transaction mode is noticed at once, and refused with the reason.

In transaction mode the server's process goes to the next client after every transaction, and with it the locks,
temporary tables and parameters of whoever had it before.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg2
import pytest
from chaos import figures
from conftest import DAY, ROLES, Night, Warehouse

from api.database import Database, _ready
from api.settings import Settings
from elt import warehouse as sessions
from elt.check import check
from elt.errors import PipelineError
from elt.migrate import migrate
from local import processes
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin")

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.model_blind,
    pytest.mark.skipif(not PGBOUNCER, reason="PgBouncer is not installed (apt-get install pgbouncer)"),
]

REFUSED = "in transaction mode"

Through = Callable[..., int]


@contextmanager
def pgbouncer(postgres: Postgres, folder: Path, mode: str, **settings: Any) -> Iterator[int]:
    """PgBouncer before the server, in the mode `session` or `transaction`; its port."""
    folder.mkdir()
    port = free_port()
    users = "".join(f'"{role}" "{postgres.password}"\n' for role in (MASTER, *ROLES))
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": folder / "users",
        "pool_mode": mode,
        **settings,
    }
    (folder / "users").write_text(users)
    (folder / "ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in options.items())
    )
    if postgres.user:  # like PostgreSQL it does not run as root
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, postgres.user)
    process = processes.start([str(PGBOUNCER), str(folder / "ini")], folder / "log", user=postgres.user)
    try:
        deadline = time.monotonic() + 10
        while True:
            with suppress(psycopg2.OperationalError):
                psycopg2.connect(postgres.url(MASTER, "postgres").replace(f":{postgres.port}/", f":{port}/")).close()
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        processes.stop(process)


def through(warehouse: Warehouse, port: int, role: str) -> str:
    return warehouse.url(role).replace(f":{warehouse.postgres.port}/", f":{port}/")


def steps_through(night: Night, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    url = through(night.warehouse, port, "recommendations_pipeline")
    monkeypatch.setattr(night.warehouse, "connect", lambda: psycopg2.connect(url))


def advisory_locks(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return warehouse.rows(
        "SELECT classid, objid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE datname = current_database() AND locktype = 'advisory'"
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not in pytest's own, which only this user may enter."""
    with TemporaryDirectory(prefix="pooler-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_in_session_mode_everything_works(
    delivered: Night, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    warehouse = delivered.warehouse
    delivered.run()
    expected = delivered.lists()
    # As many servers as the steps need for themselves: none is left for looking whether they are shared.
    with pgbouncer(warehouse.postgres, folder / "pgbouncer", "session", default_pool_size=3) as port:
        warehouse.rows("DROP VIEW marts.latest_recommendations", role=MASTER)
        done = migrate(through(warehouse, port, MASTER))
        assert done == ["made the view marts.latest_recommendations of sql/marts/latest_recommendations.sql"]
        steps_through(delivered, port, monkeypatch)
        delivered.run(reload=True)
        assert delivered.lists() == expected
        api_port = free_port()
        with serve(api_port, through(warehouse, port, "recommendations_api"), tmp_path / "api.log"):
            url = f"http://127.0.0.1:{api_port}"
            for path in ("/recommendations/ACME/TopCTR", "/history/ACME", "/stats", "/health/ready"):
                assert httpx.get(url + path).status_code == 200, (tmp_path / "api.log").read_text()
    figures.append("PgBouncer in session mode: migrate, a night, the API: the same lists")


def test_two_servers_are_enough_to_migrate(warehouse: Warehouse, folder: Path) -> None:
    """With a third session it hung until PgBouncer gave up, two minutes later."""
    settings = {"default_pool_size": 2, "query_wait_timeout": 20}
    with pgbouncer(warehouse.postgres, folder / "pgbouncer", "session", **settings) as port:
        warehouse.rows("DROP VIEW marts.latest_recommendations", role=MASTER)
        done = migrate(through(warehouse, port, MASTER))
    assert done == ["made the view marts.latest_recommendations of sql/marts/latest_recommendations.sql"]
    figures.append("PgBouncer with two servers: migrated")


def test_one_server_is_refused_at_once_by_who_migrates(warehouse: Warehouse, folder: Path) -> None:
    settings = {"default_pool_size": 1, "query_wait_timeout": 60}
    with pgbouncer(warehouse.postgres, folder / "pgbouncer", "session", **settings) as port:
        url = through(warehouse, port, MASTER)
        began = time.monotonic()
        with pytest.raises(PipelineError, match=r"two connections at the same time are needed.*pool of two"):
            migrate(url)
        assert time.monotonic() - began < 20
    assert advisory_locks(warehouse) == []


def test_the_sessions_of_the_api_are_what_its_settings_say_behind_a_pooler_too(
    warehouse: Warehouse, folder: Path
) -> None:
    async def session(url: str) -> list[Any]:
        database = Database(Settings(database_url=url, statement_timeout=1.5))
        await database.fetch("ready")
        conn = database._free.get_nowait()
        assert conn is not None
        cursor = conn.cursor()
        shown: list[Any] = []

        for name in ("statement_timeout", "default_transaction_read_only", "TimeZone", "plan_cache_mode"):
            cursor.execute(f"SHOW {name}")
            await _ready(conn)
            shown += cursor.fetchone() or ()
        conn.close()
        return shown

    with pgbouncer(warehouse.postgres, folder / "pgbouncer", "session") as port:
        for url in (warehouse.url("recommendations_api"), through(warehouse, port, "recommendations_api")):
            assert asyncio.run(session(url)) == ["1500ms", "on", "UTC", "force_generic_plan"]


@pytest.mark.parametrize("servers", [1, 20])
def test_transaction_mode_is_refused_at_once_by_all_who_need_a_session(
    delivered: Night, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, servers: int
) -> None:
    """Even when nobody else is there yet, so that it would go well by luck."""
    warehouse = delivered.warehouse
    delivered.run()
    with pgbouncer(warehouse.postgres, folder / "pgbouncer", "transaction", default_pool_size=servers) as port:
        with pytest.raises(PipelineError, match=REFUSED):
            migrate(through(warehouse, port, MASTER))
        steps_through(delivered, port, monkeypatch)
        for step in (lambda: delivered.load(reload=True), delivered.rank, delivered.publish, delivered.forget):
            with pytest.raises(PipelineError, match=REFUSED):
                step()
        monkeypatch.setenv("DATABASE_URL", through(warehouse, port, "recommendations_pipeline"))
        assert [is_right for is_right, found in check() if REFUSED in found] == [False]
        assert advisory_locks(warehouse) == []
        api_port = free_port()
        log = tmp_path / "api.log"
        with serve(api_port, through(warehouse, port, "recommendations_api"), log):
            url = f"http://127.0.0.1:{api_port}"
            for path in ("/recommendations/ACME/TopCTR", "/history/ACME", "/stats", "/health/ready"):
                answer = httpx.get(url + path)
                assert answer.status_code == 503
            assert log.read_text().count(REFUSED) == 1, log.read_text()
    figures.append(f"PgBouncer in transaction mode, servers: {servers}: refused by migrate, four steps and the API")


def test_a_lock_is_refused_that_another_server_than_the_sessions_would_hold(
    delivered: Night, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many others the look at the beginning may miss it; so it is made to."""
    monkeypatch.setattr(sessions, "_is_shared", lambda *_: False)
    warehouse = delivered.warehouse
    with pgbouncer(warehouse.postgres, folder / "pgbouncer", "transaction") as port:
        url = through(warehouse, port, "recommendations_pipeline")
        with sessions.session(lambda: psycopg2.connect(url)) as conn, closing(psycopg2.connect(url)) as other:
            with other.cursor() as cursor:
                cursor.execute("SELECT 1")
                with pytest.raises(PipelineError, match=REFUSED):
                    sessions.lock_day(conn, DAY)
