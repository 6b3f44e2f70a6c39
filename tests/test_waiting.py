"""Who waits for whom: each step holds what it works on, so that two runs at once can not mix."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date
from functools import partial
from typing import Any

import psycopg2
import pytest
from conftest import DAY, Night, Warehouse, ordinary_logs
from psycopg2.extensions import connection as Connection

from elt import sql, warehouse
from elt.errors import NotYet
from local.postgres import MASTER

pytestmark = pytest.mark.model_blind

ALONE, SHARED = "ExclusiveLock", "ShareLock"
READERS_LEASE = "SELECT pg_advisory_xact_lock_shared(24256, 1)"
"""As marts.lease takes it, for as long as the transaction is open."""


@contextmanager
def held(of: Warehouse, take: Callable[[Connection], None]) -> Iterator[None]:
    conn = of.connect()
    take(conn)
    yield
    conn.close()


def waits(of: Warehouse, step: Callable[[], Any], take: Callable[[Connection], None]) -> str | None:
    """How the step waits for what another session has taken: to have it ALONE, or SHARED; None: it does not wait.

    When that is released the step goes on.
    """
    with ThreadPoolExecutor(1) as pool:
        with held(of, take):
            begun: Future[Any] = pool.submit(step)
            deadline = time.monotonic() + 30
            while not (waiting := waiting_for(of)) and not begun.done():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        begun.result(30)
    return waiting


def waiting_for(of: Warehouse) -> str | None:
    ((mode,),) = of.rows(
        "SELECT max(mode) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    return mode


def lease(conn: Connection) -> None:
    with conn.cursor() as cursor:
        cursor.execute(READERS_LEASE)


DAY_ALONE = partial(warehouse.lock_day, day=DAY)
DAY_SHARED = partial(warehouse.lock_day, day=DAY, shared=True)
MODEL = partial(warehouse.lock_model, day=DAY, model=sql.models()[0].name)


@pytest.mark.parametrize(
    ("step", "other", "expected"),
    [
        pytest.param("load", DAY_ALONE, ALONE, id="a load waits for a load, and for a publication"),
        pytest.param("load", DAY_SHARED, ALONE, id="a load waits for models that rank the day"),
        pytest.param("rank", DAY_ALONE, SHARED, id="a model waits for a load, and for a publication"),
        pytest.param("rank", DAY_SHARED, None, id="models rank a day at the same time"),
        pytest.param("rank", MODEL, ALONE, id="a model waits for itself"),
        pytest.param("publish", DAY_ALONE, ALONE, id="a publication waits for a load"),
        pytest.param("publish", DAY_SHARED, ALONE, id="a publication waits for models that rank the day"),
        pytest.param("publish", MODEL, None, id="a publication waits for the day, not for each of its models"),
        pytest.param("publish", warehouse.lock_publication, ALONE, id="a publication waits for every other"),
        pytest.param("forget", warehouse.lock_publication, ALONE, id="forgetting waits for publications"),
        pytest.param("load", warehouse.lock_publication, None, id="a load waits for no publication of another day"),
        pytest.param("rank", warehouse.lock_publication, None, id="nor does a model"),
        pytest.param("publish", lease, ALONE, id="a publication waits for readers' leases"),
    ],
)
def test_a_step_waits_for(
    delivered: Night, step: str, other: Callable[[Connection], None], expected: str | None
) -> None:
    if step != "load":
        delivered.load()
        delivered.rank()
    assert waits(delivered.warehouse, getattr(delivered, step), other) == expected


def test_a_day_and_another_day_do_not_wait_for_each_other(delivered: Night) -> None:
    other_day = partial(warehouse.lock_day, day="2024-11-21")
    for step in (delivered.load, delivered.rank, delivered.publish):
        assert waits(delivered.warehouse, step, other_day) is None


def test_who_forgets_a_day_waits_for_readers_and_who_forgets_none_does_not(night: Night) -> None:
    """Readers that answer from memory must not name a day that others no longer find."""
    for day in ("2024-09-01", DAY):
        night.deliver(*ordinary_logs(day))
        night.run(day)
    night.change(keep_days=60, keep_working_days=30)
    assert waits(night.warehouse, night.forget, lease) is None
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    assert waits(night.warehouse, night.forget, lease) == ALONE
    assert night.warehouse.rows("SELECT DISTINCT date::text FROM marts.publications") == [(DAY,)]


def test_a_table_that_somebody_has_locked_is_left_to_the_retries_which_are_told_by_whom(
    delivered: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a maintenance would: no file is blamed."""
    delivered.load()
    delivered.rank()
    monkeypatch.setattr(warehouse, "LOCK_TIMEOUT", "100ms")
    with closing(psycopg2.connect(delivered.warehouse.url(MASTER), application_name="mending")) as conn:
        with conn.cursor() as cursor:
            locked, steps = "staging.loads", (delivered.load, delivered.rank, delivered.publish, delivered.forget)
            for table, step in [*((locked, step) for step in steps), ("months.product_daily_2024_11", delivered.rank)]:
                conn.rollback()
                cursor.execute(f"LOCK TABLE {table}")
                with pytest.raises(NotYet, match=rf"100ms: held by pid {conn.info.backend_pid} \(master, mending\)$"):
                    step()


def by_anybody(conn: Connection, key: int) -> None:
    """Any role may take an advisory lock; nobody but a superuser can forbid it."""
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(24256, %s)", (key,))


@pytest.mark.parametrize(
    ("key", "stopped"),
    [
        pytest.param(1, ["publish"], id="the lock of readers' leases"),
        pytest.param(warehouse.hash_of("publication"), ["publish", "forget"], id="the lock of publications"),
        pytest.param(date.fromisoformat(DAY).toordinal(), ["load", "rank", "publish"], id="the lock of the day"),
    ],
)
def test_a_lock_that_an_analyst_holds_is_not_waited_for_without_end_nor_without_a_name(
    delivered: Night, monkeypatch: pytest.MonkeyPatch, key: int, stopped: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    delivered.load()
    delivered.rank()
    monkeypatch.setattr(warehouse, "LOCK_TIMEOUT", "100ms")
    url = delivered.warehouse.url("recommendations_analyst")
    with closing(psycopg2.connect(url, application_name="psql")) as conn:
        by_anybody(conn, key)
        held_by = rf"held by pid {conn.info.backend_pid} \(recommendations_analyst, psql\)"
        for step in stopped:
            with pytest.raises(NotYet, match=rf"a lock was waited for 100ms: {held_by}"):
                getattr(delivered, step)()
    assert key == 1 or re.search(f"waiting for another session's lock: {held_by}", caplog.text)
    assert delivered.publish()


def test_the_locks_of_days_and_of_models_never_meet() -> None:
    """They share one space of numbers: a day's is positive."""
    assert all(warehouse.hash_of(f"{DAY} {n}") < 0 for n in range(100))


def test_a_session_is_what_the_steps_rely_on_whatever_the_client_is_told(
    delivered: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "America/New_York")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGOPTIONS", "-c client_connection_check_interval=0")
    with warehouse.session(delivered.warehouse.connect) as conn, conn.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('TimeZone'), current_setting('client_encoding'), "
            "current_setting('client_connection_check_interval'), current_setting('jit')"
        )
        assert cursor.fetchall() == [("UTC", "UTF8", "2s", "off")]
