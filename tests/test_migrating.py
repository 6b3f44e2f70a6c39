"""Migrating while others work: readers go on, what is waited for has a name, a kill leaves nothing half done."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import psycopg2
import pytest
from chaos import figures, reading
from conftest import DAY, Night, Warehouse

from elt import migrate as migrating
from elt import warehouse as sessions
from elt.errors import NotYet
from elt.migrate import migrate
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

pytestmark = pytest.mark.model_blind

MORE = (
    "-- More.\nALTER TABLE marts.recommendations ADD COLUMN more integer;\nCREATE TABLE marts.much_more (n integer);\n"
)


@contextmanager
def open_query(warehouse: Warehouse, query: str) -> Iterator[str]:
    """A query of an analyst who went to lunch; who that is."""
    with closing(psycopg2.connect(warehouse.url("recommendations_analyst"), application_name="psql")) as conn:
        with conn.cursor() as cursor:
            cursor.execute(query)
        yield f"pid {conn.info.backend_pid} (recommendations_analyst, psql)"


def until(good: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.chaos
def test_the_api_answers_throughout_a_migration_that_waits_for_an_open_query(
    delivered: Night, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered.run()
    (copied / "migrations" / "9999_more.sql").write_text(MORE)
    monkeypatch.setattr(migrating, "PAUSE", 0.3)
    warehouse, port, said = delivered.warehouse, free_port(), list[str]()
    settings = {"MEMORY_MB": "0", "STATEMENT_TIMEOUT": "2"}
    with (
        serve(port, warehouse.url("recommendations_api"), tmp_path / "api.log", **settings),
        ThreadPoolExecutor(1) as pool,
        reading(f"http://127.0.0.1:{port}", DAY) as reader,
    ):
        with open_query(warehouse, "SELECT count(*) FROM marts.recommendations") as who:
            done = pool.submit(migrate, warehouse.url(MASTER), said.append)
            until(lambda: said or done.done())
            before = sum(reader.statuses.values())
            until(lambda: reader.statuses[503] or sum(reader.statuses.values()) > before + 300)
        assert done.result(30)[0] == "applied sql/migrations/9999_more.sql"
    assert said == [f"sql/migrations/9999_more.sql waits for a lock: held by {who}"]
    assert set(reader.statuses) == {200}
    assert reader.slowest < 2
    figures.append(
        f"a migration behind an open query: {sum(reader.statuses.values())} answers, the slowest after "
        f"{reader.slowest:.1f} s"
    )


def test_readers_of_a_view_go_on_while_another_one_keeps_it_from_being_changed(
    warehouse: Warehouse, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = copied / "marts" / "latest_day.sql"
    text = file.read_text().replace("-- published_at:", "-- more: One more.\n-- published_at:")
    file.write_text(text.replace("    publications.published_at\n", "    publications.published_at,\n    1 AS more\n"))
    monkeypatch.setattr(migrating, "PAUSE", 0.3)
    answers, stop, said = Counter[bool](), Event(), list[str]()

    def read() -> None:
        with closing(psycopg2.connect(warehouse.url("recommendations_analyst"))) as conn, conn.cursor() as cursor:
            conn.autocommit = True
            cursor.execute("SET statement_timeout = '2s'")
            while not stop.is_set():
                try:
                    cursor.execute("SELECT * FROM marts.latest_day")
                    answers[True] += 1
                except psycopg2.errors.QueryCanceled:
                    answers[False] += 1

    with ThreadPoolExecutor(2) as pool:
        with open_query(warehouse, "SELECT * FROM marts.latest_day") as who:
            reader, done = pool.submit(read), pool.submit(migrate, warehouse.url(MASTER), said.append)
            until(lambda: said or done.done())
            before = answers.total()
            until(lambda: answers[False] or answers.total() > before + 300)
        assert done.result(30) == ["made the view marts.latest_day of sql/marts/latest_day.sql"]
        stop.set()
        reader.result(30)
    assert said == [f"sql/marts/latest_day.sql waits for a lock: held by {who}"]
    assert answers[False] == 0


def test_a_migration_that_gets_no_lock_is_given_up_whole_and_says_who_has_it(
    warehouse: Warehouse, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied / "migrations" / "9999_more.sql").write_text(
        "-- More.\nCREATE TABLE marts.much_more (n integer);\nALTER TABLE marts.daily ADD COLUMN more integer;\n"
    )
    monkeypatch.setattr(migrating, "PATIENCE", 0)
    with open_query(warehouse, "SELECT * FROM marts.daily") as who:
        with pytest.raises(NotYet) as given_up:
            migrate(warehouse.url(MASTER))
        assert str(given_up.value).startswith(f"sql/migrations/9999_more.sql waits for a lock: held by {who}; given up")
    assert warehouse.rows("SELECT to_regclass('marts.much_more')") == [(None,)]


def test_a_migration_that_is_killed_before_it_is_recorded_was_not_made(warehouse: Warehouse, copied: Path) -> None:
    (copied / "migrations" / "9999_more.sql").write_text(MORE)
    kill = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END'"
    warehouse.rows(
        f"CREATE FUNCTION migrations.kill() {kill}; CREATE TRIGGER kill BEFORE INSERT ON migrations._yoyo_migration "
        "FOR EACH ROW EXECUTE FUNCTION migrations.kill()",
        role=MASTER,
    )
    with pytest.raises((psycopg2.OperationalError, psycopg2.InterfaceError)):
        migrate(warehouse.url(MASTER))
    assert warehouse.rows("SELECT to_regclass('marts.much_more')") == [(None,)]
    warehouse.rows("DROP FUNCTION migrations.kill CASCADE", role=MASTER)
    assert migrate(warehouse.url(MASTER))[0] == "applied sql/migrations/9999_more.sql"


def test_one_that_was_killed_while_it_made_the_tables_of_migrations_stops_no_other(postgres: Postgres) -> None:
    """The library locks by a row, which stays."""
    postgres.provision("killed_at_once")
    url = postgres.url(MASTER, "killed_at_once")
    with closing(psycopg2.connect(url)) as conn, conn, conn.cursor() as cursor:
        cursor.execute("CREATE SCHEMA migrations")
        cursor.execute("CREATE TABLE migrations.yoyo_lock (locked integer PRIMARY KEY, ctime timestamp, pid integer)")
        cursor.execute("INSERT INTO migrations.yoyo_lock VALUES (1, now(), 1)")
    assert len(migrate(url)) > 10


def test_a_second_one_waits_for_the_first_and_says_so(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LOCK_TIMEOUT", "100ms")
    with sessions.session(sessions.opens(warehouse.url(MASTER))) as conn:
        sessions.lock_migrations(conn)
        with pytest.raises(NotYet, match=rf"waited for 100ms: held by pid {conn.info.backend_pid} \(master"):
            migrate(warehouse.url(MASTER))


def test_migrations_are_applied_over_a_connection_as_the_url_says(warehouse: Warehouse) -> None:
    """With all of its parameters: how TLS is verified is one of them."""
    url = f"{warehouse.url(MASTER)}?application_name=by%20hand&sslmode=prefer&connect_timeout=7"
    with closing(migrating._backend(url).connection) as conn:
        said = conn.get_dsn_parameters()
    assert [said[name] for name in ("application_name", "sslmode", "connect_timeout")] == ["by hand", "prefer", "7"]
