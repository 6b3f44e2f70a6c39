"""Answers in memory: given without asking, never behind the warehouse, marked when it is away, never too many."""

import asyncio
import gzip
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg2
import pytest
from conftest import DAY, Night, Warehouse, ordinary_logs
from fastapi import Request

from api.database import AT_ONCE, Batch, Database, Unavailable
from api.edge import _give
from api.memory import Answer, Memory, understands_gzip
from api.pages import overview
from api.settings import Settings
from elt import withdrawals
from local.airflow import free_port
from local.api import serve
from local.postgres import Postgres

pytestmark = pytest.mark.model_blind

BEFORE = "2024-11-19"


@pytest.fixture
def published(delivered: Night) -> Night:
    """Two published days."""
    active, views, ads = ordinary_logs(BEFORE, shift=2)
    today = ordinary_logs()
    delivered.deliver(active, views + today[1], ads + today[2])
    delivered.run(BEFORE)
    delivered.run(DAY)
    return delivered


@pytest.fixture
def client(published: Night, tmp_path: Path) -> Iterator[httpx.Client]:
    port = free_port()
    url = published.warehouse.url("recommendations_api")
    with serve(port, url, tmp_path / "api.log", STATEMENT_TIMEOUT="1"):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield http


def test_no_reader_of_two_instances_sees_an_older_day_after_a_newer_one(published: Night, tmp_path: Path) -> None:
    """A client is sent to one instance and the other in turn, as by a load balancer, while days are published."""
    path, seen, stop = "/recommendations/ACME/TopCTR", [], threading.Event()
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(1, 7)]

    def read(instances: list[httpx.Client]) -> None:
        while not stop.is_set():
            for instance in instances:
                seen.append(instance.get(path).raise_for_status().json()["date"])

    with ExitStack() as stack:
        instances = []
        for name in "ab":
            port = free_port()
            url = published.warehouse.url("recommendations_api")
            stack.enter_context(serve(port, url, tmp_path / f"{name}.log"))
            instances.append(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}")))
        reader = threading.Thread(target=read, args=(instances,))
        reader.start()
        stack.callback(reader.join)
        stack.callback(stop.set)
        for day in days:
            published.deliver(*ordinary_logs(day))
            published.run(day)
            assert {httpx.get(instance.base_url.join(path)).json()["date"] for instance in instances} == {day}
    assert seen == sorted(seen)
    assert set(seen) >= set(days)


def test_what_is_in_memory_is_given_while_the_lists_can_not_be_read(client: httpx.Client, published: Night) -> None:
    path = "/recommendations/ACME/TopCTR"
    answer = client.get(path)
    conn = psycopg2.connect(published.warehouse.postgres.url("postgres", published.warehouse.name))
    with conn.cursor() as cursor:
        cursor.execute("LOCK TABLE marts.recommendations IN ACCESS EXCLUSIVE MODE")
        for spelling in (path, f"{path}/"):
            again = client.get(spelling)
            assert (again.status_code, again.content) == (200, answer.content)
            assert "cache-status" not in again.headers
        assert client.get("/recommendations/BOLT/TopCTR").status_code == 503
    conn.close()


@pytest.fixture
def own(published: Night, s3: Any, bucket: str, tmp_path: Path) -> Iterator[tuple[Postgres, Night]]:
    """A published night on a server of its own, which may be stopped."""
    with Postgres(tmp_path / "own" / "data", free_port()) as server:
        night = Night(Warehouse(server, "own"), s3, published.bucket)
        night.run()
        yield server, night


def test_with_the_database_away_memory_answers_marked_and_the_rest_is_503(
    own: tuple[Postgres, Night], tmp_path: Path
) -> None:
    server, night = own
    port = free_port()
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log", STATEMENT_TIMEOUT="1"):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            known, unknown = "/recommendations/ACME/TopCTR", "/recommendations/ACME/TopProduct"
            answer = http.get(known)
            assert "cache-status" not in answer.headers

            def check_away() -> None:
                for _ in range(3):
                    # The lease of the last moment may not have run out yet.
                    marked = until(lambda: http.get(known), lambda got: "cache-status" in got.headers)
                    assert (marked.status_code, marked.content) == (200, answer.content)
                    assert marked.headers["cache-status"] == 'recommendations; hit; detail="the warehouse is away"'
                refused = http.get(unknown)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
                assert http.get("/health/live").status_code == 200

            def check_back() -> None:
                back = until(lambda: http.get(known), lambda got: "cache-status" not in got.headers)
                assert back.status_code == 200

            server.stop()
            check_away()
            server.start()
            check_back()
            with hanging(server):
                check_away()
            check_back()


