"""The API under trouble: what it still gives, whom it asks, what it says of the cause. `make chaos` prints it."""

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from chaos import Address, figures, instances, standby_of, wait_until
from conftest import DAY, Night, Warehouse, ordinary_logs
from test_secrets import certificate, tls_front, tls_url

from api.database import Database, Unavailable
from api.settings import Settings
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.model_blind]

BEFORE = "2024-11-19"
LIST = "/recommendations/ACME/TopCTR"


@pytest.fixture
def published(delivered: Night) -> Night:
    """A published day, and the logs of the next one, delivered."""
    deliver(delivered)
    delivered.run(BEFORE)
    return delivered


def deliver(night: Night) -> None:
    active, views, ads = ordinary_logs(BEFORE, shift=2)
    today = ordinary_logs()
    night.deliver(active, views + today[1], ads + today[2])


@contextmanager
def api(night: Night, folder: Path, **settings: str) -> Iterator[httpx.Client]:
    port = free_port()
    with serve(port, night.warehouse.url("recommendations_api"), folder / "api.log", **settings):
        limits = httpx.Limits(max_connections=None)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as http:
            yield http


def test_what_is_in_memory_needs_no_place_among_those_who_wait_for_the_warehouse(
    published: Night, tmp_path: Path
) -> None:
    """Its lists are locked; 150 clients ask for what is not in memory, of whom 100 wait."""
    with (
        api(published, tmp_path, POOL_SIZE="2", STATEMENT_TIMEOUT="60", POOL_WAIT="60") as http,
        ThreadPoolExecutor(150) as pool,
        closing(psycopg2.connect(published.warehouse.postgres.url("postgres", published.warehouse.name))) as holder,
    ):
        known = http.get(LIST)
        holder.cursor().execute("LOCK TABLE marts.recommendations IN ACCESS EXCLUSIVE MODE")
        clients = [{"x-forwarded-for": f"192.0.2.{number}"} for number in range(150)]
        asked = [
            pool.submit(http.get, f"/history/ACME?{'&' * number}", headers=client)
            for number, client in enumerate(clients)
        ]
        wait_until(lambda: sum(one.done() for one in asked) == 50)
        for _ in range(20):
            answer = http.get(LIST)
            assert (answer.status_code, answer.content) == (200, known.content)
            assert "cache-status" not in answer.headers
        for path in ("/assets/page.js", "/openapi.json", "/docs", "/health/live", "/metrics"):
            assert http.get(path).status_code == 200
        assert http.get("/models").json()["detail"] == "too many requests at once"
        holder.close()
        assert sorted(one.result().status_code for one in asked) == [200] * 100 + [503] * 50
    figures.append("lists locked, 150 clients wait for them or are refused: what is in memory is given, not one 503")


def no_right(night: Night) -> None:
    night.warehouse.rows("REVOKE EXECUTE ON FUNCTION marts.lease FROM recommendations_api", role=MASTER)


def no_connection(night: Night) -> None:
    """The role may have no more than it has, and the one for leases is lost."""
    night.warehouse.rows("ALTER ROLE recommendations_api CONNECTION LIMIT 1", role=MASTER)
    as_superuser(
        night.warehouse,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE usename = 'recommendations_api' AND query LIKE '%lease%'",
    )


@pytest.mark.parametrize(("refuse", "cause"), [(no_right, "query"), (no_connection, "full")])
def test_without_a_lease_the_warehouse_is_asked_as_long_as_it_answers(
    published: Night, tmp_path: Path, refuse: Any, cause: str
) -> None:
    """It is said once, and counted."""
    with api(published, tmp_path, POOL_SIZE="1") as http:
        try:
            for _ in range(2):
                assert http.get(LIST).json()["date"] == BEFORE
            refuse(published)
            published.run(DAY)
            for _ in range(20):
                answer = http.get(LIST)
                assert answer.json()["date"] == DAY
                assert "cache-status" not in answer.headers
                assert answer.status_code == 200
            assert counted(http, cause) >= 1
            # Many more than one a second would keep a full server busy.
            assert counted(http, cause) < 10
        finally:
            published.warehouse.rows("ALTER ROLE recommendations_api CONNECTION LIMIT -1", role=MASTER)
            published.warehouse.rows("GRANT EXECUTE ON FUNCTION marts.lease TO recommendations_api", role=MASTER)
        log = tmp_path / "api.log"
        assert log.read_text().count(f"no lease: what is in memory is asked about each time ({cause}): ") == 1
        wait_until(lambda: http.get(LIST) and "no longer: no lease" in log.read_text())
        assert log.read_text().count("no lease") == 2
    figures.append(f"no lease to be had ({cause}): the new day at once, unmarked, one line in the log")


