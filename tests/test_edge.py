"""What stands around the API: proxies, balancers, browsers of other origins, ids that are no words."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from conftest import DAY, Night, Warehouse
from playwright.sync_api import expect, sync_playwright
from test_pages import CHROMIUM, watched

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


@pytest.mark.parametrize("path", ["/health/live?t=1&t=2", "/health/ready?x", "/metrics?format=prometheus"])
def test_a_machine_that_adds_a_parameter_to_what_it_watches_is_answered(reader: httpx.Client, path: str) -> None:
    assert reader.get(path).status_code == 200


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
    length = b"GET /recommendations/a/TopCTR HTTP/1.1\r\nHost: api\r\nContent-Length: %s\r\n\r\n"
    assert exchange(port, length % b"0").startswith(b"HTTP/1.1 200")
    assert exchange(port, length % (5_000 * b"0")).startswith(b"HTTP/1.1 413"), "Python reads no number of 5,000 digits"
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


def test_every_answer_has_an_id_its_own_or_that_of_the_request(reader: httpx.Client) -> None:
    paths = ("/recommendations/a/TopCTR", "/recommendations/NOBODY", "/none", "/", "/models?x", "/assets/page.js")
    made = [reader.get(path).headers["x-request-id"] for path in paths * 2]
    assert len(set(made)) == len(made)
    for path in paths:
        assert reader.get(path, headers={"X-Request-Id": "trace:7f/Aa=1"}).headers["x-request-id"] == "trace:7f/Aa=1"
    etag = reader.get(paths[0]).headers["etag"]
    current = reader.get(paths[0], headers={"If-None-Match": etag, "X-Request-Id": "one"})
    assert (current.status_code, current.headers["x-request-id"]) == (304, "one")
    for refused in ("", "x" * 129, 'a"b', "a b", "<script>", "á"):
        given = reader.get(paths[0], headers={b"X-Request-Id": refused.encode()}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", given), refused
    for path, status in (("/none", 404), ("/models?x", 422), ("/recommendations/" + "x" * 5000, 414)):
        problem = reader.get(path, headers={"X-Request-Id": "mine"})
        assert (problem.status_code, problem.json()["request_id"]) == (status, "mine")


def test_a_line_of_the_log_says_which_request_it_is_of(tmp_path: Path) -> None:
    """What went wrong by the request's id, and by a setting a line of JSON for each request."""
    port, log = free_port(), tmp_path / "api.log"
    with started(port, "postgresql://someone:hidden@127.0.0.1:1/none", log, ACCESS_LOG="true"):
        url = f"http://127.0.0.1:{port}"
        httpx.get(f"{url}/recommendations/a%2Fb?date=2024-11-20", headers={"X-Request-Id": "first-100%s"})
        httpx.get(f"{url}/recommendations/a?date=2024-11-20", headers={"X-Request-Id": "second"})
        httpx.head(f"{url}/health/live", headers={"X-Request-Id": "third"})
    text = log.read_text()
    assert "hidden" not in text
    lines = {line["request_id"]: line for line in map(json.loads, re.findall(r"^{.*}$", text, re.MULTILINE))}
    assert len(lines) >= 3
    assert "(request first-100%s)" not in text, "a percent sign is no part of an id"
    (said,) = re.findall(r"no connection to the warehouse \(refused\).* \(request (\S+)\)", text)
    line = lines[said]
    assert (line["method"], line["status"], line["client"]) == ("GET", 503, "127.0.0.1")
    assert line["target"] == "/recommendations/a%2Fb?date=2024-11-20"
    assert line["route"] == "/recommendations/{advertiser_id}"
    assert 0 < line["seconds"] < 10
    assert (lines["third"]["method"], lines["third"]["route"]) == ("HEAD", "/health/live")


@contextmanager
def proxy(to: int, prefix: str, strips: bool) -> Iterator[str]:
    """A reverse proxy that shows the server under the prefix only, which it takes off or leaves; yields its address."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            inside = self.path.startswith(f"{prefix}/")
            path = self.path[len(prefix) :] if strips else self.path
            with closing(http.client.HTTPConnection("127.0.0.1", to, timeout=20)) as server:
                server.request("GET", path if inside else "/proxy/knows/nothing", headers=dict(self.headers))
                answer = server.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *said: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{prefix}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def prefixed(published: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an API that the world sees under /stats."""
    port, url = free_port(), published.warehouse.url("recommendations_api")
    with started(port, url, tmp_path_factory.mktemp("prefixed") / "api.log", ROOT_PATH="/lists"):
        yield port


@pytest.mark.parametrize("strips", [True, False])
def test_behind_a_prefix_all_is_under_it(prefixed: int, strips: bool) -> None:
    with proxy(prefixed, "/lists", strips) as url:
        assert httpx.get(f"{url}/recommendations/a%2F/TopCTR").json()["advertiser_id"] == "a/"
        assert httpx.get(f"{url}/stats/").json()["date"] == DAY
        assert httpx.get(f"{url}/stats/a").json()["advertiser_id"] == "a"
        assert httpx.get(f"{url}/none").json()["detail"].startswith("no page ")
        assert httpx.get(f"{url}/openapi.json").json()["servers"] == [{"url": "/lists"}]
        for page in ("/", "/docs", "/advertisers/a", f"/nights/{DAY}"):
            answer = httpx.get(f"{url}{page}")
            assert answer.status_code == 200, page
            named = re.findall(r'(?:href|src|action)="([^"#]+)', answer.text)
            assert named, page
            for link in named:
                assert link.startswith("/lists/"), (page, link)
            for asset in {link for link in named if "/assets/" in link}:
                found = httpx.get(httpx.URL(url).join(asset))
                assert (found.status_code, len(found.content) > 100) == (200, True), asset
        assert httpx.get(f"{url}/nights?date={DAY}").headers["location"] == f"/lists/nights/{DAY}"


@pytest.mark.skipif(not CHROMIUM, reason="no browser is installed (apt-get install chromium)")
def test_behind_a_prefix_a_browser_finds_all_it_loads(prefixed: int) -> None:
    """The browser complains of what the policy forbids; `watched` of what it asks for outside of the prefix."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with proxy(prefixed, "/lists", True) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        with watched(browser, url) as page:
            page.goto(f"{url}/docs")
            operation = page.locator("#docs .opblock", has_text="/models").first
            operation.locator("button").first.click()
            operation.get_by_role("button", name="Try it out").click()
            operation.get_by_role("button", name="Execute").click()
            expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
        with watched(browser, url) as page:
            page.goto(f"{url}/")
            page.get_by_role("link", name="Newest night").click()
            expect(page).to_have_url(f"{url}/nights/{DAY}")
        browser.close()


@pytest.mark.parametrize(("prefix", "said"), [("lists/", "root_path"), ("/stats", "ROOT_PATH: /stats is a route's")])
def test_an_impossible_prefix_is_refused_at_the_start(prefix: str, said: str) -> None:
    env = {"DATABASE_URL": "postgresql:///none", "ROOT_PATH": prefix, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-m", "api"], env=os.environ | env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode
    assert said in done.stderr
