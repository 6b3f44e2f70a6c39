"""Nothing lost, nothing half-shown: kills, crashes, races, a network that fails. `make chaos` runs the long form."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
from chaos import LONG, FaultyProxy, figures, lists_now, night_process, reading, scale, set_read_only, wait_until
from conftest import DAY, MODELS, Night, Warehouse, ordinary_logs, s3_client

from elt import keys, sql, steps
from elt import warehouse as sessions
from elt.errors import NotYet, PipelineError
from local import processes
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.model_blind, pytest.mark.timeout(1500)]

chance = random.Random(20241120)


@pytest.fixture
def api(delivered: Night, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with serve(port, delivered.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        yield f"http://127.0.0.1:{port}"


def both_versions(night: Night, url: str) -> list[set[tuple[str, str]]]:
    """What readers may see: the lists of delivery 0, and those of delivery 1, which is published last."""
    versions = []
    for shift in (0, 1):
        night.deliver(*ordinary_logs(shift=shift))
        night.run()
        versions.append(lists_now(url, DAY))
    assert versions[0].isdisjoint(versions[1])
    return versions


def test_a_killed_process_leaves_the_old_lists_and_the_retry_succeeds(delivered: Night, api: str, s3_url: str) -> None:
    """kill -9 of the running steps at random moments; a reader looks on throughout."""
    versions = both_versions(delivered, api)
    whole = duration_of(delivered, s3_url)
    kills, finished = scale(8, 100), 0
    with reading(api, DAY) as reader:
        for n in range(kills):
            delivered.deliver(*ordinary_logs(shift=n % 2))
            process = night_process(delivered, s3_url, DAY)
            time.sleep(chance.uniform(0, whole))
            process.kill()
            finished += process.wait() == 0
            # What it had asked for before it was killed, its commit perhaps, the server brings to an end.
            wait_until(lambda: nobody_publishes(delivered))
            assert lists_now(api, DAY) in versions
            delivered.run()
            assert lists_now(api, DAY) == versions[n % 2]
    assert reader.seen <= versions[0] | versions[1]
    assert set(reader.statuses) == {200}
    figures.append(
        f"kill -9 of the steps: {kills} kills ({finished} came too late), "
        f"{sum(reader.statuses.values())} answers to the reader, all whole"
    )


def nobody_publishes(night: Night) -> bool:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND usename = %s AND pid <> pg_backend_pid()"
    return night.warehouse.rows(f"SELECT count(*) {others}", "recommendations_pipeline") == [(0,)]


def duration_of(night: Night, s3_url: str) -> float:
    """Seconds that the steps take from 'ready' to the end."""
    night.deliver(*ordinary_logs(shift=0))
    process = night_process(night, s3_url, DAY)
    started = time.monotonic()
    _, errors = process.communicate(timeout=120)
    whole = time.monotonic() - started
    assert process.returncode == 0, errors
    night.deliver(*ordinary_logs(shift=1))
    night.run()
    return whole


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server with the defaults (fsync on), which the test may kill."""
    with Postgres(tmp_path / "own" / "data", free_port()) as server:
        yield server


def test_a_killed_database_recovers_and_the_retry_succeeds(
    own_postgres: Postgres, s3: Any, bucket: str, s3_url: str, tmp_path: Path
) -> None:
    """kill -9 of PostgreSQL, all its processes, at random moments of the run; then it is started again."""
    night = Night(Warehouse(own_postgres, "crashing"), s3, bucket)
    port = free_port()
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        url = f"http://127.0.0.1:{port}"
        versions = both_versions(night, url)
        whole = duration_of(night, s3_url)
        kills = scale(3, 40)
        with reading(url, DAY) as reader:
            for n in range(kills):
                night.deliver(*ordinary_logs(shift=n % 2))
                process = night_process(night, s3_url, DAY)
                time.sleep(chance.uniform(0, whole))
                own_postgres.kill()
                process.wait(60)
                own_postgres.start()
                assert lists_now(url, DAY) in versions
                night.run()
                assert lists_now(url, DAY) == versions[n % 2]
        assert reader.seen <= versions[0] | versions[1]
        assert set(reader.statuses) <= {200, 503}
        assert reader.slowest < 10
    figures.append(
        f"kill -9 of PostgreSQL: {kills} crashes, {sum(reader.statuses.values())} answers to the reader: "
        f"{dict(reader.statuses)}, the slowest after {reader.slowest:.1f} s"
    )


