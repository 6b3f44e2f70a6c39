"""`make demo`: the whole system on this machine, with sample logs of the last 8 days, until Ctrl-C."""

import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3

from elt.migrate import migrate
from elt.settings import PROJECT
from local import airflow, s3, sample
from local.api import serve
from local.postgres import MASTER, Postgres

STATE = PROJECT / ".local" / "demo"
DAYS, EVENTS, ADVERTISERS = 8, 20_000, 25
BUCKET = "adtech-logs"
FREE_BYTES = 1_500_000_000

began = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - began:5.1f} s] {text}", flush=True)


def run() -> None:
    """Sets up, runs the days, serves. Raises RuntimeError with a message for the person in front of it."""
    port = int(os.environ.get("PORT", "8000"))
    if airflow.free_port(port) != port:
        raise RuntimeError(f"port {port} is in use (another demo?). Stop what uses it, or: make demo PORT={port + 1}")
    if shutil.disk_usage(PROJECT).free < FREE_BYTES:
        raise RuntimeError(f"less than {FREE_BYTES / 1e9} GB of disk is free at {PROJECT}; make room and start again")
    STATE.mkdir(parents=True, exist_ok=True)
    started = datetime.now(UTC).isoformat()
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(STATE / "postgres", airflow.free_port(54320)))
        postgres.provision("recommendations", "airflow")
        applied = migrate(postgres.url(MASTER, "recommendations"))
        postgres.let_log_in("recommendations_pipeline", "recommendations_api", "recommendations_analyst")
        say(f"PostgreSQL on port {postgres.port} ({len(applied)} schema changes applied)")

        s3_url = stack.enter_context(s3.s3_server(airflow.free_port(9000)))
        env = (
            s3.environment(s3_url)
            | {
                "DATABASE_URL": postgres.url("recommendations_pipeline", "recommendations"),
                "ADVERTISERS_URI": f"s3://{BUCKET}/raw/{{ds}}/advertiser_ids",
                "PRODUCT_VIEWS_URI": f"s3://{BUCKET}/raw/{{ds}}/product_views",
                "ADS_VIEWS_URI": f"s3://{BUCKET}/raw/{{ds}}/ads_views",
                "INTERMEDIATE_URI": f"s3://{BUCKET}/intermediate",
            }
            | airflow.environment(STATE / "airflow", postgres.url(MASTER, "airflow"), airflow.free_port(8080))
        )
        environment = STATE / "environment"
        environment.touch(0o600)
        environment.write_text("".join(f"export {name}='{value}'\n" for name, value in env.items()))
        today = datetime.now(UTC).date()
        days = [today - timedelta(n) for n in range(DAYS, 0, -1)]
        advertiser = land_logs(env, days)
        say(f"S3 on {s3_url}: raw logs of {days[0]} to {days[-1]} landed in s3://{BUCKET}/raw/")

        say("Airflow is starting (on the first run it makes its metadata tables) ...")
        client = stack.enter_context(airflow.services(env))
        say(f"Airflow on {client.url}; running the DAG for {DAYS} days, two at a time")
        process_days(client, [str(day) for day in days], started)

        api = stack.enter_context(
            serve(port, postgres.url("recommendations_api", "recommendations"), STATE / "api.log")
        )
        guide(port, client.url, advertiser, postgres.url("recommendations_analyst", "recommendations"), days[0])
        api.wait()
        raise RuntimeError("the API stopped by itself")


def land_logs(env: dict[str, str], days: list[date]) -> str:
    """Uploads the sample logs; returns the id of an active advertiser."""
    world = sample.make_world(advertisers=ADVERTISERS)
    client = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL_S3"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=BUCKET)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:
        sample.write(world, Path(folder), days, EVENTS)
        files = [(f"{folder}/{day}/{log}", f"raw/{day}/{log}") for day in days for log in sample.LOGS]
        list(pool.map(lambda pair: client.upload_file(pair[0], BUCKET, pair[1]), files))
    return world.active[0]


def process_days(client: airflow.Client, days: list[str], started: str) -> None:
    """Runs the days through the scheduler and says of every task what became of it since `started` (ISO 8601, UTC)."""
    client.backfill("recommendations", days[0], days[-1], at_once=2)
    told: set[tuple[str, str]] = set()
    while {day for day, task in told if task == "DBWriting"} != set(days):
        time.sleep(0.5)
        tasks = client.tasks("recommendations", days)
        in_all = len({(task["day"], task["task_id"]) for task in tasks})
        for task in sorted(tasks, key=lambda task: task["end_date"] or ""):
            day, name, state = task["day"], task["task_id"], task["state"]
            if (day, name) in told or (task["end_date"] or "") < started:
                continue
            if state in ("failed", "upstream_failed", "up_for_retry"):
                raise RuntimeError(f"{day} {name}: {state}; its log is under {STATE / 'airflow' / 'logs'}")
            if state == "success":
                told.add((day, name))
                say(f"{len(told):3}/{in_all}  {day}  {name:13} {task['duration']:5.1f} s")


def guide(port: int, airflow_url: str, advertiser: str, analyst_url: str, first_day: date) -> None:
    api = f"http://127.0.0.1:{port}"
    print(
        f"""
Ready after {time.monotonic() - began:.0f} s.

  The dashboard      {api}/
  The API            {api}/docs
  Airflow            {airflow_url}
  SQL, as an analyst psql '{analyst_url}'

Try:

  curl '{api}/recommendations/{advertiser}'
  curl '{api}/recommendations/{advertiser}/TopCTR'
  curl '{api}/history/{advertiser}/'
  curl '{api}/stats/'

In another terminal, one day by hand, through the same DAG:

  . {(STATE / "environment").relative_to(PROJECT)} && .venv/bin/airflow dags test recommendations {first_day}

Ctrl-C stops everything.
""",
        flush=True,
    )


def main() -> int:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        run()
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
        return 0
    except RuntimeError as error:
        print(f"demo: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
