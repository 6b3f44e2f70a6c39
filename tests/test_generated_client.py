"""A client that is generated from the API's own description, used against the API."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import DAY, Night
from test_api import two_days

pytestmark = pytest.mark.model_blind


@pytest.fixture
def api(night: Night, tmp_path: Path) -> Iterator[httpx.Client]:
    yield from two_days(night, tmp_path)


@pytest.fixture
def generated(api: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `client`, made by openapi-python-client, that can be imported."""
    make = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    done = subprocess.run(
        [*make, "--url", str(api.base_url.join("/openapi.json")), "--output-path", "client"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # What it can not make a client of it says and leaves out. That it found no ruff to format with does not matter.
    said = [line for line in done.stdout.splitlines() if line.strip()]
    assert [line for line in said if line.startswith(("Unable", "ERROR", "WARNING"))] == [], done.stdout
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "client"


def test_every_operation_has_a_short_name_of_its_own_and_a_group(api: httpx.Client) -> None:
    """They are the names of the functions and modules of a generated client: a promise, like the paths."""
    named = {
        (operation["tags"][0], operation["operationId"])
        for methods in api.get("/openapi.json").json()["paths"].values()
        for operation in methods.values()
    }
    assert named >= {
        *(("lists", name) for name in ("recommendations", "default_list", "lists_of_several", "history")),
        *(("lists", name) for name in ("export_ndjson", "export_csv")),
        *(("figures", name) for name in ("stats", "stats_advertiser")),
        *(("catalogue", name) for name in ("advertisers", "models")),
        *(("operation", name) for name in ("live", "ready", "metrics")),
    }
    assert {group for group, _ in named} == {"lists", "figures", "catalogue", "operation"}
    assert len({name for _, name in named}) == len(named)


def test_a_generated_client_gets_what_the_api_says(api: httpx.Client, generated: Path) -> None:
    """Lists with their figures, days as dates, and a problem as what it is: an answer that says what would be right."""
    client: Any = importlib.import_module("client").Client(base_url=str(api.base_url))

    def asked(operation: str, *ids: str, **params: Any) -> Any:
        return importlib.import_module(f"client.api.{operation}").sync(*ids, client=client, **params)

    for operation, ids, path in (
        ("lists.recommendations", ("ACME", "TopCTR"), "/recommendations/ACME/TopCTR"),
        ("lists.default_list", ("ACME",), "/recommendations/ACME"),
        ("lists.history", ("ACME",), "/history/ACME"),
        ("figures.stats", (), "/stats"),
        ("figures.stats_advertiser", ("ACME",), "/stats/ACME"),
        ("catalogue.advertisers", (), "/advertisers"),
        ("catalogue.models", (), "/models"),
        ("operation.live", (), "/health/live"),
        ("operation.ready", (), "/health/ready"),
    ):
        as_client, as_said = asked(operation, *ids).to_dict(), api.get(path).json()
        as_said.pop("published_at", None)  # the same moment, written with other zeros
        as_client.pop("published_at", None)
        if operation == "catalogue.models":
            for model in as_client["models"] + as_said["models"]:
                model.pop("published_at")
        assert as_client == as_said, operation
    found = asked("lists.recommendations", "ACME", "TopCTR")
    assert (str(found.date), found.recommendations[0].rank, found.recommendations[0]["ctr"]) == (DAY, 1, 0.4)
    several = asked("lists.lists_of_several", advertiser_id=["BOLT", "ACME"], model="TopCTR")
    assert several.lists[1] == found
    past = asked("lists.history", "ACME", date=found.date.replace(day=19))
    assert str(past.to) == "2024-11-19"
    unknown = asked("lists.recommendations", "a/b", "TopCTR")
    assert (unknown.status, unknown.title) == (404, "Not Found")
    assert unknown.detail.startswith("no advertiser 'a/b' on the active list")
