"""What /metrics tells, of one process and of several, and what stands on it: the dashboard and the alerts."""

import json
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from conftest import DAY, Night, Warehouse, ordinary_logs
from prometheus_client.parser import text_string_to_metric_families
from test_edge import started

from elt.settings import PROJECT
from local.airflow import free_port
from local.postgres import Postgres

pytestmark = pytest.mark.model_blind

MONITORING = PROJECT / "deploy" / "monitoring"
LIST = "/recommendations/ACME/TopCTR"
Samples = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture(scope="module")
def night(postgres: Postgres, s3: Any) -> Night:
    s3.create_bucket(Bucket="metrics")
    night = Night(Warehouse(postgres, "metrics"), s3, "metrics")
    night.deliver(*ordinary_logs())
    night.run()
    return night


@pytest.fixture(scope="module")
def several(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[psutil.Process, str]]:
    """Three processes on one port, as WEB_CONCURRENCY asks for: the one that started them, and the address."""
    port, url = free_port(), night.warehouse.url("recommendations_api")
    with started(port, url, tmp_path_factory.mktemp("metrics") / "api.log", WEB_CONCURRENCY="3") as process:
        yield psutil.Process(process.pid), f"http://127.0.0.1:{port}"


def samples(url: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics").raise_for_status().text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    return sum(value for of, value in found.get(name, []) if labels.items() <= of.items())


def workers(parent: psutil.Process) -> list[psutil.Process]:
    return [one for one in parent.children() if "spawn_main" in " ".join(one.cmdline())]


def test_all_processes_tell_what_all_of_them_did(several: tuple[psutil.Process, str]) -> None:
    """Whichever is asked; also what one did that has died since, whose memory is not counted any more."""
    parent, url = several
    count, route = "http_server_request_duration_seconds_count", "/recommendations/{advertiser_id}/{model}"
    before = total(samples(url), count, http_route=route)
    asked = 0

    def ask(times: int) -> None:
        nonlocal asked
        with ThreadPoolExecutor(8) as pool:  # a new connection each, so that all processes are asked
            assert set(pool.map(lambda _: httpx.get(f"{url}{LIST}").status_code, range(times))) == {200}
        asked += times

    while total(samples(url), "recommendations_memory_answers") < 3:
        ask(30)
        assert asked < 1000
    for _ in range(10):
        assert total(samples(url), count, http_route=route) == before + asked
    victim = workers(parent)[0]
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    after = samples(url)
    assert total(after, count, http_route=route) == before + asked
    assert total(after, "recommendations_memory_answers") == 2
    assert total(after, "recommendations_leases") <= 2


def test_what_the_processes_count_in_is_gone_with_them(night: Night, tmp_path: Path) -> None:
    port, url = free_port(), night.warehouse.url("recommendations_api")
    with started(port, url, tmp_path / "api.log", WEB_CONCURRENCY="2") as process:
        (worker, *_) = workers(psutil.Process(process.pid))
        folder = Path(worker.environ()["PROMETHEUS_MULTIPROC_DIR"])
        httpx.get(f"http://127.0.0.1:{port}{LIST}")
        assert list(folder.glob("*.db"))
    assert not folder.exists()


def test_what_a_killed_one_leaves_is_cleaned_by_the_next(night: Night, tmp_path: Path) -> None:
    """And nothing of one that runs."""
    url, folders = night.warehouse.url("recommendations_api"), []
    with started(free_port(), url, tmp_path / "running.log", WEB_CONCURRENCY="2") as running:
        for kills in (True, False):
            with started(port := free_port(), url, tmp_path / f"{port}.log", WEB_CONCURRENCY="2") as process:
                parent = psutil.Process(process.pid)
                served = workers(parent)
                folders.append(Path(served[0].environ()["PROMETHEUS_MULTIPROC_DIR"]))
                if kills:
                    parent.kill()
                    parent.wait(10)
                    for one in served:
                        one.kill()
                    assert folders[0].exists()
                else:
                    assert not folders[0].exists()
        assert Path(workers(psutil.Process(running.pid))[0].environ()["PROMETHEUS_MULTIPROC_DIR"]).exists()
    assert not folders[1].exists()


def test_the_newest_day_and_its_age(night: Night, tmp_path: Path) -> None:
    """The age counts from the day's end; while the warehouse is away it goes on growing."""
    port, url = free_port(), night.warehouse.url("recommendations_api")
    end = datetime.fromisoformat(f"{DAY}T00:00+00:00") + timedelta(1)
    with started(port, url, tmp_path / "api.log") as process:
        found = samples(f"http://127.0.0.1:{port}")
        assert total(found, "recommendations_newest_day_end_timestamp_seconds") == end.timestamp()
        age = (datetime.now(UTC) - end).total_seconds()
        assert total(found, "recommendations_newest_day_age_seconds") == pytest.approx(age, abs=20)
        assert process.poll() is None
    with started(port, "postgresql://someone@127.0.0.1:1/none", tmp_path / "away.log"):
        unknown = samples(f"http://127.0.0.1:{port}")
        assert str(total(unknown, "recommendations_newest_day_age_seconds")) == "nan", "not 1970: no alert for that"


def test_the_buckets_tell_an_answer_from_memory_from_one_of_the_warehouse(several: tuple[psutil.Process, str]) -> None:
    _, url = several
    for _ in range(50):
        httpx.get(f"{url}{LIST}").raise_for_status()
    found = samples(url)["http_server_request_duration_seconds_bucket"]
    of = {"http_route": "/recommendations/{advertiser_id}/{model}", "http_response_status_code": "200"}
    buckets = {float(labels["le"]): value for labels, value in found if of.items() <= labels.items()}
    assert 0.00025 in buckets
    assert 0 < buckets[0.001] < buckets[10.0]


def expressions() -> list[tuple[str, str]]:
    """What the dashboard's panels and the alerts ask Prometheus for, with their names."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return found + [(rule["alert"], rule["expr"]) for group in alerts["groups"] for rule in group["rules"]]


WORDS_OF_PROMQL = {"sum", "max", "by", "and", "or", "rate", "absent", "histogram_quantile"}


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_what_the_dashboard_and_the_alerts_ask_for_is_told(
    several: tuple[psutil.Process, str], night: Night, tmp_path: Path, title: str, expression: str
) -> None:
    """Every name of a metric, every label, what it is compared with: told by a process to which it has happened."""
    _, url = several
    for path in (LIST, LIST, "/none"):
        httpx.get(f"{url}{path}")
    found = samples(url)
    found["up"] = [({"job": "recommendations"}, 1.0)]
    if "cause" in expression or "warehouse_failures" in expression:
        port = free_port()
        with started(port, "postgresql://someone@127.0.0.1:1/none", tmp_path / "away.log"):
            httpx.get(f"http://127.0.0.1:{port}{LIST}")
            found |= {
                name: of
                for name, of in samples(f"http://127.0.0.1:{port}").items()
                if name not in found or "fail" in name
            }
    if '"5.."' in expression:
        found["http_server_request_duration_seconds_count"].append(({"http_response_status_code": "503"}, 1.0))
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", expression)
    named = set(re.findall(r"[a-zA-Z_]{2,}", re.sub(r"\{[^}]*\}|\bby \([^)]*\)", "", bare))) - WORDS_OF_PROMQL
    assert named, expression
    for name in named:
        assert name in found, f"{title}: there is no metric {name}"
    every = {label for name in named for labels, _ in found[name] for label in labels}
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(labels.split(", ")) <= every, title
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        for label, sign, value in re.findall(r'(\w+)(=~?)"([^"]*)"', selector):
            told = {labels[label] for labels, _ in found[name] if label in labels}
            assert any(re.fullmatch(value, one) if sign == "=~" else value == one for one in told), (title, label, told)