def test_lost_connections_fail_the_step_in_a_way_that_a_retry_cures(delivered: Night, api: str, s3_url: str) -> None:
    versions = both_versions(delivered, api)
    wanted = scale(2, 30)
    drops = lost = 0
    admin = psycopg2.connect(delivered.warehouse.postgres.url("postgres", "postgres"))
    admin.autocommit = True
    with reading(api, DAY) as reader, admin.cursor() as cursor:
        while lost < wanted:
            drops += 1
            assert drops < 10 * wanted, "too few runs were hit"
            n = drops
            delivered.deliver(*ordinary_logs(shift=n % 2))
            process = night_process(delivered, s3_url, DAY)
            time.sleep(chance.uniform(0, 0.4))
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'recommendations_pipeline' AND datname = %s",
                (delivered.warehouse.name,),
            )
            _, errors = process.communicate(timeout=60)
            if process.returncode:
                lost += 1
                assert "psycopg2.OperationalError" in errors or "psycopg2.InterfaceError" in errors, errors
                assert "PipelineError" not in errors, "raised from the other: a retry is not tried"
            delivered.run()
            assert lists_now(api, DAY) == versions[n % 2]
    admin.close()
    assert reader.seen <= versions[0] | versions[1]
    figures.append(f"dropped connections: {drops} times, {lost} runs failed, every retry succeeded")


@contextmanager
def unplugged(server: int, client: int) -> Iterator[None]:
    """Nothing passes between the two ports of this machine any more, and neither is told.

    Should the test be killed, what the kernel was told ends by itself.
    """
    ends_at = (datetime.now(UTC) + timedelta(seconds=scale(30, 120))).strftime("%Y-%m-%dT%H:%M:%S")
    ends = ((server, client), (client, server))
    rules = [
        f"INPUT -i lo -p tcp --sport {source} --dport {target} -m time --datestop {ends_at} -j DROP".split()
        for source, target in ends
    ]
    try:
        for rule in rules:
            subprocess.run(["iptables", "-I", *rule], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the network can not be broken here; it needs root and iptables: {error}")
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-D", *rule], check=True)


@pytest.mark.parametrize("query", [None, "SELECT pg_sleep(600)"], ids=["between two statements", "in a statement"])
def test_a_machine_that_vanishes_lets_go_of_its_locks(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, query: str | None
) -> None:
    """Without a word: no reset, no end, only silence."""
    if not LONG:
        quick = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2, "tcp_user_timeout": 3000}
        monkeypatch.setattr(sessions, "KEEPALIVE", quick)
    with sessions.session(warehouse.connect) as conn, ThreadPoolExecutor(1) as pool:
        with socket(fileno=os.dup(conn.fileno())) as end:
            sessions.lock_day(conn, DAY)
            try:
                if query:
                    pool.submit(conn.cursor().execute, query)
                    while not warehouse.rows(
                        "SELECT 1 FROM pg_stat_activity WHERE query = %s AND state = 'active'", query
                    ):
                        time.sleep(0.01)
                with unplugged(warehouse.postgres.port, end.getsockname()[1]):
                    started = time.monotonic()
                    while warehouse.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 24256"):
                        assert time.monotonic() < started + scale(10, 70)
                        time.sleep(0.1)
            finally:
                end.shutdown(SHUT_RDWR)
    figures.append(f"a machine that vanished let go of its locks after {time.monotonic() - started:.0f} s")


def test_a_server_that_is_read_only_after_a_failover_is_left_to_the_retries(delivered: Night) -> None:
    """Nothing is wrong with the SQL, so no file is blamed: the error is PostgreSQL's own."""
    delivered.run()
    before = delivered.lists()
    delivered.deliver(*ordinary_logs(shift=1))
    steps = (delivered.load, delivered.rank, delivered.publish, delivered.forget)
    for step in steps:
        set_read_only(delivered.warehouse, True)
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            step()
        set_read_only(delivered.warehouse, False)
        step()
        assert (delivered.lists() == before) is (steps.index(step) < 2)


