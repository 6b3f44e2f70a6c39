"""On a Citus cluster: what becomes of a night, and of readers, when a node is away or has not committed yet."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cluster
import psycopg2
import pytest
from chaos import Address, Reader, _Route, figures, wait_until
from conftest import DAY, MODELS, ORDINARY_LISTS, Night, ordinary_logs
from oracle import top_ctr
from psycopg2.extensions import connection as Connection
from pydantic import SecretStr

from elt import sql, steps, warehouse
from elt.errors import NotYet
from elt.migrate import migrate
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER

pytestmark = [
    pytest.mark.model_blind,
    pytest.mark.skipif(not cluster.WANTED, reason="no cluster; make test-citus starts one of POSTGRES_BIN with Citus"),
]

BEFORE = "2024-11-19"
ADVERTISERS = [f"A{n}" for n in range(16)]


def logs(day: str, shift: int = 0) -> tuple[list[str], list[Any], list[Any]]:
    """Of enough advertisers that every node has some."""
    views = [(a, f"p{n:02}", day) for a in ADVERTISERS for n in range(25) for _ in range((n + shift) % 7 + 1)]
    ads = [(a, f"p{n:02}", "impression", day) for a in ADVERTISERS for n in range(25) for _ in range(10)]
    ads += [(a, f"p{n:02}", "click", day) for a in ADVERTISERS for n in range(25) for _ in range((n + shift) % 5)]
    return ADVERTISERS, views, ads


@pytest.fixture
def two_days(night: Night) -> Night:
    """A published day, and the logs of the next one."""
    night.deliver(*logs(BEFORE))
    night.run(BEFORE)
    night.deliver(*logs(DAY, shift=1))
    return night


@pytest.fixture
def nodes(night: Night) -> cluster.Cluster:
    assert isinstance(night.warehouse.postgres, cluster.Cluster)
    return night.warehouse.postgres


class LosingCommits(Address):
    """The way to a worker. While it loses them, a commit that was prepared ends the connection that it comes by."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.RequestHandlerClass = _Wire
        self.loses, self.lost = False, 0


class _Wire(_Route):
    server: LosingCommits

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:  # type: ignore[override]
        with suppress(OSError):
            while data := source.recv(65536):
                if self.server.loses and b"COMMIT PREPARED" in data:
                    self.server.lost += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(two_days: Night, nodes: cluster.Cluster) -> Iterator[LosingCommits]:
    """The coordinator's way to the first worker."""
    url = nodes.url("postgres", two_days.warehouse.name)
    ((node, port),) = cluster.ask(url, "SELECT nodeid, nodeport FROM pg_dist_node WHERE groupid = 1")
    with LosingCommits(port) as wire:
        cluster.ask(url, "SELECT citus_update_node(%s, '127.0.0.1', %s)", node, wire.port)
        # Citus tells the workers of it some time after; until then it refuses what they all must know.
        wait_until(lambda: cluster.ask(url, "SELECT bool_and(metadatasynced) FROM pg_dist_node") == [(True,)])
        yield wire
        wire.loses = False
        cluster.ask(url, "SELECT citus_update_node(%s, '127.0.0.1', %s)", node, port)


def are_right(night: Night) -> bool:
    return night.top_ctr() == top_ctr(DAY, ADVERTISERS, logs(DAY, shift=1)[2])


def test_what_the_night_works_on_is_on_the_workers_and_what_readers_read_is_not(two_days: Night) -> None:
    owner = two_days.warehouse.url(MASTER)
    assert migrate(owner) == []
    distributed = cluster.ask(owner, "SELECT logicalrelid::text FROM pg_dist_partition ORDER BY 1")
    assert [name for (name,) in distributed if not name.startswith("months.")] == [
        "models.candidates",
        "staging.active_advertisers",
        "staging.product_daily",
        "staging.product_daily_published",
    ]
    sizes = (
        "SELECT nodeport, sum(shard_size) FROM citus_shards WHERE table_name = 'models.candidates'::regclass GROUP BY 1"
    )
    assert len(cluster.ask(owner, sizes)) > 1
    assert cluster.ask(owner, "SELECT FROM pg_dist_partition WHERE logicalrelid::text LIKE 'marts.%'") == []
    assert len(two_days.top_ctr(BEFORE)) == 20 * len(ADVERTISERS)


def test_a_new_month_is_made_on_the_workers_and_one_that_is_forgotten_goes_there_too(two_days: Night) -> None:
    later = "2024-12-02"
    two_days.deliver(*logs(later))
    two_days.run(later)
    assert months(two_days) == ["2024-11-01", "2024-12-01"]
    two_days.change(keep_days=0, keep_working_days=0)
    two_days.warehouse.rows("UPDATE staging.loads SET loaded_at = loaded_at - interval '3 days'")
    two_days.forget(later)
    assert months(two_days) == ["2024-12-01"]
    assert two_days.warehouse.rows("SELECT DISTINCT date::text FROM staging.product_daily") == [(later,)]
    assert migrate(two_days.warehouse.url(MASTER)) == []


