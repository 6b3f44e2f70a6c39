"""The day: how fast the API answers, beside what uvicorn alone does and what one would write first.

One core for the server, the other for the load and PostgreSQL. The servers run at the same time and are asked in turn,
so that a machine that changes its speed changes it for all.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor

from elt import keys, sql, steps, warehouse
from elt.migrate import migrate
from elt.settings import PROJECT
from local import processes
from local.airflow import free_port
from local.postgres import MASTER, Postgres

ADVERTISERS, CONNECTIONS = 1000, 32
LISTED = 60
"""Newest days that have lists: those of an older month are in a partition that no question reads."""

LAST_DAY = date(2024, 11, 30)
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
BARE, MEMORY, DATABASE, NAIVE = "bare uvicorn", "in memory", "from PostgreSQL", "a connection a request"
KEYS = "in memory, with keys"

FOR_LOADING = {"fsync": "off", "wal_level": "minimal", "max_wal_senders": "0", "maintenance_work_mem": "1GB"}

WITHOUT_KEY = "ALTER TABLE marts.recommendations DROP CONSTRAINT recommendations_pkey"
WITH_KEY = "ALTER TABLE marts.recommendations ADD PRIMARY KEY (date, model, advertiser_id, rank)"

LISTS = """
INSERT INTO marts.recommendations (date, model, advertiser_id, rank, product_id, score, entry)
SELECT
    days.date, models.model, advertisers.advertiser_id, ranks.rank, products.product_id, 1.0 / ranks.rank,
    json_build_object(
        'rank', ranks.rank, 'product_id', products.product_id, 'ctr', 1.0 / ranks.rank, 'clicks', ranks.rank,
        'impressions', ranks.rank * ranks.rank
    )
FROM unnest(%(dates)s::date[]) AS days (date)
CROSS JOIN unnest(%(models)s::text[]) AS models (model)
CROSS JOIN unnest(%(advertisers)s::text[]) WITH ORDINALITY AS advertisers (advertiser_id, number)
CROSS JOIN generate_series(1, 20) AS ranks (rank)
CROSS JOIN LATERAL (
    SELECT 'p' || lpad(((advertisers.number * 31 + ranks.rank * 7 + (days.date - '2000-01-01')) %% 200)::text, 5, '0')
) AS products (product_id)
"""

PUBLICATIONS = """
INSERT INTO marts.publications (
    date, model, row_count, advertiser_count, sql_file, sql_version, git_revision, lists_hash, load_id, sources,
    accounting, run_id
)
SELECT
    days.date, models.model, 0, cardinality(%(advertisers)s::text[]), '', '', '', md5(days.date || models.model),
    gen_random_uuid(), '[]',
    '[{"source": "ads_views", "delivered": 100, "kept": 90, "other_day": 0, "inactive": 9, "rejected": 1}]', ''
