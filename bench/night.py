"""The night at one size: `python -m bench.night --events 10000000`. Time by step, and the client's peak memory.

The pipeline's own code runs in a process of its own against embedded PostgreSQL and S3, so that its memory is the
client's alone.
"""

import argparse
import logging
import os
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import psycopg2

from elt import sql, steps
from elt.migrate import migrate
from elt.settings import load_settings
from local import s3, sample
from local.airflow import free_port
from local.postgres import MASTER, Postgres

DAY = date(2024, 11, 20)


def client() -> None:
    """The steps of the run, timed; then the peak resident memory of this process, in MB."""
    logging.basicConfig(level=logging.INFO, format="    %(message)s")
    for name in ("botocore", "boto3", "smart_open", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    settings, storage = load_settings(), boto3.client("s3")
    url = settings.database_url.get_secret_value()
    connect = lambda: psycopg2.connect(url)  # noqa: E731
    models = sql.models()
    begun = time.perf_counter()
    parts = [("FiltrarDatos", lambda: steps.filter_events(str(DAY), connect, storage, settings, run_id="bench"))]
    for model in models:
        parts.append((model.name, lambda m=model: steps.build_model(str(DAY), m, connect, storage, settings)))
    parts.append(("DBWriting", lambda: steps.publish(str(DAY), models, connect, settings, run_id="bench")))
    for name, step in parts:
        started = time.perf_counter()
        step()
        print(f"  {name:14} {time.perf_counter() - started:7.2f} s", flush=True)
    print(f"  {'the night':14} {time.perf_counter() - begun:7.2f} s")
    print(f"  client memory, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.night", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="lines of each of the two logs")
    parser.add_argument("--advertisers", type=int, default=100)
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        client()
        return 0
    with TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres", free_port()) as postgres:
        with s3.s3_server(free_port()) as s3_url:
            postgres.provision("bench")
            migrate(postgres.url(MASTER, "bench"))
            postgres.let_log_in("recommendations_pipeline")
            env = s3.environment(s3_url) | {"DATABASE_URL": postgres.url("recommendations_pipeline", "bench")}
            os.environ.update(env)
            storage = boto3.client("s3")
            storage.create_bucket(Bucket="bench")
            logs = Path(folder) / "logs"
            sample.write(sample.make_world(advertisers=arguments.advertisers), logs, [DAY], arguments.events)
            for name, variable in zip(
                sample.LOGS, ("ADVERTISERS_URI", "PRODUCT_VIEWS_URI", "ADS_VIEWS_URI"), strict=True
            ):
                file = logs / str(DAY) / name
                print(f"{name}: {file.stat().st_size / 1e6:,.0f} MB", flush=True)
                storage.upload_file(str(file), "bench", name)
                os.environ[variable] = f"s3://bench/{name}"
            os.environ["INTERMEDIATE_URI"] = "s3://bench/intermediate"
            return subprocess.run([sys.executable, "-m", "bench.night", "--client"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