def months(night: Night) -> list[str]:
    """Those of the counts that are distributed."""
    query = (
        "SELECT months.first_day::text FROM staging.months JOIN pg_dist_partition ON logicalrelid = months.partition "
        "WHERE months.relation = 'staging.product_daily'::regclass ORDER BY 1"
    )
    return [day for (day,) in night.warehouse.rows(query, role=MASTER)]


def test_a_commit_of_the_counts_that_is_lost_on_the_way_is_noticed_and_a_retry_ranks_whole_lists(
    two_days: Night, wire: LosingCommits
) -> None:
    wire.loses = True
    two_days.load()
    assert wire.lost
    with pytest.raises(NotYet, match=r"nodes are not alike: .* has not committed yet"):
        two_days.rank()
    wire.loses = False
    wait_until(lambda: ranks(two_days))
    two_days.publish()
    assert are_right(two_days)


def ranks(night: Night) -> bool:
    with suppress(NotYet, psycopg2.OperationalError):
        night.rank()
        return True
    return False


def test_a_commit_of_lists_that_is_lost_on_the_way_keeps_the_day_from_being_published_until_it_is_there(
    two_days: Night, wire: LosingCommits
) -> None:
    """Ranked a second time, so that lists of before are where the new ones are not."""
    two_days.run()
    assert are_right(two_days)
    before = two_days.top_ctr()
    two_days.deliver(*logs(DAY, shift=3))
    two_days.load()
    *most, last = sql.models()
    for model in most:
        steps.build_model(DAY, model, two_days.warehouse.connect, two_days.s3, two_days.settings)
    wire.loses = True
    steps.build_model(DAY, last, two_days.warehouse.connect, two_days.s3, two_days.settings)
    assert wire.lost
    with pytest.raises(NotYet, match="has not committed yet"):
        two_days.publish()
    assert two_days.top_ctr() == before
    wire.loses = False
    wait_until(lambda: publishes(two_days))
    assert two_days.top_ctr() == top_ctr(DAY, ADVERTISERS, logs(DAY, shift=3)[2])


def publishes(night: Night) -> bool:
    with suppress(NotYet):
        night.publish()
        return True
    return False


def test_readers_notice_nothing_of_a_worker_that_is_killed_and_the_night_goes_on_when_it_is_back(
    two_days: Night, nodes: cluster.Cluster, tmp_path: Path
) -> None:
    if not nodes.workers:
        pytest.skip("the cluster of CITUS_URL is not this test's to kill")
    port = free_port()
    with serve(port, two_days.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        url = f"http://127.0.0.1:{port}"
        reader = Reader(url, BEFORE, ("A0", "A1", "A2", "A3"))
        reader.start()
        two_days.load()
        nodes.workers[0].kill()
        try:
            with pytest.raises((NotYet, psycopg2.OperationalError)):
                two_days.rank()
        finally:
            nodes.workers[0].start()
        wait_until(lambda: ranks(two_days))
        two_days.publish()
        seen = reader.finish()
        assert set(reader.statuses) == {200}
        assert {advertiser for advertiser, _ in seen} == {"A0", "A1", "A2", "A3"}
        assert len(seen) == 4
    assert are_right(two_days)
    figures.append(f"a worker killed: {sum(reader.statuses.values())} answers, slowest {reader.slowest:.2f} s")


def test_no_day_that_a_model_looks_back_on_is_loaded_while_it_ranks(two_days: Night) -> None:
    """A snapshot is of one node: it could see half of that day."""
    two_days.load()
    with warehouse.session(two_days.warehouse.connect) as loading, ThreadPoolExecutor(1) as pool:
        warehouse.lock_day(loading, BEFORE)
        ranking = pool.submit(two_days.rank)
        wait_until(lambda: waits(loading) or ranking.done())
        assert not ranking.done()
        loading.close()
        ranking.result(60)


def waits(conn: Connection) -> bool:
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = %s", (warehouse.LOCKS,)
        )
        return cursor.rowcount > 0


def test_logs_land_on_the_workers_and_the_counts_are_the_same(night: Night, nodes: cluster.Cluster) -> None:
    night.deliver(*ordinary_logs())
    night.run()
    counts = "TABLE staging.product_daily ORDER BY advertiser_id, product_id"
    before = night.warehouse.rows(counts)
    places = [nodes.at(node, "recommendations_pipeline", night.warehouse.name) for node in nodes.others()]
    night.change(landing_urls=SecretStr(" ".join(places)))
    assert night.load(reload=True)
    assert night.warehouse.rows(counts) == before
    assert len(night.top_ctr()) == ORDINARY_LISTS
    assert len(MODELS) == len(sql.models())
