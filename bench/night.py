"""The night: the pipeline against DuckDB and pandas over the same logs, where its time goes, and what it weighs.

Every program runs in a process of its own, against the same embedded S3; ours also against embedded PostgreSQL. Their
outputs are compared before any time is told: the filtered logs as multisets of lines, the lists row by row.
"""

import argparse
import csv
import io
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import psutil
import psycopg2
from isal import igzip

from bench.objects import DAY, WHOLE, report, source
from elt import copying, sql, steps
from elt.lines import CHUNK, Lines, Pages
from elt.migrate import migrate
from elt.settings import load_settings
from local import s3, sample
from local.airflow import free_port
from local.postgres import MASTER, Postgres

PROGRAMS = {
    "this project": ["bench.night", "--client"],
    "DuckDB": ["bench.night_duckdb"],
    "DuckDB, logs written our way": ["bench.night_duckdb", "--counted"],
    "pandas": ["bench.night_pandas"],
}
OUTPUTS = ("product_views", "ads_views", "TopCTR", "TopProduct")
MODELS = [model for model in sql.models() if model.name in OUTPUTS]
LOGS = sample.LOGS
ROUNDS = {1_000_000: 2, 5_000_000: 1, 20_000_000: 2}
QUICK = {1_000_000: 1}


@dataclass(frozen=True)
class World:
    """Logs of another kind, over which the pipeline and DuckDB run once."""

    name: str
    events: int
    advertisers: int
    products: int
    """Of each advertiser."""
    timed: bool = False
    """Does every line have a time of day?"""


OTHERS = (
    World("a wide world: 600,000 products", 6_000_000, 300, 2_000),
    World("a time of day in every line", 5_000_000, 100, 200, timed=True),
)
LARGE = (
    World("a wide world: 2,000,000 products", 20_000_000, 1_000, 2_000),
    World("a time of day in every line", 20_000_000, 100, 200, timed=True),
)
QUICK_OTHERS = (
    World("a wide world: 100,000 products", 1_000_000, 50, 2_000),
    World("a time of day in every line", 1_000_000, 100, 200, timed=True),
)
EVERY_TABLE = """
    SELECT pg_class.oid::regclass::text
    FROM pg_class
    WHERE
        pg_class.relnamespace::regnamespace::text IN ('staging', 'models', 'marts')
        AND pg_class.relkind IN ('r', 'p')
        AND NOT pg_class.relispartition
        AND pg_class.oid <> 'marts.version'::regclass
"""
SLOW, SLOW_UP_TO = ("pandas",), 5_000_000
"""Programs that run in the first round of a size only, and not of the largest: they take as long as all others."""


@dataclass
class Run:
    seconds: float
    megabytes: float
    """Peak resident memory of the program's own process."""
    cpu: float
    """Processor seconds of the program's own process."""
    postgres: float
    s3: float
    """Processor seconds of the two servers."""
    steps: dict[str, float]


