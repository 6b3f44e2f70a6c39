"""What stands around the API: proxies, balancers, browsers of other origins, ids that are no words."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from conftest import DAY, Night, Warehouse

from elt.settings import PROJECT
from local import processes
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

pytestmark = pytest.mark.model_blind

DAYS = ["2024-11-11", "2024-11-12", DAY]
ORIGIN = "https://agency.example"
IDS = ["a", "a/", "a/TopCTR", "/a", "a%2F", "b c", "c.d", "...", "é☃", "\ue000"]
"""Advertisers; each has one product, `p of` and its id."""


@pytest.fixture(scope="module")
def published(postgres: Postgres, s3: Any) -> Night:
    """Three published days of advertisers whose ids are no words."""
    s3.create_bucket(Bucket="edge")
    night = Night(Warehouse(postgres, "edge"), s3, "edge")
    for day in DAYS:
        night.deliver(
            IDS,
            [(one, f"p of {one}", day) for one in IDS],
            [(one, f"p of {one}", kind, day) for one in IDS for kind in ("impression", "click")],
        )
        night.run(day)
    return night


@pytest.fixture(scope="module")
def reader(published: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    port, url = free_port(), published.warehouse.url("recommendations_api")
    with serve(port, url, tmp_path_factory.mktemp("edge") / "api.log", CORS_ORIGINS=f'["{ORIGIN}"]'):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield http


@contextmanager
def started(port: int, url: str, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The API as the image starts it."""
    env = {"DATABASE_URL": url, "PORT": str(port), "PYTHONPATH": str(PROJECT), **env}
    process = processes.start([sys.executable, "-m", "api"], log, env=env)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health/live")
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield process
    finally:
        processes.stop(process)


