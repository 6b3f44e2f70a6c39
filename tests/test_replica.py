"""The API on a read replica: a real streaming one, two instances behind a balancer, replay that stands still."""

import asyncio
import itertools
import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from chaos import figures, instances, standby_of, wait_until
from conftest import DAY, Night, Warehouse, ordinary_logs
from test_access import TOMORROW, bearer

from api.database import QUERIES, Database, Unavailable
from api.memory import Memory
from api.replica import WithReplica
from api.settings import Settings
from api.trouble import FAILED
from elt import keys
from elt.__main__ import main
from elt.warehouse import opens
from local.airflow import free_port
from local.postgres import MASTER, Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.model_blind]

LIST = "/recommendations/ACME/TopCTR"
WAITS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"
NEVER_ASKED = itertools.count(1)


class Pair:
    """A primary and its standby, with published days; each further day is a day later."""

    def __init__(self, primary: Postgres, standby: Postgres, night: Night) -> None:
        self.primary, self.standby, self.night = primary, standby, night
        self.settings = {"REPLICA_URL": standby.url("recommendations_api", night.warehouse.name)}
        self.url = night.warehouse.url("recommendations_api")
        self.days = (f"2024-12-{number:02}" for number in range(1, 32))
        self.newest = DAY

    def publish(self, *more: str) -> str:
        """Another day, with further advertisers."""
        self.newest = next(self.days)
        active, views, ads = ordinary_logs(self.newest)
        self.night.deliver([*active, *more], views + [(one, "p", self.newest) for one in more], ads)
        self.night.run(self.newest)
        return self.newest

    def ask(self, server: Postgres, query: str) -> Any:
        """As a superuser."""
        with closing(psycopg2.connect(server.url("postgres", self.night.warehouse.name))) as conn:
            conn.autocommit = True
            with conn.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The standby receives what happens, and does not show it."""
        self.ask(self.standby, "SELECT pg_wal_replay_pause()")
        wait_until(lambda: self.ask(self.standby, "SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
        try:
            yield
        finally:
            self.ask(self.standby, "SELECT pg_wal_replay_resume()")

    def is_equal(self) -> bool:
        both = [self.ask(server, "TABLE marts.version") for server in (self.primary, self.standby)]
        return bool(both[0] == both[1])


@pytest.fixture(scope="module")
def pair(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("replica")
    s3.create_bucket(Bucket="replica")
    with Postgres(folder / "primary" / "data", free_port()) as primary:
        night = Night(Warehouse(primary, "own"), s3, "replica")
        night.deliver(*ordinary_logs())
        night.run()
        with standby_of(primary, folder / "standby" / "data") as standby:
            yield Pair(primary, standby, night)


@pytest.fixture(scope="module")
def both(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[httpx.Client]]:
    with instances(pair.url, tmp_path_factory.mktemp("both"), **pair.settings) as clients:
        yield clients


@pytest.fixture(autouse=True)
def caught_up(pair: Pair) -> None:
    wait_until(pair.is_equal, "the standby does not follow")


def fresh(path: str) -> str:
    """The path as nobody has asked for it, so that the answer is in no memory."""
    return f"{path}?{'&' * next(NEVER_ASKED)}"


def outcomes(instance: httpx.Client) -> Counter[str]:
    """What came of what the replica was asked."""
    found = re.findall(r'^replica_queries_total{outcome="(\w+)"} (\S+)', instance.get("/metrics").text, re.MULTILINE)
    return Counter({outcome: int(float(number)) for outcome, number in found})


def ready(instance: httpx.Client) -> None:
    """The replica, if it was away, is asked again."""
    # Within a second of having found it away it is not asked, which counts as nothing.
    wait_until(lambda: is_ready(instance) and set(asked_once(instance)) == {"answered"})


def newest_end(instance: httpx.Client) -> datetime:
    found = re.search(r"^recommendations_newest_day_end_timestamp_seconds (\S+)", instance.get("/metrics").text, re.M)
    assert found
    return datetime.fromtimestamp(float(found[1]), UTC)


def is_ready(instance: httpx.Client) -> bool:
    return instance.get("/health/ready").is_success


def is_marked(instance: httpx.Client) -> bool:
    return "cache-status" in instance.get(LIST).headers


def is_unmarked(instance: httpx.Client) -> bool:
    return not is_marked(instance)


def asked_once(instance: httpx.Client) -> Counter[str]:
    """What comes of one list that nobody has asked for, and of `/metrics`."""
    before = outcomes(instance)
    instance.get(fresh(LIST))
    return outcomes(instance) - before


def behind_or_away(instance: httpx.Client) -> Counter[str]:
    return +Counter({key: n for key, n in asked_once(instance).items() if key != "answered"})


def test_answers_come_from_the_replica_and_leases_from_the_primary(pair: Pair, both: list[httpx.Client]) -> None:
    for instance in both:
        ready(instance)
    api = "FROM pg_stat_activity WHERE usename = 'recommendations_api'"
    pair.ask(pair.primary, f"SELECT pg_terminate_backend(pid) {api}")
    paths = [
        LIST,
        "/history/BOLT",
        "/stats",
        "/advertisers",
        "/models",
        "/exports/lists.csv",
        "/recommendations/NOBODY",
    ]
    for instance in both:
        before = outcomes(instance)
        answers = [instance.get(fresh(path)) for path in paths for _ in range(3)]
        assert Counter(answer.status_code for answer in answers) == {200: 18, 404: 3}
        assert not [answer for answer in answers if "cache-status" in answer.headers]
        asked = outcomes(instance) - before
        assert set(asked) == {"answered"}
        assert asked["answered"] >= len(answers)
        assert "recommendations_leases 1.0" in instance.get("/metrics").text
        in_memory = [instance.get(LIST).content for _ in range(20)]
        assert len(set(in_memory)) == 1
        assert outcomes(instance) - before - asked <= Counter(answered=3), "the list, and twice /metrics"
    assert {query for (query,) in pair.ask(pair.primary, f"SELECT query {api}")} == {'EXECUTE "lease"'}


def test_no_instance_gives_an_older_day_while_the_replica_is_behind(pair: Pair, both: list[httpx.Client]) -> None:
    """A client is sent to one instance and the other in turn, as by a balancer, while days are published."""
    seen: list[str] = []
    stop = threading.Event()

    def read() -> None:
        for instance in itertools.cycle(both):
            if stop.is_set():
                return
            seen.append(instance.get(LIST).raise_for_status().json()["date"])
            seen.append(instance.get(fresh("/history/ACME")).raise_for_status().json()["to"])

    reader = threading.Thread(target=read)
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=instance.base_url, timeout=20)) for instance in both]
        stack.callback(reader.join)
        stack.callback(stop.set)
        reader.start()
        with pair.standing_still():
            before = [outcomes(client) for client in clients]
            day = pair.publish("NEW")
            for client in clients:
                for path in (LIST, fresh(LIST), "/recommendations/BOLT", fresh("/recommendations/BOLT")):
                    answer = client.get(path)
                    assert (answer.json()["date"], answer.headers.get("cache-status")) == (day, None), path
                assert client.get(fresh("/history/ACME")).json()["to"] == day
                assert client.get(fresh("/stats")).json()["date"] == day
                assert client.get("/health/ready").json()["newest"] == day
                assert day in client.get("/exports/lists.csv").text
                assert day in client.get("/").text
                new = client.get("/recommendations/NEW/TopProduct")
                assert (new.status_code, new.json().get("date")) == (200, day)
            for client, then in zip(clients, before, strict=True):
                assert (outcomes(client) - then)["behind"] >= 8
        wait_until(pair.is_equal)
    assert seen == sorted(seen)
    assert seen[-1] == day
    for instance in both:
        ready(instance)
        assert not behind_or_away(instance)
    figures.append(f"a replica that stands still: {len(seen)} answers of two instances, none older after a newer one")


def test_a_key_is_revoked_and_a_new_one_known_whatever_the_replica_says(pair: Pair, tmp_path: Path) -> None:
    connect = opens(pair.night.warehouse.url(MASTER))
    kept, revoked = (keys.create(name, ["ACME"], TOMORROW, connect)[0] for name in ("kept", "revoked"))
    wait_until(pair.is_equal)
    with instances(pair.url, tmp_path, API_ACCESS="keys", **pair.settings) as both:
        for instance in both:
            assert [instance.get(LIST, headers=bearer(key)).status_code for key in (kept, revoked)] == [200, 200]
        with pair.standing_still():
            keys.revoke("revoked", connect)
            for instance in both:
                for _ in range(3):
                    assert instance.get(LIST, headers=bearer(revoked)).status_code == 401
                    assert instance.get(fresh(LIST), headers=bearer(kept)).status_code == 200
            made = keys.create("made", ["ACME"], TOMORROW, connect)[0]
            for instance in both:
                assert instance.get(LIST, headers=bearer(made)).status_code == 200


def test_with_the_primary_away_the_replica_answers_marked_what_is_of_the_last_version_known(
    pair: Pair, both: list[httpx.Client], tmp_path: Path
) -> None:
    away = '; detail="the warehouse is away"'
    old = pair.newest
    for instance in both:
        ready(instance)
        assert instance.get(LIST).json()["date"] == old
    with ExitStack() as stack:
        stack.enter_context(pair.standing_still())
        day = pair.publish()
        for instance in both:
            # The first who asks is nobody whose answer could be in memory.
            assert newest_end(instance) == datetime.fromisoformat(f"{day}T00:00Z") + timedelta(1)
            assert instance.get(LIST).json()["date"] == day
        pair.primary.stop()
        try:
            for instance in both:
                wait_until(partial(is_marked, instance))
                for _ in range(3):
                    known = instance.get(LIST)
                    assert (known.json()["date"], known.headers["cache-status"]) == (day, f"recommendations; hit{away}")
                    # The replica is still at the day before.
                    for path in ("/history/ACME", "/recommendations/NOBODY", "/stats", "/health/ready"):
                        assert instance.get(fresh(path)).status_code == 503, path
            stack.close()
            newest = "SELECT max(date)::text FROM marts.publications"
            wait_until(lambda: pair.ask(pair.standby, newest) == [(day,)])
            third = stack.enter_context(instances(pair.url, tmp_path, names="c", **pair.settings))[0]
            for instance in [*both, third]:
                wait_until(partial(is_ready, instance))
                for path, status in ((LIST, 200), ("/history/ACME", 200), ("/recommendations/NOBODY", 404)):
                    answer = instance.get(fresh(path))
                    assert (answer.status_code, answer.headers["cache-status"]) == (
                        status,
                        f"recommendations; fwd=miss{away}",
                    )
                    assert day in answer.text
        finally:
            pair.primary.start()
    for instance in both:
        wait_until(partial(is_unmarked, instance))
        assert instance.get(LIST).json()["date"] == day
    figures.append("the primary away: what the replica says of the last version known, marked; of another one, 503")


def test_with_the_replica_away_the_primary_answers_and_then_the_replica_again(
    pair: Pair, both: list[httpx.Client]
) -> None:
    for instance in both:
        ready(instance)
    pair.standby.stop()
    try:
        day = pair.publish()
        for instance in both:
            for _ in range(5):
                answer = instance.get(fresh(LIST))
                assert (answer.status_code, answer.json()["date"]) == (200, day)
                assert "cache-status" not in answer.headers
            assert outcomes(instance)["away"] > 0
    finally:
        pair.standby.start()
    wait_until(pair.is_equal)
    for instance in both:
        ready(instance)


def test_what_waits_on_the_replica_for_somebodys_long_query_is_asked_of_the_primary(
    pair: Pair, both: list[httpx.Client]
) -> None:
    """What is replayed then takes a table for itself: readers of it would wait behind it, half a minute or longer."""
    for instance in both:
        ready(instance)
    waiting = "SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    with closing(psycopg2.connect(pair.standby.url("postgres", pair.night.warehouse.name))) as analyst:
        analyst.cursor().execute("SELECT count(*) FROM marts.recommendations")
        pair.ask(pair.primary, "BEGIN; LOCK TABLE marts.recommendations; COMMIT; SELECT 1")
        wait_until(lambda: pair.ask(pair.standby, waiting))
        for instance in both:
            before = outcomes(instance)
            for path in (LIST, "/history/ACME", "/exports/lists.csv"):
                answer = instance.get(fresh(path))
                assert (answer.status_code, pair.newest in answer.text) == (200, True), path
            assert (outcomes(instance) - before)["away"] > 0
        assert pair.ask(pair.standby, waiting), "it was over before"


def test_what_an_answer_was_made_of_is_said_in_one_snapshot_with_it(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version comes between the two: the answer is not of it."""
    ((version,),) = warehouse.rows("SELECT number FROM marts.version")
    waiting = QUERIES["at_version"].replace("AS yes", "AS yes, pg_advisory_xact_lock(7)")
    monkeypatch.setitem(QUERIES, "at_version", waiting)
    monkeypatch.setattr("api.database.REPLICA_LOCK_TIMEOUT", 0)

    async def story() -> tuple[Any, Any]:
        settings = Settings(replica_url=warehouse.url("recommendations_api"), pool_size=1, statement_timeout=20)
        replica = Database(settings, replica=True)
        with closing(psycopg2.connect(warehouse.url(MASTER))) as holder, holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(7)")
            asked = asyncio.create_task(replica.fetch_all_at(version, "version"))
            await asyncio.to_thread(wait_until, lambda: warehouse.rows(WAITS))
            await asyncio.to_thread(warehouse.rows, "UPDATE marts.version SET number = number + 1", role=MASTER)
        seen = await asked, await replica.fetch_all_at(version, "version")
        assert replica._free.get_nowait(), "the connection is as good as before"
        replica.close()
        return seen

    assert asyncio.run(story()) == ([(version,)], None)


