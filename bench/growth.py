"""The night's growth: every statement of it, with more and more history, advertisers and products in the warehouse.

One night comes through the real steps and is repeated for earlier days. Then two nights are measured, both of them days
that the planner knows nothing of: one with the statistics that there were (none in the beginning), the next after an
ANALYZE, as autovacuum does sooner or later. The same warehouse is given more history, and so on.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import psycopg2
from psycopg2.extensions import cursor as Cursor

from bench.day import FOR_LOADING, _api, _pages, repeat
from bench.night import say
from elt import following, sql, steps
from elt.migrate import migrate
from elt.settings import Settings
from local import s3
from local.airflow import free_port
from local.postgres import MASTER, Postgres

LIKE = date(2024, 11, 20)
"""The day that history repeats; those after it are measured."""

SIZES = [((9, 40), 1000, 40)]
LARGE = [((9, 40, 120), 1000, 400)]
QUICK = [((9, 40), 100, 40)]
YEARS = [((7, 1826), 50, 400)]
"""Days, active advertisers, products of each."""


QUESTIONS = (
    "| days | look-up, p50 | /history | /stats | retention of a day | of a month |\n|---|---:|---:|---:|---:|---:|"
)


def tables(quick: bool, large: bool = False, years: bool = False) -> str:
    """Markdown. Raises RuntimeError when a step fails."""
    lines = [
        "| days | advertisers | products of each | statistics | FiltrarDatos | "
        + " | ".join(model.name for model in sql.models())
        + " | DBWriting | its slowest file |",
        "|---|---|---|---|---|" + "---|" * len(sql.models()) + "---|---|",
    ]
    answers: list[str] = []
    with TemporaryDirectory() as folder, s3.s3_server(free_port()) as url:
        os.environ |= s3.environment(url)
        for history, advertisers, products in QUICK if quick else YEARS if years else LARGE if large else SIZES:
            name = f"growth-{advertisers}-{products}"
            with Postgres(Path(folder) / name, free_port(), **FOR_LOADING, autovacuum="off") as postgres:
                lines += _nights(postgres, name, history, advertisers, products, answers if years else None)
            rmtree(Path(folder) / name)
    return "\n".join([*lines, "", QUESTIONS, *answers] if years else lines)


def _nights(
    postgres: Postgres,
    name: str,
    history: Sequence[int],
    advertisers: int,
    products: int,
    answers: list[str] | None,
) -> Iterator[str]:
    """Rows of the table, two for each number of days; into `answers`, if it is given, a row of what else was timed."""
    storage = boto3.client("s3")
    storage.create_bucket(Bucket=name)
    postgres.provision(name)
    migrate(postgres.url(MASTER, name))
    postgres.let_log_in("recommendations_pipeline")
    url = postgres.url("recommendations_pipeline", name)
    settings = Settings(
        advertisers_uri=f"s3://{name}/{{ds}}/advertiser_ids",
        product_views_uri=f"s3://{name}/{{ds}}/product_views",
        ads_views_uri=f"s3://{name}/{{ds}}/ads_views",
        intermediate_uri=f"s3://{name}/intermediate",
        git_revision="growth",
        max_volume_drop=1,
    )
    newest = LIKE

    def night(day: date) -> tuple[dict[str, float], str]:
        for log, lines in _logs(str(day), advertisers, products, day.day).items():
            storage.put_object(Bucket=name, Key=f"{day}/{log}", Body="\n".join(lines))
        return _night(str(day), url, storage, settings)

    night(newest)
    loaded, statistics = 1, "none"
    conn = psycopg2.connect(postgres.url(MASTER, name))
    conn.autocommit = True
    with closing(conn), conn.cursor() as cursor:
        for days in history:
            begun = time.perf_counter()
            # The measured night is one of them, and so are those measured before.
            oldest = newest - timedelta(days - 2)
            _repeat(cursor, [oldest + timedelta(n) for n in range(days - 1 - loaded)])
            following.write_published(str(LIKE), lambda: psycopg2.connect(url), lambda: storage, settings)
            say(f"{days} days of {advertisers} advertisers x {products} products, {time.perf_counter() - begun:.0f} s")
            for which in (statistics, "of the day before"):
                if which == "of the day before":
                    cursor.execute("ANALYZE")
                newest += timedelta(1)
                spent, slowest = night(newest)
                told = " | ".join(f"{seconds:.1f} s" for seconds in spent.values())
                yield f"| {days} | {advertisers:,} | {products} | {which} | {told} | {slowest} |"
            loaded, statistics = days + 1, f"of {days} days"
            if answers is not None:
                postgres.let_log_in("recommendations_api")
                api = postgres.url("recommendations_api", name)
                answers.append(f"| {days} | {_answers(api, advertisers)} | {_retention(cursor, url, settings)} |")


def _answers(url: str, advertisers: int) -> str:
    """Cells: milliseconds of a look-up, of /history and of /stats, one at a time, all from PostgreSQL."""
    with _api(url, MEMORY_MB="0") as port:
        taken = _pages(port, [f"ADVERTISER{n:010}" for n in range(advertisers)], 200)
    return " | ".join(f"{taken[page][100]:.1f} ms" for page in ("/recommendations", "/history", "/stats"))


def _retention(cursor: Cursor, url: str, settings: Settings) -> str:
    """Cells: seconds until the oldest day is forgotten (the median of three in turn), and until the rest of its month
    and the whole next one are."""
    cursor.execute("UPDATE staging.loads SET loaded_at = '2000-01-01'")
    cursor.execute("SELECT min(date), max(date) FROM marts.publications")
    oldest, newest = cursor.fetchone() or (LIKE, LIKE)

    def forget_before(first: date) -> float:
        begun = time.perf_counter()
        keeps = settings.model_copy(update={"keep_days": (newest - first).days})
        steps.forget(str(newest), lambda: psycopg2.connect(url), keeps)
        return time.perf_counter() - begun

    # No day first: the candidates of all of them, which a night forgets a day at a time, go with whatever comes first.
    _, *days = [forget_before(oldest + timedelta(n)) for n in range(4)]
    month = (oldest.replace(day=1) + timedelta(64)).replace(day=1)
    return f"{median(days):.2f} s | " + (f"{forget_before(month):.2f} s" if month < newest else "")


def _repeat(cursor: Cursor, earlier: list[date]) -> None:
    """Gives the days what the night of LIKE left; candidates only to those that a night keeps them of.

    The rows are read once: who is first to read a row writes that its transaction is over, which nights have done.
    """
    cursor.execute(
        "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE attname = 'date' AND relkind IN ('r', 'p') "
        "AND relnamespace::regnamespace::text IN ('staging', 'models', 'marts')"
    )
    dated = {table for (table,) in cursor.fetchall()}
    repeat(cursor, sorted(dated - {"models.candidates"}), earlier, LIKE)
    repeat(cursor, ["models.candidates"], [day for day in earlier if day > LIKE - timedelta(30)], LIKE)
    for table in dated:
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608


def _logs(day: str, advertisers: int, products: int, shift: int) -> dict[str, list[str]]:
    """Every product is shown and viewed a few times; `shift` makes other lists."""
    ads, views = ["advertiser_id,product_id,type,date"], ["advertiser_id,product_id,date"]
    ids = [f"ADVERTISER{n:010}" for n in range(advertisers)]
    for n, advertiser in enumerate(ids):
        for product in range(products):
            chance = (n * 31 + product * 7 + shift * 13) % 97
            pair = f"{advertiser},p{product:05}"
            ads += [f"{pair},impression,{day}"] * (1 + chance % 3) + [f"{pair},click,{day}"] * (chance % 11 == 0)
            views += [f"{pair},{day}"] * (1 + chance % 2)
    return {"advertiser_ids": ["advertiser_id", *ids], "ads_views": ads, "product_views": views}


def _night(day: str, url: str, storage: Any, settings: Settings) -> tuple[dict[str, float], str]:
    """Seconds of each step, and the slowest file of DBWriting with its seconds."""
    models, connect = sql.models(), lambda: psycopg2.connect(url)
    files = Files()
    spent = {}

    def timed(name: str, step: Any, *arguments: Any, **options: Any) -> None:
        files.seconds.clear()
        begun = time.perf_counter()
        step(*arguments, **options)
        spent[name] = time.perf_counter() - begun

    timed("FiltrarDatos", steps.filter_events, day, connect, storage, settings, run_id="growth")
    for model in models:
        timed(model.name, steps.build_model, day, model, connect, storage, settings)
    timed("DBWriting", following.finish, day, models, connect, lambda: storage, settings, run_id="growth")
    name, seconds = max(files.seconds.items(), key=lambda item: item[1])
    say(f"{day}: " + ", ".join(f"{file} {took:.2f}" for file, took in sorted(files.seconds.items())))
    return spent, f"{name} {seconds:.1f} s"


class Files(logging.Handler):
    """Adds up how long each file of sql/ ran, from what elt.warehouse says of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        log = logging.getLogger("elt.warehouse")
        log.setLevel(logging.DEBUG)
        log.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        match record.args:
            case (str(name), _, float(seconds)):
                self.seconds[name] = self.seconds.get(name, 0) + seconds