def exchange(port: int, sent: bytes, patience: float = 10) -> bytes:
    """What comes back for the bytes, up to the end of the first answer's headers."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=patience)) as client:
        client.sendall(sent)
        received = b""
        while b"\r\n\r\n" not in received and (more := client.recv(65536)):
            received += more
    return received


@pytest.mark.parametrize("one", IDS)
def test_every_id_has_an_address_of_its_own_and_no_other_ids_lists(reader: httpx.Client, one: str) -> None:
    """Slashes in them, dots, blanks, whatever is no letter: written in percents, everywhere."""
    written = quote(one, safe="")
    for path in (
        f"/recommendations/{written}/TopCTR",
        f"/recommendations/{written}/TopCTR?&",
        f"/recommendations/{written}",
        f"/history/{written}",
        f"/stats/{written}/",
    ):
        answer = reader.get(path)
        assert (answer.status_code, answer.json().get("advertiser_id")) == (200, one), path
    (entry,) = reader.get(f"/recommendations/{written}/TopCTR").json()["recommendations"]
    assert entry["product_id"] == f"p of {one}".strip()
    for path in (f"/advertisers/{written}", f"/advertisers/{written}/products/{quote(entry['product_id'], safe='')}"):
        page = reader.get(path)
        assert page.status_code == 200, path
        assert f"/advertisers/{written}" in page.text


@pytest.mark.parametrize(
    "path", ["/recommendations/a%2FTopProduct", "/history/a%2f%2f", "/stats/b%2F", "/advertisers/%2F"]
)
def test_an_id_that_there_is_none_of_is_unknown_and_not_another(reader: httpx.Client, path: str) -> None:
    assert reader.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/assets/..%2Fbase.html", "/assets/%2F", "/assets/%00", "/assets%2Fpage.js", "/%2F"])
def test_an_encoded_slash_leads_to_no_file(reader: httpx.Client, path: str) -> None:
    assert reader.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/recommendations/a/TopCTR?day=2024-11-20", "query.day: there is no such parameter; there are: date"),
        ("/recommendations/a?Date=2024-11-20", "query.Date: there is no such parameter; there are: date"),
        ("/recommendations/a?date=2024-11-20&date=2024-11-12", "query.date: is given more than once"),
        ("/history/a?days=3", "query.days: there is no such parameter; there are: date"),
        ("/advertisers?page=2", "query.page: there is no such parameter; there are: date, limit, after"),
        ("/models?x", "query.x: there is no such parameter; there are: date"),
        ("/health/ready?x=1", "query.x: there is no such parameter; there are none here"),
        (
            "/stats?limit=1&limit=2&top=3",
            "query.top: there is no such parameter; there are: date, limit; query.limit: is",
        ),
    ],
)
def test_a_parameter_that_there_is_none_of_is_not_ignored(reader: httpx.Client, path: str, said: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(said)


def test_a_page_says_so_too(reader: httpx.Client) -> None:
    page = reader.get("/advertisers/a?Date=2024-11-12")
    assert page.status_code == 422
    assert "Date: there is no such parameter; there are: date" in page.text
    assert reader.get("/advertisers/a?date=2024-11-12").status_code == 200


def test_the_history_of_a_past_day_is_the_7_days_that_end_with_it(reader: httpx.Client) -> None:
    newest = reader.get("/history/a").json()
    assert (newest["from"], newest["to"], list(newest["history"])) == ("2024-11-14", DAY, [DAY])
    past = reader.get("/history/a?date=2024-11-12").json()
    assert (past["from"], past["to"]) == ("2024-11-06", "2024-11-12")
    assert list(past["history"]) == ["2024-11-12", "2024-11-11"]
    gap = reader.get("/history/a?date=2024-11-15")
    assert gap.status_code == 404
    assert gap.json()["detail"].startswith("advertiser 'a' has no list for 2024-11-15")
    assert reader.get("/history/a?date=yesterday").status_code == 422


def test_a_body_in_pieces_of_which_there_is_none_is_none(reader: httpx.Client) -> None:
    """As proxies send it. What comes is looked at, not what was announced; a body that comes is refused at once."""
    port = reader.base_url.port or 0
    asked = b"GET /recommendations/a/TopCTR HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(port, asked + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert exchange(port, asked + b"1\r\nx\r\n").startswith(b"HTTP/1.1 413")
    assert exchange(port, asked).startswith(b"HTTP/1.1 408"), "the end is not waited for for ever"
    twice = asked + b"0\r\n\r\n" + asked.replace(b"/TopCTR", b"/None") + b"0\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        client.sendall(twice)
        received = b""
        while received.count(b"HTTP/1.1") < 2:
            received += client.recv(65536)
    assert b"HTTP/1.1 404" in received, "the connection goes on"


def test_a_browser_of_another_origin_may_ask_whether_its_answer_is_current(reader: httpx.Client) -> None:
    path = "/recommendations/a/TopCTR"
    asks = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "if-none-match",
    }
    preflight = reader.options(path, headers=asks)
    assert preflight.status_code == 200
    assert "if-none-match" in preflight.headers["access-control-allow-headers"].lower()
    assert reader.options(path, headers=asks | {"Origin": "https://evil.example"}).status_code == 400
    answer = reader.get(path, headers={"Origin": ORIGIN})
    assert "ETag" in answer.headers["access-control-expose-headers"]
    current = reader.get(path, headers={"Origin": ORIGIN, "If-None-Match": answer.headers["etag"]})
    assert current.status_code == 304
    assert current.headers["access-control-allow-origin"] == ORIGIN


def test_a_connection_stays_open_longer_than_a_balancer_keeps_it(published: Night, tmp_path: Path) -> None:
    """By default 75 s, of which the test waits 6: uvicorn's own limit is 5. By a setting, another time."""
    url = published.warehouse.url("recommendations_api")

    def survives(seconds: float, **env: str) -> bool:
        port = free_port()
        with started(port, url, tmp_path / f"{port}.log", **env):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
                client.request("GET", "/health/live")
                client.getresponse().read()
                time.sleep(seconds)
                try:
                    client.request("GET", "/health/live")
                    return client.getresponse().status == 200
                except (http.client.RemoteDisconnected, ConnectionError):
                    return False

    with ThreadPoolExecutor(2) as pool:
        default, short = pool.submit(survives, 6), pool.submit(survives, 2, KEEP_ALIVE="1")
        assert (default.result(), short.result()) == (True, False)


def test_a_column_that_has_another_type_now_costs_no_answer(warehouse: Warehouse, night: Night, tmp_path: Path) -> None:
    """Every connection of the pool has prepared its statements with the type that the column had."""
    night.deliver(["a"], [("a", "p", DAY)], [("a", "p", "impression", DAY)])
    night.run()
    port, url = free_port(), warehouse.url("recommendations_api")
    with serve(port, url, tmp_path / "api.log", POOL_SIZE="3", MEMORY_MB="0"):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http, ThreadPoolExecutor(6) as pool:

            def statuses() -> list[int]:
                return list(pool.map(lambda _: http.get("/recommendations/a/TopCTR").status_code, range(30)))

            assert set(statuses()) == {200}
            warehouse.rows("ALTER TABLE marts.version ALTER number TYPE numeric", role=MASTER)
            assert set(statuses()) == {200}
            assert http.get("/health/ready").status_code == 200
