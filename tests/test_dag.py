"""The DAG, three ways: imported, by `airflow dags test`, and through the real scheduler with LocalExecutor."""

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chaos
import httpx
import psutil
import psycopg2
import pytest
from airflow.sdk.exceptions import AirflowFailException
from conftest import DAY, MODELS, ORDINARY_LISTS, URIS, Night, Warehouse, copy_database, ordinary_logs

from elt import notices, sql, steps, withdrawals
from elt.errors import NotYet, PipelineError
from elt.settings import PROJECT, Settings
from elt.warehouse import lock_day, lock_model
from local import airflow
from local.api import serve
from local.postgres import MASTER, Postgres


@pytest.fixture(scope="module")
def dag() -> Any:
    spec = importlib.util.spec_from_file_location("dag_file", PROJECT / "dags" / "recommendations.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="dag_file")
        spec.loader.exec_module(module)
    return module.dag


def test_it_has_the_names_and_the_order_of_the_contract(dag: Any) -> None:
    assert dag.dag_id == "recommendations"
    assert {"SmoothedCTR", "TopCTR", "TopProduct"} <= set(MODELS)
    assert {task: set(dag.get_task(task).downstream_task_ids) for task in dag.task_ids} == {
        "FiltrarDatos": set(MODELS),
        **{model: {"DBWriting"} for model in MODELS},
        "DBWriting": set(),
    }


def test_the_version_is_written_in_one_place(dag: Any) -> None:
    """The DAG says it, an installation is called by it, and the changelog tells what it brought."""
    version = (PROJECT / "VERSION").read_text().strip()
    assert f"Version {version}." in dag.doc_md
    assert f"\n## {version} - " in (PROJECT / "CHANGELOG.md").read_text()
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]


def test_it_is_set_up_for_the_night(dag: Any) -> None:
    assert dag.catchup is False
    assert {"reload": False, "incomplete": False}.items() <= dag.params.dump().items()
    assert dag.max_active_runs == 2
    assert dag.doc_md
    assert dag.tags
    for task in dag.tasks:
        assert task.owner == "data-engineering"
        assert task.retries >= 4
        assert task.retry_exponential_backoff
        assert task.execution_timeout
    assert [(asset.name, asset.uri) for asset in dag.get_task("DBWriting").outlets] == [
        ("recommendations", "recommendations"),
        ("recommendations_by_day", "x-recommendations://marts/recommendations"),
    ]


def test_late_logs_are_waited_for_about_four_hours(dag: Any) -> None:
    task = dag.get_task("FiltrarDatos")
    waits = [min(task.retry_delay * 2**n, task.max_retry_delay) for n in range(task.retries)]
    assert timedelta(hours=4) < sum(waits, timedelta()) < timedelta(hours=5)


def test_what_tasks_are_forked_from_can_be_imported() -> None:
    """The fork server passes over a module that it does not find, and every task is slow again."""
    assert [name for name in airflow.PRELOADED if importlib.util.find_spec(name) is None] == []


def test_it_knows_no_sql_and_no_rule() -> None:
    text = (PROJECT / "dags" / "recommendations.py").read_text()
    assert "SELECT" not in text
    assert len(text.splitlines()) < 130


def test_the_machine_on_aws_runs_airflow_as_it_is_run_here(tmp_path: Path) -> None:
    lines = (PROJECT / "deploy" / "airflow.env").read_text().splitlines()
    there = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    here = airflow.environment(tmp_path, "postgresql://x@127.0.0.1/x", 8080)
    shared = {name for name in here if name in there and not name.endswith(("_HOME", "_FOLDER", "_ALL_ADMINS"))}
    assert {"AIRFLOW__CORE__PARALLELISM", "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"} <= shared
    different = {name for name in shared if here[name] != there[name]}
    assert different == {"AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL"}