def counted(http: httpx.Client, cause: str) -> float:
    lines = http.get("/metrics").text.splitlines()
    return sum(
        float(line.split()[1]) for line in lines if line.startswith(f'warehouse_failures_total{{cause="{cause}"')
    )


def as_superuser(warehouse: Warehouse, statement: str) -> None:
    with closing(psycopg2.connect(warehouse.postgres.url("postgres", warehouse.name))) as conn:
        conn.autocommit = True
        conn.cursor().execute(statement)


def test_the_first_answer_after_an_outage_is_no_older_than_what_others_have_given(
    published: Night, tmp_path: Path
) -> None:
    """One instance knew the day before when the warehouse went; both are asked when it is back, the other one first."""
    with ExitStack() as stack:
        host = stack.enter_context(Address(published.warehouse.postgres.port))
        url = host.in_place_of(published.warehouse.url("recommendations_api"))
        idle, fresh = stack.enter_context(instances(url, tmp_path))
        assert idle.get(LIST).json()["date"] == BEFORE
        there, nowhere = host.target, free_port()
        host.leads_to(nowhere)
        as_superuser(
            published.warehouse,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'recommendations_api'",
        )
        wait_until(lambda: "cache-status" in idle.get(LIST).headers)
        published.run(DAY)
        assert idle.get(LIST).json()["date"] == BEFORE
        time.sleep(0.3)  # until the try that this may have begun has failed
        host.leads_to(there)
        time.sleep(0.5)  # until the next one is due
        answers = [instance.get(LIST) for instance in (fresh, idle)]
        assert [answer.json()["date"] for answer in answers] == [DAY, DAY]
        assert not [answer for answer in answers if "cache-status" in answer.headers]
    figures.append("after an outage: the first answer of an instance that knew an older day is of the newest")


@pytest.mark.parametrize(
    ("cause", "change", "said"),
    [
        ("password", {":hidden@": ":wr%25ng@"}, 'password authentication failed for user "recommendations_api"'),
        ("database", {"/NAME": "/nothing"}, 'database "nothing" does not exist'),
        ("refused", {":PORT/": ":1/"}, "nobody listens on the host and port in DATABASE_URL"),
        ("host", {"127.0.0.1": "nowhere.invalid"}, "the name of the host in DATABASE_URL leads nowhere"),
        ("url", {":hidden@": ":hi%dden@"}, "DATABASE_URL is no libpq URI"),
        ("host", {":hidden@": ":hid@den@"}, "the name of the host in DATABASE_URL leads nowhere"),
        ("url", {"/NAME": "/NAME?nosuch=1"}, "DATABASE_URL is no libpq URI"),
        ("parameter", {"/NAME": "/NAME?options=-cnosuch%3D1"}, 'unrecognized configuration parameter "nosuch"'),
    ],
)
def test_why_there_is_no_connection_is_said_once_without_a_secret(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture, cause: str, change: dict[str, str], said: str
) -> None:
    right = warehouse.url("recommendations_api").replace(warehouse.postgres.password, "hidden")
    url = right.replace(f"/{warehouse.name}", "/NAME").replace(f":{warehouse.postgres.port}/", ":PORT/")
    for old, new in change.items():
        assert old in url
        url = url.replace(old, new)
    url = url.replace("/NAME", f"/{warehouse.name}").replace(":PORT/", f":{warehouse.postgres.port}/")
    if cause in ("database", "parameter"):
        url = url.replace("hidden", warehouse.postgres.password)
    (line,) = log_of_failing(url, caplog)
    assert line.startswith(f"no connection to the warehouse ({cause}): ")
    assert said in line
    for secret in ("hidden", "wr", "hi%dden", "den@", warehouse.postgres.password):
        assert secret not in line.replace("wrong", "")