FROM unnest(%(dates)s::date[]) AS days (date)
CROSS JOIN unnest(%(models)s::text[]) AS models (model)
"""

ACTIVE = """
INSERT INTO marts.active_advertisers (date, advertiser_id)
SELECT days.date, advertisers.advertiser_id
FROM unnest(%(dates)s::date[]) AS days (date)
CROSS JOIN unnest(%(advertisers)s::text[]) AS advertisers (advertiser_id)
"""

EVENTS = """
INSERT INTO staging.product_daily (date, advertiser_id, product_id, impressions, clicks, views)
SELECT DISTINCT recommendations.date, recommendations.advertiser_id, recommendations.product_id, 100, 3, 50
FROM marts.recommendations
WHERE recommendations.date = ANY(%(newest)s::date[])
"""


def tables(quick: bool) -> str:
    """Runs the bench; returns its tables as Markdown. Raises RuntimeError when the servers answer differently."""
    days, rounds, seconds = (10, 2, 1) if quick else (120, 7, 2)
    models = [model.name for model in sql.models()]
    advertisers = [f"ADVERTISER{n:010}" for n in range(ADVERTISERS)]
    before = os.sched_getaffinity(0)
    try:
        with TemporaryDirectory() as folder, ExitStack() as stack:
            postgres = stack.enter_context(Postgres(Path(folder) / "postgres", free_port(), **FOR_LOADING))
            url = publish(postgres, models, advertisers, days, LISTED)
            psutil.Process(postgres.pid).cpu_affinity([LOAD_CORE])
            os.sched_setaffinity(0, {LOAD_CORE})
            paths = _requests(advertisers, models)
            key, _ = keys.create("bench", [], None, warehouse.opens(postgres.url(MASTER, "day")))
            # In this order they are asked: what is compared, one right after the other.
            ports = {
                DATABASE: stack.enter_context(_api(url, MEMORY_MB="0")),
                NAIVE: stack.enter_context(_server("bench.connecting:app", DATABASE_URL=url)),
                MEMORY: stack.enter_context(_api(url)),
                KEYS: stack.enter_context(_api(url, API_ACCESS="keys")),
            }
            _check_answers(ports, key, random.Random(1).sample(paths, 40))
            sent = httpx.get(f"http://127.0.0.1:{ports[MEMORY]}{paths[0]}", headers={"accept-encoding": "identity"})
            body = Path(folder) / "body"
            body.write_text(json.dumps({"body": sent.text, "headers": dict(sent.headers)}))
            ports[BARE] = stack.enter_context(_server("bench.bare:app", BODY=str(body)))
            figures = _in_turn(ports, key, paths, rounds, seconds)
            pages = _pages(ports[DATABASE], advertisers, 100 if quick else 300)
            megabytes = _memory_with_all(ports[MEMORY], paths)
            start = statistics.median(_start_up(url, paths[0]) for _ in range(1 if quick else 3))
    finally:
        os.sched_setaffinity(0, before)
    setting = (
        f"{ADVERTISERS:,} advertisers, {len(models)} models, {days} days, lists of {min(days, LISTED)}; requests "
        f"Zipf-distributed over the newest day's lists; {CONNECTIONS} connections, keep-alive; "
        f"the median of {rounds} rounds of {seconds} s."
    )
    return "\n".join([setting, "", *_speed(figures), "", *_page_times(pages), "", *_footprint(start, megabytes)])


def publish(postgres: Postgres, models: list[str], advertisers: list[str], days: int, listed: int | None = None) -> str:
    """A warehouse of so many days, with every advertiser's lists of all of them, or of the `listed` newest, and the
    figures of all; returns its URL for the API's role."""
    postgres.provision("day")
    migrate(postgres.url(MASTER, "day"))
    postgres.let_log_in("recommendations_api")
    conn = psycopg2.connect(postgres.url(MASTER, "day"))
    conn.autocommit = True
    with conn.cursor() as cursor:
        dates = [LAST_DAY - timedelta(n) for n in reversed(range(days))]
        newest = dates[-min(9, days // 3) :]
        older = dates[: -len(newest)]
        cursor.execute("SELECT staging.make_month(day) FROM unnest(%s::date[]) AS day", (dates,))
        cursor.execute(WITHOUT_KEY)
        for day in newest:  # one after the other, as nights write them
            cursor.execute(LISTS, {"dates": [day], "models": models, "advertisers": advertisers})
        repeat(cursor, ["marts.recommendations"], older[-(listed or days) + len(newest) :], dates[-2])
        for statement in (WITH_KEY, PUBLICATIONS, ACTIVE):
            cursor.execute(statement, {"dates": dates, "models": models, "advertisers": advertisers})
        cursor.execute(EVENTS, {"newest": newest})
        for day in newest:
            for name in steps.FIGURES:
                warehouse.run(cursor, f"marts/{name}", ds=str(day), models=models)
        repeat(cursor, _figures(cursor), older, dates[-2])
        cursor.execute("VACUUM ANALYZE")
    conn.close()
    return postgres.url("recommendations_api", "day")


def _figures(cursor: Cursor) -> list[str]:
    """The tables of statistics."""
    cursor.execute(
        "SELECT 'marts.' || relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'date' "
        "WHERE relnamespace = 'marts'::regnamespace AND relkind IN ('r', 'p') "
        "AND relname NOT IN ('recommendations', 'publications', 'active_advertisers')"
    )
    return [table for (table,) in cursor.fetchall()]


def repeat(cursor: Cursor, tables: list[str], dates: list[date], like: date) -> None:
    """Gives the days what the tables (schema.name) have of one day, so that they are as large as they would be.

    All in one transaction: one that changes what readers see ends a quarter of a second later (marts.version).
    """
    cursor.execute("BEGIN")
    cursor.execute("SELECT staging.make_month(day) FROM unnest(%s::date[]) AS day", (dates,))
    for table in tables:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
            "AND attname <> 'date' ORDER BY attnum",
            (table,),
        )
        others = identifiers.Composed(
            identifiers.SQL(", {}").format(identifiers.Identifier(name)) for (name,) in cursor.fetchall()
        )
        insert = identifiers.SQL(
            "INSERT INTO {table} (date{others}) "
            "SELECT days.date{others} FROM {table} AS original, unnest(%s::date[]) AS days (date) "
            "WHERE original.date = %s ORDER BY days.date ON CONFLICT DO NOTHING"
        ).format(table=identifiers.Identifier(*table.split(".")), others=others)
        # Day after day, as nights write them; not all at once, which would be a long sort.
        for n in range(0, len(dates), 20):
            cursor.execute(insert, (dates[n : n + 20], like))
    cursor.execute("COMMIT")


def _requests(advertisers: list[str], models: list[str]) -> list[str]:
    """Paths in the order in which they are asked: Zipf-distributed over all lists."""
    chance = random.Random(20241130)
    lists = [f"/recommendations/{advertiser}/{model}" for advertiser in advertisers for model in models]
    chance.shuffle(lists)
    return chance.choices(lists, cum_weights=list(accumulate(1 / n for n in range(1, len(lists) + 1))), k=50_000)


def _server(app: str, **env: str) -> AbstractContextManager[int]:
    """uvicorn with the application; yields its port."""
    return _running(["-m", "uvicorn", app, "--no-access-log"], "/docs", env)


def _api(url: str, **env: str) -> AbstractContextManager[int]:
    """The API as the image starts it; yields its port."""
    return _running(["-m", "api"], "/health/ready", {"DATABASE_URL": url, **env})


@contextmanager
def _running(command: list[str], path: str, env: dict[str, str]) -> Iterator[int]:
    """A server on the server's core, once it answers the path; yields its port."""
    port = free_port()
    arguments = ["--port", str(port)] if "uvicorn" in command else []
    process = processes.start(
        [sys.executable, *command, *arguments], None, env={"PORT": str(port), "PYTHONPATH": str(PROJECT), **env}
    )
    psutil.Process(process.pid).cpu_affinity([SERVER_CORE])
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}{path}")
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} does not answer") from None
                time.sleep(0.005)
        yield port
    finally:
        processes.stop(process)


