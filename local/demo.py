"""`make demo`: the whole system on this machine, with sample logs of the last 30 days, until Ctrl-C."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3

from elt.migrate import migrate
from elt.settings import PROJECT
from local import airflow, s3, sample
from local.api import serve
from local.postgres import MASTER, Postgres

STATE = PROJECT / ".local" / "demo"
DAYS, EVENTS, ADVERTISERS = 30, 20_000, 25
SCHEDULED = 4
"""The newest days, which go through Airflow's scheduler; those before them are rebuilt without it, in seconds."""
BROKEN, AGAIN = 9, 6
"""Days before today: the night whose log has lines that can not be read, and the one that is delivered twice."""
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
            | environment(postgres)
            | airflow.environment(STATE / "airflow", postgres.url(MASTER, "airflow"), airflow.free_port(8080))
        )
        written = STATE / "environment"
        written.touch(0o600)
        written.write_text("".join(f"export {name}='{value}'\n" for name, value in env.items()))
        today = datetime.now(UTC).date()
        days = [today - timedelta(n) for n in range(DAYS, 0, -1)]
        advertiser = land_logs(env, days)
        say(f"S3 on {s3_url}: raw logs of {days[0]} to {days[-1]} landed in s3://{BUCKET}/raw/")
        say(f"python -m elt rebuild: the first {DAYS - SCHEDULED} days, without Airflow")
        rebuild(env, days[0], days[-SCHEDULED - 1])
        again = today - timedelta(AGAIN)
        deliver_again(env, again)
        say(f"the log of {again} was delivered again, with more in it")
        rebuild(env, again, again)

        say("Airflow is starting (on the first run it makes its metadata tables) ...")
        client = stack.enter_context(airflow.services(env))
        say(f"Airflow on {client.url}; running the DAG for the {SCHEDULED} newest days, two at a time")
        process_days(client, [str(day) for day in days[-SCHEDULED:]], started)

        api = stack.enter_context(
            serve(port, postgres.url("recommendations_api", "recommendations"), STATE / "api.log")
        )
        guide(port, client.url, advertiser, postgres.url("recommendations_analyst", "recommendations"), days[-1])
        api.wait()
        raise RuntimeError("the API stopped by itself")


def environment(postgres: Postgres) -> dict[str, str]:
    """The contract's variables."""
    return {
        "DATABASE_URL": postgres.url("recommendations_pipeline", "recommendations"),
        "ADVERTISERS_URI": f"s3://{BUCKET}/raw/{{ds}}/advertiser_ids",
        "PRODUCT_VIEWS_URI": f"s3://{BUCKET}/raw/{{ds}}/product_views",
        "ADS_VIEWS_URI": f"s3://{BUCKET}/raw/{{ds}}/ads_views",
        "INTERMEDIATE_URI": f"s3://{BUCKET}/intermediate",
    }


def bucket_of(env: dict[str, str]) -> Any:
    """A client of the demo's S3."""
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL_S3"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def land_logs(env: dict[str, str], days: list[date]) -> str:
    """Uploads the sample logs, some lines of one of them broken; returns the id of an active advertiser."""
    world = sample.make_world(advertisers=ADVERTISERS)
    client = bucket_of(env)
    client.create_bucket(Bucket=BUCKET)
    broken = days[-BROKEN]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(4) as pool:
        sample.write(world, Path(folder), days, EVENTS)
        with open(f"{folder}/{broken}/ads_views", "a") as log:
            log.write("cut off in the midd\n" * 40 + f"{world.active[0]},x,hover,{broken}\n" * 25)
        files = [(f"{folder}/{day}/{log}", f"raw/{day}/{log}") for day in days for log in sample.LOGS]
        list(pool.map(lambda pair: client.upload_file(pair[0], BUCKET, pair[1]), files))
    return world.active[0]


def deliver_again(env: dict[str, str], day: date) -> None:
    """Puts the day's ads log in place of itself with its first thousand lines once more."""
    client, key = bucket_of(env), f"raw/{day}/ads_views"
    lines = client.get_object(Bucket=BUCKET, Key=key)["Body"].read().splitlines(keepends=True)
    client.put_object(Bucket=BUCKET, Key=key, Body=b"".join([*lines, *lines[1:1001]]))


def rebuild(env: dict[str, str], first: date, last: date) -> None:
    command = [sys.executable, "-m", "elt", "rebuild", "--from", str(first), "--to", str(last)]
    if subprocess.run(command, cwd=PROJECT, env=os.environ | env).returncode:
        raise RuntimeError("the rebuild failed; its lines above say why")


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


def guide(port: int, airflow_url: str, advertiser: str, analyst_url: str, newest: date) -> None:
    api = f"http://127.0.0.1:{port}"
    print(
        f"""
Ready after {time.monotonic() - began:.0f} s.

  The API            {api}/docs
  Airflow            {airflow_url}
  SQL, as an analyst psql '{analyst_url}'

Try:

  curl '{api}/recommendations/{advertiser}'
  curl '{api}/recommendations/{advertiser}/TopCTR'
  curl '{api}/history/{advertiser}/'
  curl '{api}/stats/'

In another terminal, a day again, through the scheduler:

  . {(STATE / "environment").relative_to(PROJECT)}
  .venv/bin/airflow backfill create --dag-id recommendations --reprocess-behavior completed \\
      --from-date {newest} --to-date {newest}

Look at it (Ctrl-C stops everything):

  {api}/
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