def exposed_failures() -> dict[str, float]:
    return {
        sample.labels["cause"]: sample.value
        for metric in FAILED.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def test_the_log_says_why_the_replica_does_not_answer(
    delivered: Night,
    migrated_warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever connects to the wrong database had no word of it: the primary answered everything."""
    delivered.run()
    url = delivered.warehouse.url("recommendations_api")
    behind = "the replica has been behind each time it was asked for 0 s"

    def said(replica: str, long: float = 60.0) -> list[str]:
        async def story() -> None:
            database = WithReplica(Settings(database_url=url, replica_url=replica))
            database.memory = Memory(database.lease, Unavailable, 0)
            for _ in range(3):
                assert await database.fetch("ready") == (DAY,)
                database._ask_again = 0.0
            database.close()

        monkeypatch.setattr("api.replica.LONG", long)
        caplog.clear()
        with caplog.at_level(logging.INFO, "uvicorn.error"):
            asyncio.run(story())
        return [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]

    counted = exposed_failures()
    other = migrated_warehouse.copy("no_replica").url("recommendations_api")
    empty = migrated_warehouse.postgres.url("recommendations_api", "postgres")
    assert said(url) == said(other) == []
    (line,) = said(other, long=0)
    assert line.startswith(behind)
    (line,) = said(empty)
    assert line.startswith("no answer of the replica, the primary is asked (query): relation")
    (line,) = said(url.replace(f"/{delivered.warehouse.name}", "/nosuch"))
    assert line == 'no connection to the replica (database): database "nosuch" does not exist'
    assert exposed_failures() == counted, "the warehouse is there: nobody is to be woken"


def test_who_names_a_standby_as_the_warehouse_is_told_so(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with instances(pair.settings["REPLICA_URL"], tmp_path, names="a") as (alone,):
        assert alone.get(LIST).json()["date"] == pair.newest
    log = (tmp_path / "a.log").read_text()
    assert log.count("DATABASE_URL leads to a standby, which grants no lease") == 1
    assert "REPLICA_URL" in log
    monkeypatch.setenv("DATABASE_URL", pair.standby.url("recommendations_pipeline", pair.night.warehouse.name))
    monkeypatch.setattr("sys.argv", ["elt", "check"])
    assert main() == 1
    assert "a standby, which nobody can write into: DATABASE_URL is to name the primary" in capsys.readouterr().out
