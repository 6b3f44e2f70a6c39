"""A small day: the whole DAG run over 10,000 events, by the real scheduler with LocalExecutor, two tasks at a time."""

import os
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import boto3

from elt.migrate import migrate
from local import airflow, s3, sample
from local.airflow import free_port
from local.postgres import MASTER, Postgres

EVENTS = 10_000
FIRST = date(2024, 11, 20)

PLAIN = (
    "AIRFLOW__SCHEDULER__MP_START_METHOD",
    "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL",
)
"""The settings that make it fast; without them is what Airflow does by itself."""


def tables(quick: bool) -> str:
    """Markdown. Raises RuntimeError when a run fails."""
    lines = [
        "| a day of 10,000 events, settings | runs | creation to the end, median | FiltrarDatos' start to the end |",
        "|---|---|---|---|",
    ]
    for name, plain in (("this project's", False),) if quick else (("this project's", False), ("Airflow's own", True)):
        runs = days_in_turn(2 if quick else 4, plain)[1:]
        whole, inner = (median(column) for column in zip(*runs, strict=True))
        lines.append(f"| {name} | {len(runs)} | {whole:.1f} s | {inner:.1f} s |")
    return "\n".join(lines)


def days_in_turn(count: int, plain: bool) -> list[tuple[float, float]]:
    """Runs so many days one after the other; of each the seconds from its creation, and from its first task's start.

    The first is the scheduler's warm-up: its worker processes start with the first task.
    """
    with TemporaryDirectory() as name, Postgres(Path(name) / "postgres", free_port()) as postgres:
        folder = Path(name)
        with s3.s3_server(free_port()) as url:
            postgres.provision("bench", "airflow")
            migrate(postgres.url(MASTER, "bench"))
            postgres.let_log_in("recommendations_pipeline")
            env = s3.environment(url)
            os.environ.update(env)
            storage = boto3.client("s3")
            storage.create_bucket(Bucket="bench")
            days = [FIRST + timedelta(n) for n in range(count)]
            sample.write(sample.make_world(), folder / "logs", days, EVENTS // 2)
            for day in days:
                for log in sample.LOGS:
                    storage.upload_file(str(folder / "logs" / str(day) / log), "bench", f"{day}/{log}")
            env |= {
                "DATABASE_URL": postgres.url("recommendations_pipeline", "bench"),
                "ADVERTISERS_URI": "s3://bench/{ds}/advertiser_ids",
                "PRODUCT_VIEWS_URI": "s3://bench/{ds}/product_views",
                "ADS_VIEWS_URI": "s3://bench/{ds}/ads_views",
                "INTERMEDIATE_URI": "s3://bench/intermediate",
            }
            env |= airflow.environment(folder / "airflow", postgres.url(MASTER, "airflow"), free_port())
            if plain:
                env = {setting: value for setting, value in env.items() if setting not in PLAIN}
            with airflow.services(env) as client:
                return [run_day(client, str(day)) for day in days]


def run_day(client: airflow.Client, day: str) -> tuple[float, float]:
    created = time.time()
    client.backfill("recommendations", day, day, at_once=1)
    while True:
        tasks = client.tasks("recommendations", [day])
        states = {task["state"] for task in tasks}
        if states == {"success"}:
            break
        if states & {"failed", "upstream_failed", "up_for_retry"} or time.time() > created + 120:
            raise RuntimeError(f"{day} did not succeed: {tasks}")
        time.sleep(0.2)
    begun = min(datetime.fromisoformat(task["start_date"]).timestamp() for task in tasks)
    ended = max(datetime.fromisoformat(task["end_date"]).timestamp() for task in tasks)
    return ended - created, ended - begun