def test_an_s3_that_fails_for_a_while_is_outlasted(delivered: Night, s3_url: str) -> None:
    """Answers of 500 and 503, and resets in mid-stream, on nearly half of all requests."""
    active, views, ads = ordinary_logs()
    delivered.deliver(active, views * 40, ads * 40)
    delivered.run()
    expected = delivered.lists()
    host, port = s3_url.removeprefix("http://").split(":")

    faults = cycle([500, None, 2, 2, None, 503, None, 2, None, 2, None])
    proxy = FaultyProxy((host, int(port)), lambda: next(faults))
    delivered.s3 = s3_client(proxy.url, attempts=10)
    runs = 0
    while runs < scale(1, 10) or not {"500", "503", "reset"} <= set(proxy.injected):
        runs += 1
        assert runs <= 30, proxy.injected
        delivered.run(reload=True)
        assert delivered.lists() == expected
    proxy.shutdown()
    figures.append(f"S3 faults outlasted: {dict(proxy.injected)}")


def test_an_s3_that_stays_away_fails_the_step_and_nothing_else(delivered: Night, s3_url: str) -> None:
    delivered.run()
    before = delivered.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1")
    host, port = s3_url.removeprefix("http://").split(":")
    working = delivered.s3
    proxy = FaultyProxy((host, int(port)), lambda: 503)
    delivered.s3 = s3_client(proxy.url, attempts=2)
    with pytest.raises(NotYet, match=r"S3 answered 503"):
        delivered.run(reload=True)
    proxy.shutdown()
    delivered.s3 = working
    assert delivered.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1") == before
    assert delivered.run(reload=True) == []


def test_access_denied_says_what_the_role_needs(delivered: Night, s3_url: str) -> None:
    host, port = s3_url.removeprefix("http://").split(":")
    proxy = FaultyProxy((host, int(port)), lambda: 403)
    delivered.s3 = s3_client(proxy.url, attempts=10)
    with pytest.raises(
        PipelineError, match=r"access denied; the role needs s3:GetObject and s3:ListBucket on 'bucket-"
    ):
        delivered.load()
    proxy.shutdown()


def test_runs_of_one_day_at_once_give_one_result(delivered: Night, api: str) -> None:
    """The nightly run and a backfill of the same day, while the logs are delivered again between their steps."""
    versions = both_versions(delivered, api)
    rounds = scale(3, 30)

    def run() -> None:
        """As Airflow: each step by itself, retried when it says that waiting may help."""
        for step in (delivered.load, delivered.rank, delivered.publish):
            for _ in range(100):
                try:
                    step()
                    break
                except NotYet:
                    time.sleep(0.05)
            else:
                raise AssertionError("it never got through")

    with reading(api, DAY) as reader, ThreadPoolExecutor(3) as pool:
        for n in range(rounds):
            delivered.deliver(*ordinary_logs(shift=n % 2))
            list(pool.map(lambda _: run(), range(3)))
            assert lists_now(api, DAY) == versions[n % 2]
    assert reader.seen <= versions[0] | versions[1]
    assert set(reader.statuses) == {200}
    figures.append(f"three runs of one day at once: {rounds} rounds, one result each, no mixed list")


def test_days_at_once_in_any_order_do_not_disturb_each_other(night: Night) -> None:
    days = [f"2024-11-{n}" for n in range(20, 26)]
    views = [row for n, day in enumerate(days) for row in ordinary_logs(day, n)[1]]
    ads = [row for n, day in enumerate(days) for row in ordinary_logs(day, n)[2]]
    night.deliver(["ACME", "BOLT"], views, ads)
    for day in days:
        night.run(day)
    expected = {day: night.lists(day) for day in days}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: night.run(day, reload=True), days[::-1]))
    assert {day: night.lists(day) for day in days} == expected


