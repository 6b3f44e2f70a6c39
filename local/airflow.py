"""Airflow on one machine as it runs on EC2: api-server, scheduler, dag-processor; LocalExecutor, parallelism 2."""

import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from elt.settings import PROJECT
from local import processes

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
PRELOADED = (
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "elt.connections",
    "elt.following",
)
SERVICES = {"api-server": [], "scheduler": ["--skip-serve-logs"], "dag-processor": []}


def free_port(preferred: int | None = None) -> int:
    """The preferred port of 127.0.0.1 when nothing listens there, else a free one.

    Not one that the kernel would pick: it gives those to outgoing connections, perhaps before the server has bound it.
    """
    candidates = random.sample(range(20_000, 32_000), 50)
    for port in candidates if preferred is None else [preferred, *candidates]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


def environment(home: Path, metadata_url: str, port: int) -> dict[str, str]:
    """The settings of every Airflow process. `metadata_url` is a libpq URI; secrets are made once, in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": _secret(home / "jwt_secret"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_url.replace("postgresql://", "postgresql+psycopg2://", 1),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # A task is forked from a process that has imported what every task needs; else each task imports it anew.
        "AIRFLOW__SCHEDULER__MP_START_METHOD": "forkserver",
        "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join(PRELOADED),
        # A worker that misses the very moment its task's process ends looks again after this many seconds, not 5.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # After a kill -9 the next scheduler picks up what was running within a minute, not five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
    }


@contextmanager
def services(env: dict[str, str]) -> Iterator["Client"]:
    """Migrates the metadata and runs the three services; yields when the DAG can be run. Logs are in AIRFLOW_HOME.

    Raises RuntimeError that names the log when one of them does not come up.
    """
    home = Path(env["AIRFLOW_HOME"])
    with ExitStack() as stack:
        _run([AIRFLOW, "db", "migrate"], env, home / "db-migrate.log")
        running = {}
        for name, options in SERVICES.items():
            running[name] = processes.start([AIRFLOW, name, *options], home / f"{name}.log", env=env)
            stack.callback(processes.stop, running[name])
        client = Client(env["AIRFLOW__API__BASE_URL"])
        deadline = time.monotonic() + 180
        while not client.has_dag("recommendations"):
            for name, process in running.items():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Airflow's {name} did not come up; see {home / name}.log")
            time.sleep(0.2)
        yield client


class Client:
    """Airflow's public REST API, as far as running days needs it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=30)

    def has_dag(self, dag_id: str) -> bool:
        """Is the server up, and has the dag-processor read the DAG?"""
        try:
            return self._get(f"/api/v2/dags/{dag_id}").status_code == 200
        except httpx.TransportError:
            return False

    def backfill(self, dag_id: str, first: str, last: str, *, at_once: int) -> None:
        """Runs every day from first to last, also those that have run before. Ends a backfill left unfinished."""
        for unfinished in self._get("/api/v2/backfills", dag_id=dag_id).json()["backfills"]:
            if unfinished["completed_at"] is None:
                self._http.put(f"/api/v2/backfills/{unfinished['id']}/cancel")
        self._http.post(
            "/api/v2/backfills",
            json={
                "dag_id": dag_id,
                "from_date": f"{first}T00:00:00Z",
                "to_date": f"{last}T00:00:00Z",
                "max_active_runs": at_once,
                "reprocess_behavior": "completed",
            },
        ).raise_for_status()

    def tasks(self, dag_id: str, days: list[str]) -> list[dict[str, Any]]:
        """The task instances of the days' runs, each with its `day`."""
        runs = self._get(
            f"/api/v2/dags/{dag_id}/dagRuns",
            limit=100,
            logical_date_gte=f"{min(days)}T00:00:00Z",
            logical_date_lte=f"{max(days)}T00:00:00Z",
        ).json()["dag_runs"]
        found: list[dict[str, Any]] = []
        for run in runs:
            tasks = self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances").json()
            found += [task | {"day": task["logical_date"][:10]} for task in tasks["task_instances"]]
        return found

    def returned(self, task: dict[str, Any]) -> Any:
        """What the task instance returned."""
        run = f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        entry = self._get(f"{run}/taskInstances/{task['task_id']}/xcomEntries/return_value", deserialize=True)
        return entry.json()["value"]

    def _get(self, path: str, **params: Any) -> httpx.Response:
        response = self._http.get(path, params=params)
        if response.status_code == 401:
            token = self._http.get("/auth/token").json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"
            response = self._http.get(path, params=params)
        return response


def _run(command: list[str], env: dict[str, str], log: Path) -> None:
    with log.open("ab") as out:
        done = subprocess.run(command, env=os.environ | env, stdout=out, stderr=out, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[-2:])} failed; see {log}")


def _secret(file: Path) -> str:
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(32))
    return file.read_text()
