"""Real parts for the tests: a PostgreSQL whose master is no superuser, an S3 server, a migrated warehouse a test."""

import atexit
import csv
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from copy import copy
from pathlib import Path
from typing import Any

# Airflow reads its settings when it is imported; it must not write into the home of whoever runs the tests.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-")

import boto3
import cluster
import psycopg2
import pytest
from botocore.config import Config

from elt import following, sql, steps
from elt.migrate import migrate
from elt.settings import Settings
from local import s3 as embedded_s3
from local.airflow import free_port
from local.postgres import MASTER, Postgres

atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

DAY = "2024-11-20"
MODELS = [model.name for model in sql.models()]
"""By file name. Answers and what PostgreSQL sorts go by name: sorted(MODELS)."""
ORDINARY_LISTS = 40
"""Rows a model's lists of `ordinary_logs` have: 20 of 25 products, for each of two advertisers."""
ROLES = ("recommendations_pipeline", "recommendations_api", "recommendations_analyst")

URIS = ("advertisers_uri", "product_views_uri", "ads_views_uri", "intermediate_uri")

names = itertools.count(1)


class Warehouse:
    """A database of its own with the current schema."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self.postgres, self.name = postgres, name
        postgres.provision(name)
        migrate(self.url(MASTER))
        postgres.let_log_in(*ROLES)

    def copy(self, name: str) -> "Warehouse":
        """A database like this one, in a quarter of the time that migrating takes. Nobody may be connected to this."""
        made = copy(self)
        made.name = name
        copy_database(self.postgres, self.name, name)
        # Roles are the server's: an earlier test may have changed a password.
        self.postgres.let_log_in(*ROLES)
        return made

    def url(self, role: str) -> str:
        return self.postgres.url(role, self.name)

    def connect(self) -> Any:
        """As the pipeline: the role that the DAG has."""
        return psycopg2.connect(self.url("recommendations_pipeline"))

    def make_months(self, newest: str = DAY, days: int = 1) -> None:
        """So that a test can write the days that end with the newest, as FiltrarDatos would."""
        days_back = "generate_series(0, %s - 1) AS day"
        self.rows(f"SELECT staging.make_month(%s::date - day) FROM {days_back}", newest, days)

    def rows(self, query: str, *params: Any, role: str = "recommendations_pipeline") -> list[tuple[Any, ...]]:
        conn = psycopg2.connect(self.url(role))
        try:
            with conn, conn.cursor() as cursor:
                cursor.execute(query, params or None)
                return [] if cursor.description is None else cursor.fetchall()
        finally:
            conn.close()


def copy_database(postgres: Postgres, template: str, name: str) -> None:
    """Nobody may be connected to the template."""
    if isinstance(postgres, cluster.Cluster):
        postgres.copy(template, name)
        return
    with closing(psycopg2.connect(postgres.url("postgres", "postgres"))) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {MASTER}")
        # Who may connect is not copied with it.
        rights = "SELECT datacl FROM pg_database WHERE datname = %s"
        cursor.execute(f"UPDATE pg_database SET datacl = ({rights}) WHERE datname = %s", (template, name))


class Night:
    """What arrives on S3 for a night, and the steps of the run over it."""

    def __init__(self, warehouse: Warehouse, s3: Any, bucket: str) -> None:
        self.warehouse, self.s3, self.bucket = warehouse, s3, bucket
        self.settings = Settings(
            advertisers_uri=f"s3://{bucket}/advertiser_ids",
            product_views_uri=f"s3://{bucket}/product_views",
            ads_views_uri=f"s3://{bucket}/ads_views",
            intermediate_uri=f"s3://{bucket}/intermediate",
            git_revision="test",
        )

    def environment(self, s3_url: str) -> dict[str, str]:
        """The contract's variables, for a process of its own."""
        uris = {name: getattr(self.settings, name) for name in URIS}
        return (
            embedded_s3.environment(s3_url)
            | {"DATABASE_URL": self.warehouse.url("recommendations_pipeline"), "GIT_REVISION": "test"}
            | {name.upper(): uri for name, uri in uris.items()}
        )

    def put(self, key: str, body: bytes | str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.encode() if isinstance(body, str) else body)

    def deliver(self, active: Iterable[str], views: Iterable[Any], ads: Iterable[Any], under: str = "") -> None:
        self.put(f"{under}advertiser_ids", as_csv(("advertiser_id",), [(a,) for a in active]))
        self.put(f"{under}product_views", as_csv(("advertiser_id", "product_id", "date"), views))
        self.put(f"{under}ads_views", as_csv(("advertiser_id", "product_id", "type", "date"), ads))

    def change(self, **settings: Any) -> None:
        self.settings = self.settings.model_copy(update=settings)

    def load(self, day: str = DAY, **options: Any) -> bool:
        connect = self.warehouse.connect
        return steps.filter_events(day, connect, self.s3, self.settings, **{"run_id": "test", **options})

    def rank(self, day: str = DAY) -> None:
        for model in sql.models():
            steps.build_model(day, model, self.warehouse.connect, self.s3, self.settings)

    def publish(self, day: str = DAY) -> list[str]:
        return steps.publish(day, sql.models(), self.warehouse.connect, self.settings, run_id="test")

    def catch_up(self, day: str = DAY) -> list[str]:
        connect, settings = self.warehouse.connect, self.settings
        return following.catch_up(day, sql.models(), connect, lambda: self.s3, settings, run_id="test")

    def forget(self, day: str = DAY) -> None:
        steps.forget(day, self.warehouse.connect, self.settings)

    def run(self, day: str = DAY, **options: Any) -> list[str]:
        self.load(day, **options)
        self.rank(day)
        connect, settings = self.warehouse.connect, self.settings
        return following.finish(day, sql.models(), connect, lambda: self.s3, settings, run_id="test")

    def top_ctr(self, day: str = DAY) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            "SELECT advertiser_id, rank, product_id, ctr, clicks, impressions FROM marts.top_ctr "
            "WHERE date = %s ORDER BY advertiser_id, rank",
            day,
        )

    def top_product(self, day: str = DAY) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            "SELECT advertiser_id, rank, product_id, views FROM marts.top_product "
            "WHERE date = %s ORDER BY advertiser_id, rank",
            day,
        )

    def smoothed_ctr(self, day: str = DAY) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(
            "SELECT advertiser_id, rank, product_id, smoothed_ctr, clicks, impressions, days FROM marts.smoothed_ctr "
            "WHERE date = %s ORDER BY advertiser_id, rank",
            day,
        )

    def lists(self, day: str = DAY) -> tuple[list[tuple[Any, ...]], ...]:
        return self.top_ctr(day), self.top_product(day), self.smoothed_ctr(day)

    def accounting(self, source: str, day: str = DAY) -> dict[str, int]:
        columns = ("delivered", "kept", "other_day", "inactive", "rejected")
        (row,) = self.warehouse.rows(
            "SELECT delivered, kept, other_day, inactive, rejected FROM staging.accounting "
            "WHERE date = %s AND source = %s",
            day,
            source,
        )
        return dict(zip(columns, row, strict=True))

    def object(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()


def as_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(header)
    out.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    # Nobody needs these data after a power cut, nor is there time to vacuum the hundreds of databases; that a crash
    # loses nothing is tested on servers with the defaults.
    hasty = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes", "autovacuum"), "off")
    folder = tmp_path_factory.mktemp("postgres")
    if not cluster.WANTED:
        with Postgres(folder / "data", free_port(), **hasty) as server:
            yield server
    elif url := os.environ.get("CITUS_URL"):
        yield cluster.Given(url)
    else:
        with cluster.started(folder, **hasty) as server:
            yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_warehouse(postgres: Postgres) -> Warehouse:
    """For copies: nothing is written into it, and nobody stays connected to it."""
    return Warehouse(postgres, "migrated")


@pytest.fixture
def warehouse(migrated_warehouse: Warehouse) -> Iterator[Warehouse]:
    made = migrated_warehouse.copy(f"test_{next(names)}")
    yield made
    if isinstance(made.postgres, cluster.Cluster):
        made.postgres.drop(made.name)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/, which a test may change."""
    shutil.copytree(sql.SQL, tmp_path / "sql")
    monkeypatch.setattr(sql, "SQL", tmp_path / "sql")
    return tmp_path / "sql"


@pytest.fixture
def nobody_reads(warehouse: Warehouse) -> None:
    """No API runs in the test: no publication need wait 0.25 s until the leases of readers have run out."""
    function = "FUNCTION marts.commit_after_leases() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    warehouse.rows(f"CREATE OR REPLACE {function}", role=MASTER)


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with embedded_s3.s3_server(free_port()) as url:
        yield url


@pytest.fixture(scope="session")
def s3(s3_url: str) -> Any:
    return s3_client(s3_url, attempts=3)


def s3_client(url: str, attempts: int) -> Any:
    env = embedded_s3.environment(url)
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}),
    )


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"bucket-{next(names)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def night(warehouse: Warehouse, s3: Any, bucket: str) -> Night:
    return Night(warehouse, s3, bucket)


@pytest.fixture
def delivered(night: Night) -> Night:
    """A night with an ordinary delivery: two active advertisers and one that is not, 25 products each."""
    night.deliver(*ordinary_logs())
    return night


def ordinary_logs(day: str = DAY, shift: int = 0) -> tuple[list[str], list[Any], list[Any]]:
    """Active advertisers, views, ad events; `shift` makes other lists."""
    views, ads = [], []
    for advertiser in ("ACME", "BOLT", "GONE"):
        for n in range(25):
            product = f"p{n:02}"
            views += [(advertiser, product, day)] * ((n + shift) % 7 + 1)
            ads += [(advertiser, product, "impression", day)] * 10
            ads += [(advertiser, product, "click", day)] * ((n + shift) % 5)
    return ["ACME", "BOLT"], views, ads


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of several hands what it survived to the one that reports."""
    import chaos

    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["figures"] = chaos.figures


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    import chaos

    chaos.figures.extend(getattr(node, "workeroutput", {}).get("figures", []))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    import chaos

    for figure in chaos.figures:
        terminalreporter.write_line(f"survived: {figure}")


@pytest.fixture
def logs_folder(request: pytest.FixtureRequest) -> Path:
    """The raw logs of 2024, which are not part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "2024"
    if not folder.is_dir():
        pytest.skip("the raw logs of 2024 are not here; they are no part of the project")
    return folder