def test_the_api_outlives_a_restart_and_a_hanging_database(
    own_postgres: Postgres, s3: Any, bucket: str, tmp_path: Path
) -> None:
    night = Night(Warehouse(own_postgres, "restarting"), s3, bucket)
    night.deliver(*ordinary_logs())
    night.run()
    port = free_port()
    # Nothing from memory: what that does then is told in test_memory.py.
    settings = {"STATEMENT_TIMEOUT": "1", "POOL_WAIT": "1", "POOL_SIZE": "2", "MEMORY_MB": "0"}
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log", **settings):
        url = f"http://127.0.0.1:{port}"
        expected = lists_now(url, DAY)
        own_postgres.stop()
        answer = httpx.get(f"{url}/history/ACME", timeout=30)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        own_postgres.start()
        assert lists_now(url, DAY) == expected

        # Frozen, not gone: the kernel still accepts and acknowledges, nobody answers.
        server = [p := psutil.Process(own_postgres.pid), *p.children(recursive=True)]
        for process in server:
            process.send_signal(signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(6) as pool:
                answers = list(pool.map(lambda _: httpx.get(f"{url}/history/ACME", timeout=30), range(6)))
        finally:
            for process in server:
                process.send_signal(signal.SIGCONT)
        assert {answer.status_code for answer in answers} == {503}
        slowest = max(answer.elapsed.total_seconds() for answer in answers)
        assert slowest < 8
        assert lists_now(url, DAY) == expected
    figures.append(f"frozen database: 503 after at most {slowest:.1f} s, recovers by itself")


def test_fuzzed_lines_are_all_accounted_for(delivered: Night) -> None:
    """Good lines, mangled: every one is read as one row or kept whole, and the sums close."""
    total, done, rejected = scale(4_000, 100_000), 0, 0
    delivered.change(max_rejected_share=1.0)
    good = [
        f"{a},p{n},{kind},{day}".encode()
        for a in ("ACME", "GONE")
        for n in range(9)
        for kind in ("impression", "click")
        for day in (DAY, "2024-11-19")
    ]
    alphabet = [bytes([b]) for b in range(256) if b != 10] + [b'"', b",", b'""', b"\\.", b"\r", b"\x00"] * 20
    while done < total:
        lines = []
        for _ in range(2_000):
            line = bytearray(chance.choice(good))
            while chance.random() < 0.4:
                at = chance.randrange(len(line) + 1)
                line[at : at + chance.randint(0, 3)] = b"".join(chance.choices(alphabet, k=chance.randint(0, 2)))
            lines.append(bytes(line))
        lines.append(f"ACME,p1,click,{DAY}".encode())
        delivered.put("ads_views", b"\n".join([b"advertiser_id,product_id,type,date", *lines]) + b"\n")
        delivered.load()
        sums = delivered.accounting("ads_views")
        assert sums["delivered"] == len(lines)
        assert sums["delivered"] == sums["kept"] + sums["other_day"] + sums["inactive"] + sums["rejected"]
        kept = delivered.warehouse.rows(
            "SELECT line_number, line FROM staging.rejected_lines WHERE source = 'ads_views'"
        )
        assert len(kept) == sums["rejected"]
        for number, line in kept:
            assert bytes(line) == lines[number - 2].removesuffix(b"\r")
            assert bytes(line) not in good
        done += len(lines)
        rejected += sums["rejected"]
    figures.append(f"fuzzed lines: {done:,}, {rejected:,} rejected and kept whole, every sum closed")


@pytest.mark.parametrize("access", ["open", "keys"])
def test_hostile_requests_are_refused_and_never_an_error_of_ours(delivered: Night, tmp_path: Path, access: str) -> None:
    """With keys, too: no key, right ones, one of another advertiser, revoked, expired, guessed, none at all."""
    delivered.run()
    owner = sessions.opens(delivered.warehouse.url(MASTER))
    right, other, revoked, expired = (
        keys.create(name, ids, None, owner)[0]
        for name, ids in (("right", []), ("other", ["BOLT"]), ("revoked", []), ("expired", []))
    )
    keys.revoke("revoked", owner)
    delivered.warehouse.rows("UPDATE marts.api_keys SET expires_at = now() WHERE name = 'expired'", role=MASTER)
    guesses = [other[:-1], revoked, expired, "rk_" + "A" * 43, "", " ", "\xff\xfe", "'; --", "%00", "x" * 3_000]
    port, log = free_port(), tmp_path / "api.log"
    with serve(port, delivered.warehouse.url("recommendations_api"), log, API_ACCESS=access):
        _ask_hostile_things(f"http://127.0.0.1:{port}", access, right, other, guesses)
    assert "Traceback" not in log.read_text()


def sent_as(headers: dict[str, str]) -> httpx.Headers:
    """As bytes; a blank at the end the client itself would refuse."""
    return httpx.Headers({name: value.strip() for name, value in headers.items()}, encoding="latin-1")


def _ask_hostile_things(api: str, access: str, right: str, other: str, guesses: list[str]) -> None:
    total = scale(500, 10_000)
    statuses: dict[int, int] = {}
    pieces = [
        "ACME",
        "TopCTR",
        "..",
        "%2e%2e",
        "%2F",
        "%00",
        "%0d%0a",
        "'",
        "%27",
        ";--",
        "%25",
        "%s",
        "%(ds)s",
        "{}",
        "[]",
        "$1",
        "\\",
        "%5c",
        "%FF",
        "%C0%AF",
        "%F0%9F%92%A9",
        "%E2%80%AE",
        "null",
        "-1",
        "1e999",
        "%20",
        "+",
        "*",
        "A" * 70,
        "B" * 5_000,
        "<script>",
        "()",
        "|",
        "^",
        "~",
        ".",
        "..;",
        "%uFFFF",
        "?",
        "#",
        "&",
        "=",
        ":",
        "@",
        "!",
    ]
    with httpx.Client(base_url=api, timeout=30) as http:
        for _ in range(total):
            part = ["".join(chance.choices(pieces, k=chance.randint(1, 3))) for _ in range(3)]
            path = chance.choice(
                [
                    f"/recommendations/{part[0]}/{part[1]}",
                    f"/recommendations/ACME/{part[0]}",
                    f"/history/{part[0]}",
                    f"/recommendations/ACME/TopCTR?date={part[0]}",
                    f"/stats?limit={part[0]}",
                    f"/stats/{part[0]}?date={part[1]}",
                    f"/advertisers?after={part[0]}",
                    f"/recommendations?advertiser_id={part[0]}&advertiser_id=ACME&model={part[1]}",
                    f"/exports/lists.{chance.choice(['csv', 'ndjson'])}?model={part[0]}",
                    f"/search?q={part[0]}",
                    f"/{part[0]}/{part[1]}/{part[2]}",
                ]
            )
            key = chance.choice([right, other, chance.choice(guesses), None])
            sent = "" if key is None else key
            headers = chance.choice(
                [
                    {"authorization": f"Bearer {sent}"},
                    {"x-api-key": sent},
                    {"cookie": f"recommendations_key={sent}"},
                    {"authorization": sent, "cookie": "recommendations_key=;;=" + sent},
                ]
            )
            method = chance.choice(["GET"] * 8 + ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH"])
            try:
                answer = http.request(method, path, headers=sent_as(headers))
            except httpx.InvalidURL:
                continue
            if access == "keys" and key != right:
                assert '"advertiser_id":"ACME"' not in answer.text, (method, path, headers)
                assert key == other or answer.status_code not in (200, 304), (method, path, headers)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, (method, path)
            # What is wrong with the address of a page is told on a page.
            if answer.status_code >= 400 and method != "HEAD" and answer.url.path not in ("/", "/search"):
                assert answer.headers["content-type"] == "application/problem+json", (method, path)
                assert set(json.loads(answer.content)) >= {"type", "title", "status", "detail"}
        assert http.get("/recommendations/ACME", headers={"x-api-key": right}).json()["count"] == 20
    figures.append(
        f"hostile requests, {access}: {sum(statuses.values()):,}, by status {dict(sorted(statuses.items()))}"
    )


def test_the_documented_api_is_the_real_one(api: str, delivered: Night) -> None:
    """schemathesis over the whole OpenAPI document: no 5xx, no undocumented status, no schema violation."""
    delivered.run()
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(Path(__file__).with_name("schemathesis.toml")),
        "run",
        f"{api}/openapi.json",
        "--checks",
        "all",
        "--max-examples",
        str(scale(20, 300)),
        "--seed",
        "20241120",
        "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (generated,) = re.findall(r"(\d+) generated", done.stdout)
    figures.append(f"schemathesis: {generated} requests over the whole OpenAPI document, no finding")


def test_rejected_lines_above_the_limit_leave_readers_with_yesterdays_lists(delivered: Night, api: str) -> None:
    versions = both_versions(delivered, api)
    delivered.put(
        "ads_views", "advertiser_id,product_id,type,date\n" + "garbage\n" * 50 + f"ACME,p1,click,{DAY}\n" * 50
    )
    with reading(api, DAY) as reader, pytest.raises(PipelineError, match="rejected_share"):
        delivered.run()
    assert reader.seen <= versions[1]


def test_a_stopped_process_leaves_nothing_running(tmp_path: Path) -> None:
    """As Airflow's idle workers would stay, should the scheduler fail in its own shutdown."""
    process = processes.start(["sh", "-c", "sleep 600 & echo $!; exec sleep 600"], tmp_path / "child")
    deadline = time.monotonic() + 10
    while not (child := (tmp_path / "child").read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    left = psutil.Process(int(child))
    processes.stop(process)
    # Whoever inherits it may not ask what became of it: then it is a zombie.
    while left.is_running() and left.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_counts_and_lists_of_a_day_change_together_or_not_at_all(delivered: Night) -> None:
    """A published day is loaded anew, again and again; it is refused, or its run ends there, or it is published."""
    seen: set[tuple[Any, ...]] = set()
    looks = 0
    stop = threading.Event()
    state = (
        "SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM marts.product_daily AS t), "
        "(SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM marts.recommendations AS t)"
    )

    def look() -> None:
        nonlocal looks
        with closing(psycopg2.connect(delivered.warehouse.url("recommendations_analyst"))) as conn:
            conn.autocommit = True
            with conn.cursor() as cursor:
                while not stop.is_set():
                    cursor.execute(state)
                    seen.update(cursor.fetchall())
                    looks += 1

    delivered.run()
    published = [delivered.warehouse.rows(state)[0]]
    reader = threading.Thread(target=look)
    reader.start()
    outcomes = Counter(chance.choice(("refused", "ended", "published")) for _ in range(scale(6, 60)))
    try:
        for shift, outcome in enumerate(sorted(outcomes.elements(), key=lambda _: chance.random())):
            delivered.deliver(*ordinary_logs(shift=shift))
            delivered.load()
            if outcome != "ended":
                delivered.rank()
            if outcome == "refused":
                delivered.warehouse.rows("UPDATE models.candidates SET product_id = 'invented' WHERE rank = 7")
                delivered.warehouse.rows("UPDATE models.builds SET lists_hash = 'others'")
                with pytest.raises(PipelineError, match="products_had_events"):
                    delivered.publish()
            if outcome == "published":
                delivered.publish()
                published.append(delivered.warehouse.rows(state)[0])
            assert delivered.warehouse.rows(state)[0] == published[-1], outcome
    finally:
        stop.set()
        reader.join(60)
    assert seen <= set(published)
    figures.append(f"days loaded anew {dict(outcomes)}: {looks:,} looks at counts and lists, all of one publication")


def test_days_with_models_that_come_and_go_have_the_figures_of_the_right_order(night: Night) -> None:
    """Published in a random order, by releases of which some lack a model, some days more than once."""
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(4)]
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(days)]
    night.deliver(logs[0][0], [view for log in logs for view in log[1]], [ad for log in logs for ad in log[2]])
    for day in days:
        night.load(day)
    for day in days:
        night.rank(day)
    tables = ("list_changes", "list_variation", "model_agreement", "advertiser_evaluation", "evaluation")

    def figures_of(order: list[int], lacking: dict[int, str]) -> list[Any]:
        for table in ("publications", "recommendations", *tables):
            night.warehouse.rows(f"DELETE FROM marts.{table}")
        for n in order:
            models = [model for model in sql.models() if model.name != lacking.get(n)]
            steps.publish(days[n], models, night.warehouse.connect, night.settings, run_id="test")
        return [night.warehouse.rows(f"SELECT t::text FROM marts.{table} AS t ORDER BY 1") for table in tables]

    rounds = scale(4, 40)
    for _ in range(rounds):
        lacking = {n: chance.choice(MODELS) for n in chance.sample(range(4), 2)}
        in_order = figures_of([0, 1, 2, 3], lacking)
        order = chance.sample(range(4), 4)
        assert figures_of([*order, chance.choice(order)], lacking) == in_order, (order, lacking)
    figures.append(f"days with models that come and go: {rounds} random orders, all figures those of the right order")