def tables(quick: bool, large: bool = False) -> str:
    """Markdown. Raises RuntimeError when a program fails, or its outputs are not those of the pipeline.

    `large`: only the other worlds, with 20 M events.
    """
    if large:
        with bench(0) as place:
            return "\n".join(other_worlds(place, LARGE))
    sizes = QUICK if quick else ROUNDS
    with bench(max(sizes) // 2) as place:
        lines = [
            "| events | program | time | of DuckDB's | of pandas' | client memory | CPU: client + PostgreSQL + S3 |",
            "|---|---|---|---|---|---|---|",
        ]
        ours: dict[int, float] = {}
        for events, rounds in sizes.items():
            place.deliver(events // 2)
            runs: dict[str, list[Run]] = {name: [] for name in PROGRAMS}
            for turn in range(rounds):
                for name, command in PROGRAMS.items():
                    if name in SLOW and (turn or events > SLOW_UP_TO):
                        continue
                    runs[name].append(place.run(command))
                    say(f"{events:,} events, {name}: {runs[name][-1].seconds:.1f} s")
                    if turn == 0:
                        place.compare(name)
            runs = {name: all_ for name, all_ in runs.items() if all_}
            middle = {name: min(all_, key=lambda r: abs(r.seconds - middle_of(all_))) for name, all_ in runs.items()}
            times = {name: middle_of(all_) for name, all_ in runs.items()}
            ours[events] = times["this project"]
            for name, run in middle.items():
                of_pandas = f"{times[name] / times['pandas']:.2f}" if "pandas" in times else ""
                lines.append(
                    f"| {events / 1e6:.0f} M | {name} | {times[name]:.1f} s | {times[name] / times['DuckDB']:.2f} "
                    f"| {of_pandas} | {max(r.megabytes for r in runs[name]):.0f} MB "
                    f"| {run.cpu:.1f} + {run.postgres:.1f} + {run.s3:.1f} s |"
                )
        lines += ["", *growth(ours), "", *by_step(place, max(sizes), middle["this project"])]
        lines += ["", *other_worlds(place, QUICK_OTHERS if quick else OTHERS)]
    return "\n".join(lines)


def other_worlds(place: "Place", worlds: Sequence[World]) -> list[str]:
    """The same night over logs of another kind."""
    lines = [
        "| events | of what kind | this project | DuckDB | of DuckDB's | client memory |",
        "|---|---|---|---|---|---|",
    ]
    for world in worlds:
        place.make(world)
        place.deliver(world.events // 2)
        runs = {}
        for name in ("this project", "DuckDB"):
            runs[name] = place.run(PROGRAMS[name])
            say(f"{world.events:,} events, {world.name}, {name}: {runs[name].seconds:.1f} s")
            place.compare(name)
        ours, duckdb = runs.values()
        lines.append(
            f"| {world.events / 1e6:.0f} M | {world.name} | {ours.seconds:.1f} s | {duckdb.seconds:.1f} s "
            f"| {ours.seconds / duckdb.seconds:.2f} | {ours.megabytes:.0f} MB |"
        )
    return lines


def growth(ours: dict[int, float]) -> list[str]:
    """Time per event, against the smallest size."""
    first = min(ours)
    per_event = {events: seconds / events for events, seconds in ours.items()}
    told = ", ".join(f"{events / 1e6:.0f} M: {per_event[events] / per_event[first]:.2f}" for events in ours)
    return [f"Growth, time per event against {first / 1e6:.0f} M (1 is linear, less is better): {told}."]


def by_step(place: "Place", events: int, ours: Run) -> list[str]:
    """Each step of the middle run, beside what PostgreSQL or S3 alone need for the same bytes."""
    limits = place.limits()
    rows = [
        ("landing, counting, typing, both logs at once", ours.steps["land"], "S3 download alone", limits["download"]),
        ("", None, "COPY of the pages alone, from memory", limits["pages in"]),
        ("", None, "splitting the pages into lines alone", limits["split"]),
        ("", None, "instead of all that: COPY of a row a line alone, from memory", limits["copy in"]),
        (
            "counts of the day",
            ours.steps["count"],
            "instead: one scan of a row a line alone, `count(*)`",
            limits["scan"],
        ),
        (
            "filtered logs to S3 as csv.gz, both at once, within the next",
            ours.steps["unload"],
            "instead: COPY of every kept row out, to nowhere",
            limits["copy out"],
        ),
        ("recording, audits, storing the counts, models, publishing", ours.steps["rest"], "", None),
    ]
    lines = [
        f"Where the time of {events / 1e6:.0f} M events goes; limits are of both logs at once on two connections:",
        "",
        "| step | time | its own limit | time |",
        "|---|---|---|---|",
    ]
    show = lambda value: "" if value is None else f"{value:.1f} s"  # noqa: E731
    return lines + [f"| {step} | {show(spent)} | {limit} | {show(least)} |" for step, spent, limit, least in rows]


class Place:
    """The servers, and the logs on S3."""

    def __init__(self, folder: Path, postgres: Postgres, storage: psutil.Process) -> None:
        self.folder, self.postgres, self.storage = folder, psutil.Process(postgres.pid), storage
        self.owner = postgres.url(MASTER, "bench")
        self.s3 = boto3.client("s3")
        self.expected: dict[str, Any] = {}

    def make(self, world: World) -> None:
        """Makes the world's logs in the folder."""
        say(f"making logs of {world.events // 2:,} lines each: {world.name}")
        made = sample.make_world(advertisers=world.advertisers, products=world.products)
        sample.write(made, self.folder, [date.fromisoformat(DAY)], world.events // 2)
        for log in LOGS:
            file = self.folder / DAY / log
            if world.timed and log != "advertiser_ids":
                give_times(file)
            file.replace(self.folder / log)

    def deliver(self, lines: int) -> None:
        """Puts the first `lines` lines of each log on S3."""
        for log in LOGS:
            whole, part = self.folder / log, self.folder / "part"
            with whole.open("rb") as read, part.open("wb") as write:
                write.writelines(islice(read, None if log == "advertiser_ids" else lines + 1))
            bucket, key = source(log).removeprefix("s3://").split("/", 1)
            self.s3.upload_file(str(part), bucket, key, Config=WHOLE)
            part.unlink()
        self.expected = {}

    def run(self, command: list[str]) -> Run:
        servers = (self.postgres, self.storage)
        self.empty()
        before = [cpu_of(server) for server in servers]
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        *told, last = done.stdout.splitlines()
        seconds, megabytes, cpu = map(float, last.split())
        postgres, storage = (cpu_of(server) - was for server, was in zip(servers, before, strict=True))
        spent = {name: float(took) for name, took in (line.split() for line in told)}
        return Run(seconds, megabytes, cpu, postgres, storage, spent)

    def empty(self) -> None:
        """Empties the warehouse, so that every night is its day's first: a second one also sets aside and compares."""
        with closing(psycopg2.connect(self.owner)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(EVERY_TABLE)
            for (table,) in cursor.fetchall():
                cursor.execute(f"TRUNCATE {table}")

    def compare(self, name: str) -> None:
        """The first program of a size says what is expected. Raises RuntimeError when another's outputs differ."""
        for output in OUTPUTS:
            found = self.read(output)
            if self.expected.setdefault(output, found) != found:
                raise RuntimeError(f"{name}: {output}.csv.gz is not the same as the pipeline's")

    def read(self, output: str) -> Any:
        """Of a log: how often each line stands in it. Of a model: its rows in order, figures as numbers."""
        bucket, prefix = os.environ["INTERMEDIATE_URI"].removeprefix("s3://").split("/", 1)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "output"
            self.s3.download_file(bucket, f"{prefix}/date={DAY}/{output}.csv.gz", str(file), Config=WHOLE)
            with igzip.open(file, "rb") as lines:
                if output in LOGS:
                    return Counter(lines)
                rows = list(csv.DictReader(io.TextIOWrapper(lines)))
        return [{k: v if k.endswith("_id") else float(v) for k, v in row.items()} for row in rows]

    def limits(self) -> dict[str, float]:
        """Seconds that the parts of FiltrarDatos take by themselves, both logs at once."""
        connections = {log: psycopg2.connect(os.environ["DATABASE_URL"]) for log in steps.LOGS}
        cursors = {log: connection.cursor() for log, connection in connections.items()}

        def copy_in(log: str) -> None:
            cursors[log].execute(sql.read(f"landing/{log}"))
            with (self.folder / log).open("rb") as file:
                names = file.readline().decode().strip()
                cursors[log].copy_expert(f"COPY pg_temp.{log} ({names}) FROM STDIN (FORMAT csv)", file, CHUNK)

        def pages_in(log: str) -> None:
            cursors[log].execute(sql.read("landing/pages"))
            with (self.folder / log).open("rb") as file:
                lines = Lines(file, log)
                pages = Pages(lines, 1 << 60)
                copying.copy_in(cursors[log], "COPY pg_temp.pages FROM STDIN WITH (FORMAT binary)", pages, lines)

        def split(log: str) -> None:
            cursors[log].execute("SELECT count(*) FROM pg_temp.pages, string_to_table(page, E'\\n')")

        def scan(log: str) -> None:
            cursors[log].execute(f"SELECT count(*) FROM pg_temp.{log}")  # noqa: S608

        def copy_out(log: str) -> None:
            active = (self.folder / "advertiser_ids").read_text().split()[1:]
            kept = f"SELECT * FROM pg_temp.{log} WHERE date = %(ds)s AND advertiser_id = ANY(%(active)s)"  # noqa: S608
            copying.copy_out(cursors[log], kept, Nowhere(), " WITH (FORMAT csv)", ds=DAY, active=active)

        def download(log: str) -> None:
            bucket, key = source(log).removeprefix("s3://").split("/", 1)
            self.s3.download_fileobj(bucket, key, Nowhere(), Config=WHOLE)

        taken = {}
        parts = {
            "download": download,
            "pages in": pages_in,
            "split": split,
            "copy in": copy_in,
            "scan": scan,
            "copy out": copy_out,
        }
        for name, part in parts.items():
            started = time.perf_counter()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(part, steps.LOGS))
            taken[name] = time.perf_counter() - started
        for connection in connections.values():
            connection.close()
        return taken


class Nowhere(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


@contextmanager
def bench(lines: int) -> Iterator[Place]:
    """The embedded servers, a migrated warehouse, and logs of `lines` lines each in a folder."""
    with TemporaryDirectory() as name, Postgres(Path(name) / "postgres", free_port()) as postgres:
        folder = Path(name)
        with s3.s3_server(free_port()) as url:
            postgres.provision("bench")
            migrate(postgres.url(MASTER, "bench"))
            postgres.let_log_in("recommendations_pipeline")
            os.environ |= s3.environment(url) | {
                "DATABASE_URL": postgres.url("recommendations_pipeline", "bench"),
                "ADVERTISERS_URI": "s3://bench/advertiser_ids",
                "PRODUCT_VIEWS_URI": "s3://bench/product_views",
                "ADS_VIEWS_URI": "s3://bench/ads_views",
                "INTERMEDIATE_URI": "s3://bench/intermediate",
            }
            server = next(p for p in psutil.Process().children() if "moto.server" in p.cmdline())
            place = Place(folder, postgres, server)
            place.s3.create_bucket(Bucket="bench")
            if lines:
                place.make(World("sample logs", 2 * lines, 100, 200))
            yield place


def give_times(file: Path) -> None:
    """Gives every line of the log, whose last column is the date, a time of day: the same for the same file."""
    chance = random.Random(file.name)
    times = [
        f" {hour:02}:{minute:02}:{second:02}\n" for hour in range(24) for minute in range(60) for second in range(60)
    ]
    timed = file.with_suffix(".timed")
    with file.open() as lines, timed.open("w") as out:
        out.write(next(lines))
        while batch := list(islice(lines, 100_000)):
            out.writelines(
                line[:-1] + time for line, time in zip(batch, chance.choices(times, k=len(batch)), strict=True)
            )
    timed.replace(file)


def cpu_of(server: psutil.Process) -> float:
    """Processor seconds of a server and of its processes, those that have ended included."""
    seconds = 0.0
    for process in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that ends now is counted by the server
            seconds += sum(process.cpu_times()[:2])
    return seconds + sum(server.cpu_times()[:4])


def middle_of(runs: list[Run]) -> float:
    return median(run.seconds for run in runs)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Durations(logging.Handler):
    """Remembers the seconds that elt logs for each log: both are landed, counted and unloaded at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = {"land": 0.0, "count": 0.0, "unload": 0.0}

    def emit(self, record: logging.LogRecord) -> None:
        match record.msg, record.args:
            case "%s: %s lines (%.1f MB) in %.1f s%s", (_, _, _, float(seconds), _):
                self.seconds["land"] = max(self.seconds["land"], seconds)
            case "%s: counted in %.1f s", (_, float(seconds)):
                self.seconds["count"] = max(self.seconds["count"], seconds)
            case "%s: %s lines written in %.1f s", (_, _, float(seconds)):
                self.seconds["unload"] = max(self.seconds["unload"], seconds)


def client() -> None:
    """The steps of the run; prints the seconds of each, then what every program of the night prints."""
    durations = Durations()
    for name in ("elt.copying", "elt.land", "elt.shares"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(durations)
    begun = time.perf_counter()
    settings, storage = load_settings(), boto3.client("s3")
    assert settings.database_url
    url = settings.database_url.get_secret_value()
    connect = lambda: psycopg2.connect(url)  # noqa: E731
    steps.filter_events(DAY, connect, storage, settings, run_id="bench", reload=True)
    filtered = time.perf_counter() - begun
    with ThreadPoolExecutor(len(MODELS)) as pool:  # as the scheduler does, two at a time
        list(pool.map(lambda model: steps.build_model(DAY, model, connect, storage, settings), MODELS))
    steps.publish(DAY, MODELS, connect, settings, run_id="bench")
    whole = time.perf_counter() - begun
    rest = whole - durations.seconds["land"] - durations.seconds["count"]
    spent = durations.seconds | {"rest": rest, "filter": filtered}
    print("\n".join(f"{name} {seconds}" for name, seconds in spent.items()))
    report(whole)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.night", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1 M events only")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        client()
    else:
        print(tables(arguments.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