def log_of_failing(url: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged when three queries and a lease get no connection."""

    async def story() -> None:
        database = Database(Settings(database_url=url))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await database.fetch("ready")
        with pytest.raises(Unavailable):
            await database.lease()
        database.close()

    with caplog.at_level(logging.INFO, "uvicorn.error"):
        asyncio.run(story())
    return [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]


def test_a_certificate_that_does_not_convince_is_named_as_the_cause(
    warehouse: Warehouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, _ = certificate(tmp_path, "other")
    with tls_front(warehouse, tmp_path) as (front, _):
        (line,) = log_of_failing(tls_url(warehouse, "recommendations_api", front.port, other), caplog)
    assert line.startswith("no connection to the warehouse (certificate): ")
    assert "sslrootcert" in line


def test_another_cause_and_the_end_of_it_are_said_too(published: Night, tmp_path: Path) -> None:
    """The password is changed, the connections are lost, the database closes its door; then all is well again."""
    warehouse, log = published.warehouse, tmp_path / "api.log"
    lost = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'recommendations_api'"
    with api(published, tmp_path) as http:
        try:
            assert http.get(LIST).status_code == 200
            as_superuser(warehouse, f"ALTER ROLE recommendations_api PASSWORD 'a new one'; {lost}")
            for _ in range(5):
                assert http.get("/models").status_code == 503
            warehouse.postgres.let_log_in("recommendations_api")
            as_superuser(warehouse, "ALTER ROLE recommendations_api NOLOGIN")
            for _ in range(5):
                assert http.get("/models").status_code == 503
        finally:
            warehouse.postgres.let_log_in("recommendations_api")
            as_superuser(warehouse, "ALTER ROLE recommendations_api LOGIN")
        assert http.get("/models").status_code == 200
        assert counted(http, "password") >= 5 <= counted(http, "access")
    lines = [re.sub(r" \(request \S+\)$", "", line) for line in log.read_text().splitlines()]
    said = [line.partition(" ")[2].strip() for line in lines if "no connection" in line]
    assert said == [
        'no connection to the warehouse (password): password authentication failed for user "recommendations_api"',
        'no connection to the warehouse (access): role "recommendations_api" is not permitted to log in',
        "no longer: no connection to the warehouse",
    ]
    figures.append(
        "password changed, then the login taken away, 5 requests each: a line in the log each, one at the end"
    )


@pytest.fixture
def switched(s3: Any, bucket: str, tmp_path: Path) -> Iterator[tuple[Night, Address, Postgres, Postgres]]:
    """A published day on two servers, one promoted from the other's standby; the host's name leads to the old one."""
    with ExitStack() as stack:
        old = stack.enter_context(Postgres(tmp_path / "old" / "data", free_port()))
        night = Night(Warehouse(old, "own"), s3, bucket)
        deliver(night)
        night.run(BEFORE)
        new = stack.enter_context(standby_of(old, tmp_path / "new" / "data"))
        night.warehouse.postgres = new
        as_superuser(night.warehouse, "SELECT pg_promote()")
        yield night, stack.enter_context(Address(old.port)), old, new


def dates(http: httpx.Client, number: int) -> list[str]:
    """Of an answer that may be in memory, and of four at the same time that are not."""
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda n: http.get(f"/history/ACME?{'&' * (4 * number + n)}").json()["to"], range(4)))
    return [*asked, http.get(LIST).json()["date"]]


def test_after_a_switch_of_dns_no_older_answer_follows_a_newer_one(
    switched: tuple[Night, Address, Postgres, Postgres], tmp_path: Path
) -> None:
    """The old server goes on answering whoever is connected to it. Connections live for 2 s, or in the second round for
    ever but for one that is lost: what replaces it leads to the new server."""
    night, host, old, new = switched
    on_old = Warehouse.__new__(Warehouse)
    on_old.postgres, on_old.name = old, night.warehouse.name
    url = host.in_place_of(on_old.url("recommendations_api"))
    with ExitStack() as stack:
        aging, staying = (
            stack.enter_context(instances(url, tmp_path, names=name, POOL_SIZE="4", CONNECTION_LIFETIME=lifetime))[0]
            for name, lifetime in (("a", "2"), ("b", "600"))
        )
        for http in (aging, staying):
            for number in range(3):
                assert set(dates(http, number)) == {BEFORE}
        host.leads_to(new.port)
        night.run(DAY)
        seen: list[list[str]] = []

        def all_new() -> bool:
            seen.append(dates(aging, len(seen) + 10))
            return set(seen[-1]) == {DAY}

        wait_until(all_new)
        seen += [dates(aging, number) for number in range(1000, 1010)]
        assert set(dates(staying, 100)) == {BEFORE}, "the old server is alive"
        one = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%history%' AND pid <> pg_backend_pid() LIMIT 1"
        as_superuser(on_old, f"SELECT pg_terminate_backend(({one}))")
        seen_by_other = [dates(staying, number) for number in range(101, 121)]
    for rounds in (seen, seen_by_other):
        newest = [max(dates_of) for dates_of in rounds]
        first = newest.index(DAY)
        assert {day for dates_of in rounds[first + 1 :] for day in dates_of} == {DAY}
    figures.append(
        "DNS leads to another server, the old one alive: the new day when connections had lived their 2 s, and with "
        "the first connection to the new server; none older after it"
    )