def _check_answers(ports: dict[str, int], key: str, paths: list[str]) -> None:
    sent = {"x-api-key": key}
    for path in paths:
        asked = [httpx.get(f"http://127.0.0.1:{port}{path}", headers=sent) for port in ports.values()]
        answers = [answer.raise_for_status().json() for answer in asked]
        if any(answer != answers[0] for answer in answers):
            raise RuntimeError(f"the servers answer {path} differently")


def _in_turn(ports: dict[str, int], key: str, paths: list[str], rounds: int, seconds: float) -> dict[str, list[dict]]:
    """The load's figures by server, one a round; all are sent the key.

    The first round, which fills the memory, is not counted.
    """
    figures: dict[str, list[dict]] = {name: [] for name in ports}
    for number in range(rounds + 1):
        for name, port in ports.items():
            done = subprocess.run(
                [sys.executable, "-m", "bench.load", str(port), str(CONNECTIONS), str(seconds), key],
                input="\n".join(paths),
                capture_output=True,
                text=True,
                check=True,
                cwd=PROJECT,
            )
            found = json.loads(done.stdout)
            if set(found["statuses"]) != {"200"}:
                raise RuntimeError(f"{name}: answers other than 200: {found['statuses']}")
            if number:
                figures[name].append(found)
    return figures