def test_only_what_waiting_may_cure_is_left_to_the_retries(
    delivered: Night, s3_url: str, dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps are the real ones; of Airflow only the context is made up."""
    for name, value in delivered.environment(s3_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_RECOMMENDATIONS_DB", delivered.warehouse.url("recommendations_pipeline"))
    of_the_file = dag.get_task("FiltrarDatos").python_callable.__globals__
    context: dict[str, Any] = {
        "logical_date": datetime.fromisoformat(f"{DAY}T00:00Z"),
        "dag_run": SimpleNamespace(triggering_user_name=""),
    }
    monkeypatch.setitem(of_the_file, "get_current_context", lambda: context)
    run_step, models = of_the_file["run_step"], sql.models()

    with pytest.raises(AirflowFailException, match=f"{models[0].name}: 2024-11-20 is not loaded"):
        run_step(steps.build_model, model=models[0], s3=delivered.s3)
    with pytest.raises(NotYet, match="not built from the day's newest load"):
        run_step(steps.publish, models=models, run_id="test")
    chaos.set_read_only(delivered.warehouse, True)
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        run_step(steps.filter_events, s3=delivered.s3, run_id="test")
    chaos.set_read_only(delivered.warehouse, False)
    monkeypatch.setattr("elt.connections._exists", lambda name: name == "recommendations_db")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "nonsense")
    monkeypatch.setitem(context, "run_id", "test")
    monkeypatch.setitem(context, "params", {"reload": False, "incomplete": False})
    task = dag.get_task("FiltrarDatos")
    context["ti"] = SimpleNamespace(try_number=1, max_tries=task.retries, task=task)
    for task in (dag.get_task("FiltrarDatos").python_callable, partial(dag.get_task("TopCTR").python_callable, 0)):
        with pytest.raises(AirflowFailException, match=r"^S3: Invalid endpoint: nonsense; set AWS_ENDPOINT_URL_S3"):
            task()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    context["dag_run"].triggering_user_name = "dag_test"
    with pytest.raises(AirflowFailException, match="not built from the day's newest load"):
        run_step(steps.publish, models=models, run_id="test")
    chaos.set_read_only(delivered.warehouse, True)
    with pytest.raises(AirflowFailException, match=r"read-only transaction \(a scheduled run would try again\)"):
        run_step(steps.filter_events, s3=delivered.s3, run_id="test")
    chaos.set_read_only(delivered.warehouse, False)

    for moment in ("2024-11-20T15:00Z", "2024-11-20T00:00+09:00", "2024-11-20T00:00:00.000001Z"):
        context["logical_date"] = datetime.fromisoformat(moment)
        with pytest.raises(AirflowFailException, match=r"the logical date 2024-11-20T.* is not midnight UTC"):
            run_step(steps.filter_events, s3=delivered.s3, run_id="test")
    context["logical_date"] = datetime.fromisoformat("2024-11-20T09:00+09:00")
    assert run_step(steps.filter_events, s3=delivered.s3, run_id="test") is True
    context["logical_date"] = None
    with pytest.raises(AirflowFailException, match="this run has no logical date"):
        run_step(steps.filter_events, s3=delivered.s3, run_id="test")
    context["logical_date"] = datetime.combine(datetime.now(UTC), datetime.min.time(), UTC)
    with pytest.raises(AirflowFailException, match=r"has not ended(?s:.*)The newest log day there can be is"):
        run_step(steps.filter_events, s3=delivered.s3, run_id="test")


def test_a_retry_of_a_run_that_began_before_brings_no_withdrawn_day_back(
    delivered: Night, s3_url: str, dag: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first task tries for hours; somebody withdraws the day meanwhile, and then clears the run."""
    delivered.load()
    delivered.rank()
    delivered.publish()
    delivered.deliver(*ordinary_logs("2024-11-21"))
    delivered.run("2024-11-21")
    delivered.deliver(*ordinary_logs())
    for name, value in delivered.environment(s3_url).items():
        monkeypatch.setenv(name, value)
    task = dag.get_task("FiltrarDatos")
    context = {
        "logical_date": datetime.fromisoformat(f"{DAY}T00:00Z"),
        "dag_run": SimpleNamespace(triggering_user_name=""),
        "run_id": "scheduled__1",
        "params": {"reload": False, "incomplete": False},
        "ti": SimpleNamespace(try_number=2, max_tries=task.retries, task=task),
    }
    monkeypatch.setitem(task.python_callable.__globals__, "get_current_context", lambda: context)
    withdrawals.withdraw(DAY, delivered.warehouse.connect, why="wrong", by="ana")
    loads = "SELECT load_id FROM staging.loads ORDER BY date"
    before = delivered.warehouse.rows(loads)
    with pytest.raises(AirflowFailException, match=f"{DAY} is withdrawn, by ana"):
        task.python_callable()
    assert delivered.warehouse.rows(loads) == before, "restore could not give back what was loaded over"
    context["ti"] = SimpleNamespace(try_number=3, max_tries=2 + task.retries, task=task)
    task.python_callable()
    delivered.rank()
    assert delivered.publish() == MODELS


@pytest.fixture(scope="module")
def metadata(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with Airflow's schema, for copies: `airflow db migrate` takes longer than most tests."""
    postgres.provision("airflow")
    url = postgres.url(MASTER, "airflow")
    done = run_airflow(airflow.environment(tmp_path_factory.mktemp("airflow"), url, 0), "db", "migrate")
    assert done.returncode == 0, done.stderr
    return "airflow"


@pytest.fixture
def environment(night: Night, metadata: str, s3_url: str, tmp_path: Path) -> dict[str, str]:
    """What Airflow's processes are told: the contract's variables, the embedded services, metadata of their own."""
    postgres, own = night.warehouse.postgres, f"{night.warehouse.name}_airflow"
    copy_database(postgres, metadata, own)
    return night.environment(s3_url) | airflow.environment(
        tmp_path / "airflow", postgres.url(MASTER, own), airflow.free_port()
    )


def run_airflow(env: dict[str, str], *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [airflow.AIRFLOW, *arguments],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


NEW_MODEL = """\
-- ClickedToday: the products of an advertiser with the most clicks of the day.
-- Grain: advertiser, rank. Parameters: ds, the log day.
SELECT
    ranked.advertiser_id,
    ranked.rank,
    ranked.product_id,
    ranked.clicks AS score,
    ranked.clicks
FROM (
    SELECT
        product_daily.*,
        row_number() OVER (
            PARTITION BY product_daily.advertiser_id ORDER BY product_daily.clicks DESC, product_daily.product_id ASC
        ) AS rank
    FROM staging.product_daily
    WHERE product_daily.date = %(ds)s::date
) AS ranked
WHERE ranked.rank <= 20;
"""


@pytest.mark.model_blind
def test_a_model_file_dropped_in_is_built_published_and_served(
    delivered: Night, environment: dict[str, str], tmp_path: Path
) -> None:
    """By `airflow dags test`, on a copy of the project with one more file and no other change."""
    copy = tmp_path / "project"
    for part in ("dags", "elt", "sql"):
        shutil.copytree(PROJECT / part, copy / part)
    shutil.copy(PROJECT / "VERSION", copy)
    (copy / "sql" / "models" / "clicked_today.sql").write_text(NEW_MODEL)
    env = environment | {"PYTHONPATH": str(copy), "AIRFLOW__CORE__DAGS_FOLDER": str(copy / "dags")}

    done = run_airflow(env, "dags", "test", "recommendations", DAY)
    assert done.returncode == 0, done.stdout[-3000:]
    assert delivered.warehouse.rows("SELECT model, date::text FROM marts.publications ORDER BY model") == [
        (model, DAY) for model in sorted(["ClickedToday", *MODELS])
    ]
    port = airflow.free_port()
    with serve(port, delivered.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        api = httpx.Client(base_url=f"http://127.0.0.1:{port}")
        answer = api.get("/recommendations/ACME/clicked-today").json()
        assert (answer["model"], answer["count"]) == ("ClickedToday", 20)
        assert answer["recommendations"][0] == {"rank": 1, "product_id": "p04", "clicks": 4}
        assert set(api.get("/history/ACME").json()["history"][DAY]) == {"ClickedToday", *MODELS}
        assert len(api.get("/stats").json()["agreement"]) == 2 * math.comb(len(MODELS) + 1, 2)
    keys = [item["Key"] for item in delivered.s3.list_objects_v2(Bucket=delivered.bucket)["Contents"]]
    assert f"intermediate/date={DAY}/ClickedToday.csv.gz" in keys

    migrate = subprocess.run(
        [sys.executable, "-m", "elt", "migrate"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | env | {"DATABASE_URL": delivered.warehouse.url(MASTER)},
        cwd=copy,
    )
    assert migrate.stdout == "made the view marts.clicked_today of sql/models/clicked_today.sql\n"
    assert delivered.warehouse.rows(
        "SELECT rank, product_id, clicks FROM marts.clicked_today WHERE advertiser_id = 'ACME' ORDER BY rank LIMIT 1",
        role="recommendations_analyst",
    ) == [(1, "p04", 4)]


@contextmanager
def web_hook(status: int = 200) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server like Slack's: its URL, and the path and the body of every request that came."""
    received: list[tuple[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/login")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


@pytest.mark.model_blind
def test_a_web_hook_that_fails_fails_nothing_and_its_url_stays_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NOTICES_TOPIC_ARN", raising=False)
    monkeypatch.delenv("NOTICE_WEBHOOK_URL", raising=False)
    assert notices.on_failure() == []
    with web_hook(500) as (refuses, received), web_hook(302) as (leads_elsewhere, also_received):
        for url in (
            f"{refuses}/hush",
            f"{leads_elsewhere}/hush",
            f"http://127.0.0.1:{airflow.free_port()}/hush",
            "hush://nowhere",
            "hush",
        ):
            monkeypatch.setenv("NOTICE_WEBHOOK_URL", url)
            (notifier,) = notices.on_failure()
            notifier.text = "{{ ds }} failed"
            notifier({"dag": None, "ds": DAY})
    assert received == also_received == [("/hush", {"text": f"{DAY} failed"})]
    said = caplog.text + "".join(capfd.readouterr())
    assert said.count("the web hook was not told") >= 5
    assert "(HTTP 500)" in said
    assert "(HTTP 302)" in said
    assert "hush" not in said


@pytest.mark.model_blind
def test_a_failed_day_says_why_and_is_not_retried_in_vain(delivered: Night, environment: dict[str, str]) -> None:
    delivered.put("ads_views", "advertiser,product,type,date\n")
    with web_hook() as (url, received):
        told = {"NOTICE_WEBHOOK_URL": f"{url}/services/hush"}
        done = run_airflow(environment | told, "dags", "test", "recommendations", DAY)
    assert done.returncode != 0
    ((path, body),) = received
    assert path == "/services/hush"
    assert body["text"].startswith(f"recommendations {DAY}: FiltrarDatos failed\nDay: {DAY}\n")
    assert "no column 'advertiser_id'" in body["text"]
    assert "hush" not in done.stdout + done.stderr
    assert "no column 'advertiser_id', no column 'product_id' in the header" in done.stdout
    assert delivered.warehouse.rows("TABLE marts.publications") == []
    password = delivered.warehouse.postgres.password
    assert password not in done.stdout + done.stderr


@pytest.mark.model_blind
def test_a_day_by_hand_is_run_whatever_its_year_and_one_without_logs_says_so_at_once(
    delivered: Night, environment: dict[str, str]
) -> None:
    delivered.deliver(*ordinary_logs("1999-12-31"))
    done = run_airflow(environment, "dags", "test", "recommendations", "1999-12-31")
    assert done.returncode == 0, done.stdout[-3000:]
    assert delivered.warehouse.rows("SELECT DISTINCT date::text FROM marts.publications") == [("1999-12-31",)]

    began = time.monotonic()
    done = run_airflow(environment, "dags", "test", "recommendations", "1999-12-30", timeout=60)
    assert done.returncode != 0
    assert "no line of 1999-12-30 yet in: " in done.stdout
    assert time.monotonic() - began < 50, "a scheduled run would try again after a minute"


CONSUMERS = """
import json, os
from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, get_current_context, task

LISTS = Asset("recommendations")
BY_DAY = Asset("recommendations_by_day", uri="x-recommendations://marts/recommendations")

@task
def note(asset):
    context = get_current_context()
    for event in context["triggering_asset_events"][asset]:
        with open(os.environ["CONSUMED"], "a") as file:
            print(json.dumps([context["dag"].dag_id, context["dag_run"].partition_key, event.extra]), file=file)

with DAG("wants_each_day", schedule=PartitionedAssetTimetable(assets=BY_DAY)):
    note(BY_DAY)
with DAG("wants_any_day", schedule=[LISTS]):
    note(LISTS)
"""


@pytest.fixture
def scheduled(night: Night, environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[airflow.Client, list[str]]]:
    """Airflow's three services, and on S3 the logs of yesterday and of the two days before."""
    today = datetime.now(UTC).date()
    days = [str(today - timedelta(n)) for n in (3, 2, 1)]
    for shift, day in enumerate(days):
        night.deliver(*ordinary_logs(day, shift), under=f"{day}/")
    uris = {
        name: environment[name].rpartition("/")[0] + "/{ds}/" + environment[name].rpartition("/")[2]
        for name in ("ADVERTISERS_URI", "PRODUCT_VIEWS_URI", "ADS_VIEWS_URI")
    }
    dags = tmp_path / "dags"
    shutil.copytree(PROJECT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    (dags / "consumers.py").write_text(CONSUMERS)
    others = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "CONSUMED": str(tmp_path / "consumed")}
    with airflow.services(environment | uris | others) as client:
        yield client, days


@pytest.mark.model_blind
def test_the_scheduler_runs_the_day_that_just_ended_and_any_past_day(
    scheduled: tuple[airflow.Client, list[str]], night: Night, warehouse: Warehouse, tmp_path: Path
) -> None:
    client, days = scheduled
    yesterday = days[-1]
    # Nobody asked for yesterday: the schedule does, because its interval has ended.
    wait_for(lambda: published(warehouse) >= {yesterday}, client, days)
    assert published(warehouse) == {yesterday}
    client.backfill("recommendations", days[0], days[1], at_once=2)
    wait_for(lambda: published(warehouse) == set(days), client, days)
    wait_for(lambda: all(task["state"] == "success" for task in client.tasks("recommendations", days)), client, days)
    tasks = client.tasks("recommendations", days)
    assert {(task["day"], task["task_id"]) for task in tasks} == {
        (day, name) for day in days for name in ("FiltrarDatos", *MODELS, "DBWriting")
    }
    assert_no_secret_was_written(warehouse, tmp_path / "airflow")

    # Who wants to know is told which day came, and what came of it; so is who looks at the task.
    def consumed() -> list[Any]:
        file = tmp_path / "consumed"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    wait_for(lambda: {day for _, day, _ in consumed()} >= set(days), client, days)
    wait_for(lambda: "wants_any_day" in {dag_id for dag_id, *_ in consumed()}, client, days)
    lists = {"advertisers": 2, "products": ORDINARY_LISTS}
    for dag_id, day, told in consumed():
        assert (day is None) == (dag_id == "wants_any_day")
        assert day in (None, told["date"], *told["also_published"])
        assert {model: found | lists for model, found in told["models"].items()} == told["models"]
        assert set(told["models"]) == set(MODELS)
    newest = max((told for _, _, told in consumed()), key=lambda told: told["date"])
    assert newest["date"] == yesterday
    assert 0 < newest["hours_after_the_day"] < 25
    returned = {task["task_id"]: client.returned(task) for task in tasks if task["day"] == days[0]}
    assert returned["TopCTR"] == {"candidates": ORDINARY_LISTS}
    assert returned["DBWriting"]["date"] == days[0]
    assert returned["FiltrarDatos"]["active_advertisers"] == 2
    assert returned["FiltrarDatos"]["lines"]["ads_views"] == night.accounting("ads_views", days[0])

    # Logs that have not come yet: the first task waits for them.
    late = str(datetime.now(UTC).date() - timedelta(9))
    client.backfill("recommendations", late, late, at_once=1)

    def states() -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in client.tasks("recommendations", [late])}

    wait_for(lambda: states().get("FiltrarDatos") == "up_for_retry", client, [late])
    assert {states()[task] for task in (*MODELS, "DBWriting")} == {None}
    assert {task["try_number"] for task in tasks} == {1}

    # To run a withdrawn day again brings it back.
    withdrawals.withdraw(days[0], warehouse.connect, why="wrong", by="ana")
    client.backfill("recommendations", days[0], days[0], at_once=1)
    wait_for(lambda: published(warehouse) == set(days), client, days)
    rows = (ORDINARY_LISTS * len(MODELS),)
    for day in days:
        assert warehouse.rows("SELECT count(*) FROM marts.recommendations WHERE date = %s", day) == [rows]


EACH_ON_ITS_OWN_MACHINE = """
import json, os, subprocess, sys
from pathlib import Path
from airflow.executors.base_executor import BaseExecutor

class Machines(BaseExecutor):
    def start(self):
        self.processes = {}

    def _process_workloads(self, workloads):
        for workload in workloads:
            del self.queued_tasks[workload.key]
            self.running.add(workload.key)
            machine = Path(os.environ["MACHINES"], workload.ti.task_id)
            folders = {name: str(machine / name) for name in ("HOME", "TMPDIR", "AIRFLOW_HOME")}
            for folder in folders.values():
                os.makedirs(folder)
            command = [sys.executable, "-m", "airflow.sdk.execution_time.execute_workload", "--json-string"]
            self.processes[workload.key] = subprocess.Popen(
                [*command, workload.model_dump_json()],
                env=json.loads(os.environ["OF_A_MACHINE"]) | folders,
                cwd=folders["HOME"],
                stdout=(machine / "log").open("wb"),
                stderr=subprocess.STDOUT,
            )

    def sync(self):
        for key, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[key]
                self.fail(key) if process.returncode else self.success(key)

    def end(self):
        for process in self.processes.values():
            process.wait()

    terminate = end
"""
"""An executor that starts each task as those of Kubernetes and ECS do: by its workload, where none has been before."""


@pytest.mark.chaos
@pytest.mark.skipif(
    not chaos.LONG, reason="a minute of processor time, most of it Airflow's imports; make chaos runs it"
)
def test_steps_keep_nothing_on_a_machine_between_tasks(
    delivered: Night, environment: dict[str, str], migrated_warehouse: Warehouse, s3_url: str, tmp_path: Path
) -> None:
    """Of two models. A machine knows the project, the contract's variables and where Airflow's API is; no metadata."""
    yesterday = str(datetime.now(UTC).date() - timedelta(1))
    delivered.deliver(*ordinary_logs(yesterday))
    project, machines = tmp_path / "project", tmp_path / "machines"
    for part in ("dags", "elt", "sql"):
        shutil.copytree(PROJECT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "VERSION", project)
    for model in sql.models():
        if model.name not in ("TopCTR", "TopProduct"):
            (project / "sql" / "models" / f"{model.relation}.sql").unlink()
    (project / "machines.py").write_text(EACH_ON_ITS_OWN_MACHINE)
    machines.mkdir()
    of_all = {
        "PYTHONPATH": str(project),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "PATH": os.environ["PATH"],
    }
    api = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
    of_a_machine = delivered.environment(s3_url) | of_all | {api: environment[api], "PYTHONDONTWRITEBYTECODE": "1"}
    scheduler = (
        environment
        | of_all
        | {
            "AIRFLOW__CORE__EXECUTOR": "machines.Machines",
            "MACHINES": str(machines),
            "OF_A_MACHINE": json.dumps(of_a_machine),
        }
    )
    with airflow.services(scheduler) as client:
        wait_for(lambda: published(delivered.warehouse) == {yesterday}, client, [yesterday])
        tasks = client.tasks("recommendations", [yesterday])
    names = {"FiltrarDatos", "TopCTR", "TopProduct", "DBWriting"}
    assert {(task["task_id"], task["try_number"]) for task in tasks} == {(name, 1) for name in names}
    assert {machine.name for machine in machines.iterdir()} == names
    left = {
        str(file.relative_to(machine))
        for machine in machines.iterdir()
        for file in machine.rglob("*")
        if file.is_file()
    }
    assert {file for file in left if not file.startswith("AIRFLOW_HOME/")} == {"log"}
    assert not {file for file in left if "/logs/" not in file} - {"log", "AIRFLOW_HOME/airflow.cfg"}
    one = Night(migrated_warehouse.copy(f"{delivered.warehouse.name}_one"), delivered.s3, delivered.bucket)
    one.run(yesterday)
    assert one.top_ctr(yesterday) == delivered.top_ctr(yesterday) != []
    assert one.top_product(yesterday) == delivered.top_product(yesterday) != []


def assert_no_secret_was_written(warehouse: Warehouse, airflow_home: Path) -> None:
    """Not in any log of the services or tasks, not in XCom, not in a rendered template."""
    secret = warehouse.postgres.password.encode()
    files = [file for file in airflow_home.rglob("*") if file.is_file()]
    assert any("FiltrarDatos" in str(file) for file in files)
    assert [str(file) for file in files if secret in file.read_bytes()] == []
    metadata = psycopg2.connect(warehouse.postgres.url(MASTER, f"{warehouse.name}_airflow"))
    with metadata.cursor() as cursor:
        for table in ("xcom", "rendered_task_instance_fields", "log"):
            cursor.execute(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", (f"%{secret.decode()}%",))
            assert cursor.fetchone() == (0,), table
    metadata.close()


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.skipif(not chaos.LONG, reason="Airflow waits a minute before it retries; make chaos runs it")
def test_a_task_killed_at_every_step_is_retried_by_airflow(
    scheduled: tuple[airflow.Client, list[str]], warehouse: Warehouse
) -> None:
    """kill -9 of the very process of each task, while it holds a connection; nobody helps afterwards."""
    client, days = scheduled
    yesterday = days[-1]
    day, model, readers = (psycopg2.connect(warehouse.url("recommendations_pipeline")) for _ in range(3))

    def kill_what_waits(holder: Any) -> None:
        wait_for(lambda: waiting_process(warehouse), client, days)
        os.kill(waiting_process(warehouse), signal.SIGKILL)
        holder.close()

    # The steps are fast: each is held at the lock that it takes first, until its process is found and killed.
    lock_day(day, yesterday)
    lock_model(model, yesterday, "TopCTR")
    kill_what_waits(day)  # FiltrarDatos
    wait_for(lambda: waiting_process(warehouse), client, days)
    lock_day(readers, yesterday, shared=True)
    kill_what_waits(model)  # TopCTR
    kill_what_waits(readers)  # DBWriting
    wait_for(lambda: published(warehouse) == {yesterday}, client, days)
    wait_for(lambda: all(t["state"] == "success" for t in client.tasks("recommendations", [yesterday])), client, days)
    tries = {t["task_id"]: t["try_number"] for t in client.tasks("recommendations", [yesterday])}
    assert tries == dict.fromkeys(MODELS, 1) | {"FiltrarDatos": 2, "TopCTR": 2, "DBWriting": 2}
    rows = (ORDINARY_LISTS * len(MODELS),)
    assert warehouse.rows("SELECT count(*) FROM marts.recommendations WHERE date = %s", yesterday) == [rows]
    chaos.figures.append(
        "kill -9 of Airflow's task process: FiltrarDatos, TopCTR, DBWriting, each retried by Airflow to success"
    )


def waiting_process(warehouse: Warehouse) -> int:
    """The process of a task that waits for a lock of the warehouse; 0 when there is none."""
    ports = warehouse.rows(
        "SELECT client_port FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND wait_event = 'advisory'"
    )
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.pid and (connection.laddr.port,) in ports:
            return connection.pid
    return 0


def published(warehouse: Warehouse) -> set[str]:
    return {day for (day,) in warehouse.rows("SELECT DISTINCT date::text FROM marts.publications")}


def wait_for(condition: Any, client: airflow.Client, days: list[str]) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline, client.tasks("recommendations", days)
        time.sleep(0.2)


def test_the_hook_opens_psycopg2_and_keeps_tls_settings(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the Airflow connection `recommendations_db`, which wins over DATABASE_URL."""
    from elt.connections import warehouse as open_warehouse
    from elt.settings import Settings

    url = warehouse.url("recommendations_pipeline").replace("postgresql://", "postgres://", 1)
    monkeypatch.setenv(
        "AIRFLOW_CONN_RECOMMENDATIONS_DB", url + "?sslmode=prefer&application_name=through-airflow&keepalives_idle=77"
    )
    uris: dict[str, Any] = dict.fromkeys(URIS, "s3://b/k")
    conn = open_warehouse(Settings(database_url="postgresql://nobody@127.0.0.1:1/none", **uris))()
    assert isinstance(conn, psycopg2.extensions.connection)
    parameters = conn.get_dsn_parameters()
    assert parameters["application_name"] == "through-airflow"
    assert parameters["sslmode"] == "prefer"
    assert parameters["keepalives_idle"] == "77", "as the connection says"
    assert {name: parameters[name] for name in ("connect_timeout", "tcp_user_timeout")} == {
        "connect_timeout": "10",
        "tcp_user_timeout": "60000",
    }, "as all connections are opened that say nothing else"
    conn.close()


def test_a_task_without_a_warehouse_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from elt import connections

    monkeypatch.setattr(connections, "_exists", lambda _: False)
    uris: dict[str, Any] = dict.fromkeys(URIS, "s3://b/k")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(PipelineError, match="set DATABASE_URL, or make the Airflow connection recommendations_db"):
        connections.warehouse(Settings(**uris))


def test_a_task_opens_s3_by_airflows_connection_or_else_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from elt import connections

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    there = {"conn_type": "aws", "extra": {"region_name": "sa-east-1", "endpoint_url": "http://127.0.0.1:1"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(there))
    client = connections.s3()
    assert (client.meta.region_name, client.meta.endpoint_url) == ("sa-east-1", "http://127.0.0.1:1")
    monkeypatch.setattr(connections, "_exists", lambda _: False)
    assert connections.s3().meta.region_name == "eu-central-1"