def test_a_server_that_hangs_is_given_up_once(own: tuple[Postgres, Night], monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is to be replaced is not asked after its successor had no answer."""
    server, night = own
    settings = Settings(
        database_url=night.warehouse.url("recommendations_api"), pool_size=1, connection_lifetime=0.000_001
    )
    waited: list[asyncio.Timeout] = []

    def patience(_: Database) -> asyncio.Timeout:
        waited.append(asyncio.timeout(0.5))
        return waited[-1]

    async def story() -> None:
        database = Database(settings)
        await database.fetch("ready")
        monkeypatch.setattr(Database, "_patience", patience)
        with hanging(server):
            with pytest.raises(Unavailable, match="does not answer"):
                await database.fetch("ready")
        database.close()

    asyncio.run(story())
    assert len(waited) == 1


def test_an_overview_is_given_from_memory_on_the_day_after_too(
    published: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warehouse goes before midnight."""
    url = published.warehouse.url("recommendations_api")
    databases = [Database(Settings(database_url=each)) for each in (url, url.replace(published.warehouse.name, "none"))]

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Tomorrow":
            return super().now(tz) + timedelta(1)

    async def story() -> str:
        state = SimpleNamespace(memory=Memory(lambda: databases[0].lease(), Unavailable, 32_000_000))
        request = Request({"type": "http", "headers": [], "app": SimpleNamespace(state=state)})
        state.database = databases[0]
        await overview(request)
        databases.pop(0).close()
        state.database = databases[0]
        monkeypatch.setattr("api.pages.datetime", Tomorrow)
        return bytes((await overview(request)).body).decode()

    page = asyncio.run(story())
    assert "Was late" in page
    assert f"the last on {datetime.now(UTC).date()}" in page


@contextmanager
def hanging(server: Postgres) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    for pid in server_processes(server):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in [server.pid, *server_processes(server)]:
            os.kill(pid, signal.SIGCONT)


def until(look: Any, good: Any) -> Any:
    """Looks again and again, for at most 200 looks, until what it sees is good."""
    for _ in range(200):
        if good(seen := look()):
            return seen
        threading.Event().wait(0.05)
    raise AssertionError(f"still {seen}")


def server_processes(server: Postgres) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(server.pid).children(recursive=True)]


def test_an_answer_that_the_client_has_is_not_sent_again(client: httpx.Client, published: Night) -> None:
    for path in ("/recommendations/ACME/TopCTR", "/history/ACME", "/stats"):
        answer = client.get(path)
        tag = answer.headers["etag"]
        assert tag.startswith('"')
        assert answer.headers["cache-control"] == "public, max-age=0, stale-if-error=86400"
        for named in (tag, f'"other", W/{tag}', "*"):
            same = client.get(path, headers={"if-none-match": named})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            assert same.headers["cache-control"] == answer.headers["cache-control"]
        assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200
        head = client.head(path)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
        assert head.headers["content-length"] == answer.headers["content-length"]

    path = "/recommendations/ACME/TopCTR"
    tag = client.get(path).headers["etag"]
    published.run(reload=True)
    assert client.get(path, headers={"if-none-match": tag}).status_code == 304
    published.deliver(*ordinary_logs(shift=1))
    published.run()
    changed = client.get(path, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["count"]) == (200, 20)
    assert changed.headers["etag"] != tag