def _pages(port: int, advertisers: list[str], requests: int) -> dict[str, list[float]]:
    """Milliseconds of each of so many requests, one at a time, none from memory; in ascending order."""
    chance = random.Random(2)
    pages = {
        "/recommendations": lambda: f"/recommendations/{chance.choice(advertisers)}/TopCTR",
        "/history": lambda: f"/history/{chance.choice(advertisers)}",
        "/stats": lambda: "/stats",
        "/stats/ADVERTISER": lambda: f"/stats/{chance.choice(advertisers)}",
    }
    found = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        for page, path in pages.items():
            taken = []
            for _ in range(requests + 10):
                begun = time.perf_counter()
                http.get(path()).raise_for_status()
                taken.append(1000 * (time.perf_counter() - begun))
            found[page] = sorted(taken[10:])
    return found


def _memory_with_all(port: int, paths: list[str]) -> float:
    """MB that the process takes (resident) when every list is in its memory."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        for path in set(paths):
            http.get(path).raise_for_status()
        metrics = dict(line.split() for line in http.get("/metrics").text.splitlines() if line.startswith("process_r"))
    return float(metrics["process_resident_memory_bytes"]) / 1e6


def _start_up(url: str, path: str) -> float:
    """Seconds from starting the process to its first answer out of the warehouse."""
    begun = time.perf_counter()
    with _running(["-m", "api"], path, {"DATABASE_URL": url}):
        return time.perf_counter() - begun


def _speed(figures: dict[str, list[dict]]) -> Iterator[str]:
    def median(name: str, figure: str) -> float:
        return statistics.median(found[figure] for found in figures[name])

    def ratio(name: str, other: str, figure: str) -> float:
        pairs = zip(figures[name], figures[other], strict=True)
        return statistics.median(one[figure] / two[figure] for one, two in pairs)

    yield from ("| server | answers a second | p50 ms | p99 ms |", "|---|---:|---:|---:|")
    for name in figures:
        rate, p50, p99 = (median(name, figure) for figure in ("per_second", "p50", "p99"))
        yield f"| {name} | {rate:,.0f} | {p50:.2f} | {p99:.2f} |"
    yield from ("", "| ratio | figure | wanted |", "|---|---:|---:|")
    yield f"| {MEMORY} / {BARE}, answers a second | {ratio(MEMORY, BARE, 'per_second'):.2f} | at least 0.6 |"
    yield f"| {MEMORY} / {BARE}, p99 | {ratio(MEMORY, BARE, 'p99'):.2f} | at most 3 |"
    yield f"| {KEYS} / {MEMORY}, answers a second | {ratio(KEYS, MEMORY, 'per_second'):.2f} | at least 0.85 |"
    yield f"| {DATABASE} / {NAIVE}, answers a second | {ratio(DATABASE, NAIVE, 'per_second'):.1f} | at least 8 |"
    yield f"| {DATABASE}, p99 | {median(DATABASE, 'p99'):.1f} ms | under 15 ms |"


def _page_times(pages: dict[str, list[float]]) -> Iterator[str]:
    yield from ("| one request at a time, from PostgreSQL | p50 ms | p99 ms |", "|---|---:|---:|")
    for page, taken in pages.items():
        yield f"| {page} | {taken[len(taken) // 2]:.1f} | {taken[len(taken) * 99 // 100]:.1f} |"


def _footprint(start: float, megabytes: float) -> Iterator[str]:
    yield from ("| a worker | figure | wanted |", "|---|---:|---:|")
    yield f"| start to the first answer | {start:.2f} s | under 1.5 s |"
    yield f"| memory with every list of the day in it | {megabytes:.0f} MB | under 120 MB |"