def test_large_answers_are_zipped_for_those_who_understand_it(client: httpx.Client) -> None:
    path = "/recommendations/ACME/TopCTR"
    with client.stream("GET", path, headers={"accept-encoding": "br, gzip;q=0.5"}) as zipped:
        raw = b"".join(zipped.iter_raw())
    plain = client.get(path, headers={"accept-encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 2
    assert "content-encoding" not in plain.headers
    assert zipped.headers["etag"] != plain.headers["etag"]
    assert zipped.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    for tag in (zipped.headers["etag"], plain.headers["etag"]):
        assert client.get(path, headers={"if-none-match": tag}).status_code == 304


def test_others_are_answered_while_a_very_large_answer_is_zipped(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, zip_it, threads = Answer(b"x" * 1_000_000, [], version=1, route="/"), gzip.compress, []

    def compress(*arguments: Any, **options: Any) -> bytes:
        threads.append(threading.current_thread())
        return zip_it(*arguments, **options)

    async def send(_: Any) -> None:
        pass

    monkeypatch.setattr(gzip, "compress", compress)
    assert asyncio.run(_give(answer, {b"accept-encoding": b"gzip"}, [], send)) == 200
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize(
    ("header", "understood"),
    [
        (b"", False),
        (b"gzip", True),
        (b"x-gzip", True),
        (b"deflate, GZIP ; q=0.2", True),
        (b"*", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"br", False),
        (b"gzip;q=1.0, identity", True),
        (b"*, gzip;q=0", False),
        (b"*;q=0, gzip", True),
    ],
)
def test_gzip_is_not_sent_to_those_who_refuse_it(header: bytes, understood: bool) -> None:
    assert understands_gzip(header) is understood


def test_a_past_day_is_immutable_until_it_is_published_again(client: httpx.Client, published: Night) -> None:
    def cached(path: str) -> str:
        return client.get(path).headers["cache-control"]

    path, export = "/recommendations/ACME/TopCTR", f"/exports/lists.csv?date={BEFORE}"
    assert "immutable" in cached(f"{path}?date={BEFORE}")
    assert "immutable" in cached(export)
    assert "immutable" not in cached(f"{path}?date={DAY}")
    assert "immutable" not in cached(path)
    published.deliver(*ordinary_logs(BEFORE, shift=1))
    published.run(BEFORE)
    assert "immutable" not in cached(f"{path}?date={BEFORE}")
    connect = published.warehouse.connect
    withdrawals.withdraw(BEFORE, connect, why="logs of the test system", by="ana")
    withdrawals.lift(BEFORE, connect, by="test")
    published.run(BEFORE)
    for of_a_day_withdrawn in (f"{path}?date={BEFORE}", export):
        assert "immutable" not in cached(of_a_day_withdrawn)


def test_requests_that_miss_together_get_their_own_answers(published: Night, tmp_path: Path) -> None:
    port = free_port()
    url = published.warehouse.url("recommendations_api")
    asked = [
        (advertiser, model, day)
        for advertiser in ("ACME", "BOLT", "NOBODY")
        for model in ("TopCTR", "top_product", "TopNothing")
        for day in (BEFORE, DAY, "2020-01-01", None)
    ] * 3
    with serve(port, url, tmp_path / "api.log", MEMORY_MB="0"), ThreadPoolExecutor(36) as pool:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=httpx.Limits(max_connections=36)) as http:

            def ask(advertiser: str, model: str, day: str | None) -> httpx.Response:
                return http.get(f"/recommendations/{advertiser}/{model}", params={"date": day} if day else {})

            answers = list(pool.map(lambda key: ask(*key), asked))
    for (advertiser, model, day), answer in zip(asked, answers, strict=True):
        if advertiser == "NOBODY" or model == "TopNothing" or day == "2020-01-01":
            assert answer.status_code == 404
            continue
        body = answer.json()
        assert (body["advertiser_id"], body["model"].lower()) == (advertiser, model.replace("_", "").lower())
        assert body["date"] == (day or DAY)
        assert body["count"] == 20


def test_a_request_that_comes_as_the_last_answer_does_is_asked_for() -> None:
    """The warehouse is played: two answers and a request become readable in one pass of the event loop."""

    async def story() -> None:
        asked: list[asyncio.Future[None]] = []

        async def ask(keys: list[str]) -> list[tuple[int, str]]:
            asked.append(asyncio.get_running_loop().create_future())
            await asked[-1]
            return list(enumerate(keys, 1))

        batch = Batch(ask, "keys")
        first = []
        for number in range(AT_ONCE):
            first.append(asyncio.create_task(batch.fetch(f"first {number}")))
            while len(asked) <= number:
                await asyncio.sleep(0)
        for answer in asked:
            answer.set_result(None)
        last = asyncio.create_task(batch.fetch("last"))
        assert await asyncio.gather(*first) == [(f"first {number}",) for number in range(AT_ONCE)]
        async with asyncio.timeout(5):
            while len(asked) == AT_ONCE:
                await asyncio.sleep(0)
        asked[-1].set_result(None)
        assert await last == ("last",)

    asyncio.run(story())


def test_memory_is_bounded_and_gives_up_what_was_not_asked_for_longest() -> None:
    """The bookkeeping alone: no warehouse is asked, as nothing is given."""

    async def ask() -> tuple[bool, int, float]:
        pytest.fail("the warehouse is asked")

    memory = Memory(ask=ask, unavailable=Exception, limit=350_000)
    for n in range(1000):
        memory.keep((f"/{n}", b"a=1"), Answer(b"x" * (n % 100) * 10, [], version=1, route="/"))
        sizes = (answer.size + len(path) + len(query) for (path, query), answer in memory._answers.items())
        assert memory._bytes == sum(sizes) <= 350_000
    assert ("/999", b"a=1") in memory._answers
    assert ("/0", b"a=1") not in memory._answers
    bytes_before = memory._bytes
    memory.keep(("/large", b""), Answer(b"x" * 1_000, [], version=1, route="/"))
    assert memory._bytes == bytes_before, "what takes more than a hundredth pushes nothing out"
    for body in (b"x" * 40, b"y" * 4):
        again = Answer(body, [], version=1, route="/")
        memory.keep(("/999", b"a=1"), again)
        assert memory._bytes == bytes_before - 2 * (990 - len(body))
        assert len(again.representation(zips=False)[1]) + len(again.representation(zips=True)[1]) <= again.size


def test_what_was_asked_for_is_given_up_after_what_was_not() -> None:
    async def ask() -> tuple[bool, int, float]:
        return True, 1, 60.0

    async def story() -> None:
        memory = Memory(ask, unavailable=OSError, limit=350_000)
        keys = [(f"/{n}", b"") for n in range(141)]
        for key in keys[:140]:
            memory.keep(key, Answer(b"x" * 490, [], version=1, route="/"))
        await memory.confirmed(keys[0])
        assert memory.leased(keys[0])
        memory.keep(keys[140], Answer(b"x" * 490, [], version=1, route="/"))
        assert [memory.leased(key) is not None for key in keys] == [True, False, *[True] * 139]

    asyncio.run(story())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The clock of the memory, which goes on when it is told to: by so many seconds."""
    now = 0.0

    def goes_on(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("api.memory.monotonic", lambda: now)
    return goes_on


@pytest.mark.parametrize(
    ("granted", "on_the_way", "lasts"),
    [(True, 0.0, True), (True, 0.14, True), (True, 0.16, False), (False, 0.0, False)],
)
def test_a_lease_that_is_granted_counts_from_before_it_was_asked_for(
    clock: Callable[[float], None], granted: bool, on_the_way: float, lasts: bool
) -> None:
    """When the warehouse granted it is not known, only that it was after the question was sent."""

    async def ask() -> tuple[bool, int, float]:
        clock(on_the_way)
        return granted, 1, 0.15

    async def story() -> None:
        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        memory.keep(("/", b""), Answer(b"known", [], version=1, route="/"))
        assert memory.leased(("/", b"")) is None
        assert (await memory.confirmed(("/", b"")))[1]
        assert (memory.leased(("/", b"")) is not None) is lasts

    asyncio.run(story())


def test_a_lease_is_renewed_by_the_first_who_asks_in_its_second_half(clock: Callable[[float], None]) -> None:
    """Nobody waits for it; without requests it runs out."""
    asked = 0

    async def ask() -> tuple[bool, int, float]:
        nonlocal asked
        asked += 1
        return True, 1, 0.15

    async def story() -> None:
        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        memory.keep(("/", b""), Answer(b"known", [], version=1, route="/"))
        await memory.confirmed(("/", b""))
        for passed, asked_by_then in ((0.0, 1), (0.07, 1), (0.01, 2), (0.07, 2), (0.01, 3), (0.14, 4)):
            clock(passed)
            for _ in range(3):
                assert memory.leased(("/", b"")) is not None
            await asyncio.sleep(0)
            assert asked == asked_by_then
        clock(0.16)
        assert memory.leased(("/", b"")) is None
        await asyncio.sleep(0)
        assert asked == 4

    asyncio.run(story())


def test_a_warehouse_that_is_away_is_asked_twice_a_second_by_the_first_who_comes_then(
    clock: Callable[[float], None],
) -> None:
    asked, away = 0, True

    async def ask() -> tuple[bool, int, float]:
        nonlocal asked
        asked += 1
        if away:
            raise OSError
        return False, 1, 0.15

    async def story() -> None:
        nonlocal away
        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        key, known = ("/", b""), Answer(b"known", [], version=1, route="/")
        memory.keep(key, known)
        for passed, asked_by_then in ((0.0, 1), (0.4, 1), (0.1, 2), (0.4, 2), (0.1, 3)):
            clock(passed)
            for _ in range(3):
                assert await memory.confirmed(key) == (known, False)
            assert asked == asked_by_then
        away = False
        clock(0.4)
        assert await memory.confirmed(key) == (known, False)
        clock(0.1)
        assert await memory.confirmed(key) == (known, True), "the first one when the time has come"

    asyncio.run(story())


def test_a_warehouse_that_hangs_is_waited_for_half_a_second_once() -> None:
    async def story() -> None:
        go_on = asyncio.Event()

        async def ask() -> tuple[bool, int, float]:
            await go_on.wait()
            return False, 1, 0.15

        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        key, known = ("/", b""), Answer(b"known", [], version=1, route="/")
        memory.keep(key, known)
        begun = asyncio.get_running_loop().time()
        assert await asyncio.gather(*[memory.confirmed(key) for _ in range(3)]) == [(known, False)] * 3
        assert 0.4 < asyncio.get_running_loop().time() - begun < 2
        begun = asyncio.get_running_loop().time()
        assert await memory.confirmed(key) == (known, False)
        assert asyncio.get_running_loop().time() - begun < 0.4
        go_on.set()
        while not (await memory.confirmed(key))[1]:
            await asyncio.sleep(0)

    asyncio.run(story())


def given(memory: Memory, key: tuple[str, bytes]) -> bytes | None:
    """What is given under the lease."""
    answer = memory.leased(key)
    return answer.body if answer else None


def test_under_a_lease_no_answer_of_another_version_is_kept() -> None:
    """Neither one that was on its way too long, nor one of a version that the lease does not know of."""

    async def story() -> None:
        async def ask() -> tuple[bool, int, float]:
            return True, 2, 60.0

        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        known, other = ("/known", b""), ("/other", b"")
        memory.keep(known, Answer(b"of 2", [], version=2, route="/"))
        await memory.confirmed(known)
        for version in (1, 3):
            memory.keep(other, Answer(b"", [], version=version, route="/"))
            assert memory.leased(other) is None
            assert given(memory, known) == b"of 2"
        memory.keep(other, Answer(b"of 2 too", [], version=2, route="/"))
        assert given(memory, other) == b"of 2 too"

    asyncio.run(story())


def test_all_who_come_during_a_check_are_answered_by_one_more() -> None:
    go_on, asked = asyncio.Event(), 0

    async def ask() -> tuple[bool, int, float]:
        nonlocal asked
        asked += 1
        await go_on.wait()
        return False, 1, 0.15

    async def story() -> None:
        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        key, known = ("/", b""), Answer(b"known", [], version=1, route="/")
        memory.keep(key, known)
        for asked_before in (0, 2):
            go_on.clear()
            waiting = []
            for _ in range(10):
                waiting.append(asyncio.create_task(memory.confirmed(key)))
                for _ in range(5):
                    await asyncio.sleep(0)
            assert asked == asked_before + 1
            go_on.set()
            assert await asyncio.gather(*waiting) == [(known, True)] * 10
            assert asked == asked_before + 2

    asyncio.run(story())


def test_a_request_is_answered_by_a_check_that_began_after_it() -> None:
    """A check under way may have looked before a publication that the request's client has seen elsewhere.

    The warehouse is played, so that the publication comes between the two.
    """
    looked, go_on = asyncio.Event(), asyncio.Event()
    answers = iter([(False, 1, 0.15), (False, 2, 0.15)])

    async def ask() -> tuple[bool, int, float]:
        answer = next(answers)
        if not looked.is_set():
            looked.set()
            await go_on.wait()
        return answer

    async def story() -> None:
        memory = Memory(ask, unavailable=OSError, limit=1_000_000)
        key, old = ("/", b""), Answer(b"old", [], version=1, route="/")
        memory.keep(key, old)
        first = asyncio.create_task(memory.confirmed(key))
        await looked.wait()
        second = asyncio.create_task(memory.confirmed(key))
        await asyncio.sleep(0)
        go_on.set()
        assert await second == (None, True)
        assert (await first)[1]

    asyncio.run(story())
