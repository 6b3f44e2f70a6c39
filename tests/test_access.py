"""Keys: who may ask the API, what each may see, that nothing of one reaches another, and how they are made."""

import asyncio
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from chaos import wait_until
from conftest import DAY, MODELS, Night, Warehouse, ordinary_logs

from api.access import TRUSTED, Access
from api.database import Unavailable
from api.memory import Memory
from elt import keys
from elt.__main__ import main
from elt.warehouse import opens
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

pytestmark = pytest.mark.model_blind

BEFORE = "2024-11-19"
LIST = "/recommendations/ACME/TopCTR"
TOMORROW = datetime.now(UTC).date() + timedelta(1)


class Agency:
    """Published days of ACME and BOLT; keys: for everything, for ACME, for BOLT, expired, revoked."""

    def __init__(self, night: Night, *days: str) -> None:
        self.night, self.warehouse = night, night.warehouse
        for shift, day in enumerate(days):
            night.deliver(*ordinary_logs(day, shift))
            night.run(day)
        self.everything = self.key("everything")
        self.acme, self.bolt = self.key("acme", "ACME"), self.key("bolt", "BOLT")
        self.expired, self.revoked = self.key("expired"), self.key("revoked")
        self.expire("expired")
        keys.revoke("revoked", self.connect)

    def connect(self) -> Any:
        return opens(self.warehouse.url(MASTER))()

    def key(self, name: str, *advertisers: str) -> str:
        return keys.create(name, advertisers, TOMORROW, self.connect)[0]

    def expire(self, name: str) -> None:
        self.warehouse.rows("UPDATE marts.api_keys SET expires_at = now() WHERE name = %s", name, role=MASTER)

    @contextmanager
    def api(self, log: Path, **settings: str) -> Iterator[httpx.Client]:
        port, url = free_port(), self.warehouse.url("recommendations_api")
        with serve(port, url, log, **{"API_ACCESS": "keys", **settings}):
            # All of one id, so that answers that are to be the same are.
            same = {"X-Request-Id": "one"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, headers=same) as http:
                yield http


@pytest.fixture(scope="module")
def agency(postgres: Postgres, s3: Any) -> Agency:
    """For tests that change no key and no list."""
    s3.create_bucket(Bucket="agency")
    return Agency(Night(Warehouse(postgres, "agency"), s3, "agency"), BEFORE, DAY)


@pytest.fixture(scope="module")
def client(agency: Agency, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with agency.api(tmp_path_factory.mktemp("agency") / "api.log") as http:
        yield http


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_who_has_no_valid_key_is_told_so_and_nothing_else(agency: Agency, client: httpx.Client) -> None:
    guessed = agency.everything[:-1] + ("A" if agency.everything[-1] != "A" else "B")
    for path in (LIST, "/recommendations/NOBODY", "/stats", "/advertisers", "/models", "/metrics", "/", "/nothing"):
        bare = client.get(path)
        assert (bare.status_code, bare.headers["www-authenticate"]) == (401, 'Bearer realm="recommendations"'), path
        assert bare.json()["detail"] == "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        for key, wrong in (
            (agency.revoked, "there is no such key, or it was revoked"),
            (agency.expired, "the key expired has expired"),
            (guessed, "there is no such key, or it was revoked"),
            ("x", "there is no such key, or it was revoked"),
            ("\xe9", "there is no such key, or it was revoked"),
        ):
            for headers in (bearer(key), {"X-API-Key": key}, {"Cookie": f"recommendations_key={key}"}):
                refused = client.get(path, headers=httpx.Headers(headers, encoding="latin-1"))
                assert (refused.status_code, refused.json()["detail"]) == (401, wrong), (path, headers)
                assert refused.headers["content-type"] == "application/problem+json"
                assert refused.headers["cache-control"] == "no-store"
                assert refused.headers["www-authenticate"] == 'Bearer realm="recommendations", error="invalid_token"'
    assert client.head(LIST).status_code == client.post(LIST).status_code == 401


def test_what_needs_no_key(client: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready", "/docs", "/openapi.json", "/assets/page.css", "/login"):
        assert client.get(path).status_code == 200, path


def test_a_key_is_sent_in_either_header_and_opens_what_it_is_for(agency: Agency, client: httpx.Client) -> None:
    expected = client.get(LIST, headers=bearer(agency.everything)).json()
    assert (expected["advertiser_id"], expected["count"]) == ("ACME", 20)
    for headers in (
        {"X-API-Key": agency.acme},
        {"authorization": f"bearer  {agency.acme}"},
        {"Authorization": "Basic eDp5", "X-API-Key": agency.acme},
        {"Cookie": f"a=b; recommendations_key={agency.acme}; c=d"},
    ):
        assert client.get(LIST, headers=headers).json() == expected
    assert client.get("/metrics", headers=bearer(agency.everything)).status_code == 200
    assert client.get("/", headers=bearer(agency.everything)).status_code == 200
    for path in ("/metrics", "/", "/advertisers/ACME", "/nights/2024-11-20", "/search?q=BOLT", "/nothing"):
        refused = client.get(path, headers=bearer(agency.acme))
        assert refused.status_code == 403, path
        assert refused.headers["www-authenticate"].endswith('error="insufficient_scope"')
        assert "the key acme reads its advertisers only" in refused.json()["detail"]


def test_another_advertiser_is_one_that_there_is_not(agency: Agency, client: httpx.Client) -> None:
    """On every path of the document that has an advertiser: the same answer, but for the id that was asked for."""
    document = client.get("/openapi.json").json()
    paths = [path for path in document["paths"] if "{advertiser_id}" in path]
    assert len(paths) >= 4
    for template in paths:
        for query in ("", f"?date={BEFORE}", "?date=2020-01-01"):
            answers = []
            for advertiser in ("BOLT", "NOBODY"):
                path = template.format(advertiser_id=advertiser, model="TopCTR") + query
                answer = client.get(path, headers=bearer(agency.acme))
                answers.append((answer.status_code, answer.text.replace(advertiser, "ID"), len(answer.headers)))
            assert answers[0] == answers[1], template
            assert answers[0][0] == 404
            assert "no advertiser 'ID' on the active list of any published day" in answers[0][1]
        mine = template.format(advertiser_id="ACME", model="TopCTR")
        assert client.get(mine, headers=bearer(agency.acme)).status_code == 200


def test_what_is_said_of_all_is_said_of_those_that_the_key_may_see(agency: Agency, client: httpx.Client) -> None:
    for path in ("/stats", f"/stats?date={BEFORE}", "/stats?limit=1", "/advertisers", "/models"):
        mine, every = (client.get(path, headers=bearer(key)).json() for key in (agency.acme, agency.everything))
        assert "BOLT" not in str(mine), path
        assert set(mine) == set(every)
    stats = client.get("/stats", headers=bearer(agency.acme)).json()
    one = client.get("/stats/ACME", headers=bearer(agency.acme)).json()
    every = client.get("/stats", headers=bearer(agency.everything)).json()
    assert (stats["advertisers"], stats["date"], stats["newest"]) == (1, DAY, DAY)
    assert stats["advertisers_with_lists"] == stats["advertisers_with_full_lists"] == dict.fromkeys(MODELS, 1)
    assert stats["totals"] == {
        "day": {name: figure for name, figure in one["totals"]["day"].items() if name != "products"},
        "week": one["totals"]["week"],
    }
    for model in MODELS:
        assert stats["most_varying"][model] == [v for v in every["most_varying"][model] if v["advertiser_id"] == "ACME"]
    assert stats["agreement"] == [pair for pair in every["agreement"] if pair["advertiser_id"] == "ACME"]
    assert (stats["lines"], stats["evaluation"]) == ({}, {})
    advertisers = client.get("/advertisers", headers=bearer(agency.acme)).json()
    assert (advertisers["active"], advertisers["count"]) == (1, 1)
    assert client.get("/advertisers?after=ACME", headers=bearer(agency.acme)).json()["advertisers"] == []
    for model in client.get("/models", headers=bearer(agency.acme)).json()["models"]:
        assert (model["advertisers"], model["advertisers_with_full_lists"]) == (1, 1)


def test_an_answer_in_memory_reaches_nobody_who_may_not_see_it(agency: Agency, client: httpx.Client) -> None:
    paths = (LIST, "/recommendations/BOLT/TopCTR", "/history/BOLT", "/stats", "/stats/ACME", "/advertisers", "/models")
    who = {"all": bearer(agency.everything), "acme": bearer(agency.acme), "bolt": bearer(agency.bolt), "none": {}}
    for path in paths:
        first = {name: client.get(path, headers=headers) for name, headers in who.items()}
        for _ in range(3):
            for name, headers in who.items():
                again = client.get(path, headers=headers)
                assert (again.status_code, again.content) == (first[name].status_code, first[name].content)
        assert first["none"].status_code == 401
        for name, other in (("acme", "BOLT"), ("bolt", "ACME")):
            if first[name].status_code == 200:
                assert other not in first[name].text
        for answer in first.values():
            if answer.status_code == 200:
                assert answer.headers["cache-control"].startswith("private, ")
                assert "Authorization, X-API-Key, Cookie" in answer.headers["vary"]
                same = client.get(path, headers=who["none"] | {"if-none-match": answer.headers["etag"]})
                assert same.status_code == 401
    dated = client.get(f"{LIST}?date={BEFORE}", headers=bearer(agency.acme))
    assert dated.headers["cache-control"] == "private, max-age=86400, immutable"


@pytest.fixture
def own(warehouse: Warehouse, s3: Any, bucket: str) -> Agency:
    """Whose keys a test may change."""
    return Agency(Night(warehouse, s3, bucket), DAY)


def test_a_key_that_is_revoked_or_expires_is_refused_by_every_worker_at_once(own: Agency, tmp_path: Path) -> None:
    """Also one whose answers come from memory, under a lease that was asked for a moment before."""
    with ExitStack() as stack:
        workers = [stack.enter_context(own.api(tmp_path / f"{name}.log")) for name in "ab"]
        for number in range(3):
            key = own.key(f"number-{number}", "ACME")
            for worker in workers:
                for _ in range(20):
                    assert worker.get(LIST, headers=bearer(key)).status_code == 200
            keys.revoke(f"number-{number}", own.connect)
            for worker in workers:
                assert worker.get(LIST, headers=bearer(key)).status_code == 401
                assert worker.get(LIST, headers=bearer(own.acme)).status_code == 200
        own.expire("acme")
        for worker in workers:
            answer = worker.get(LIST, headers=bearer(own.acme))
            assert (answer.status_code, answer.json()["detail"]) == (401, "the key acme has expired")


def test_while_the_warehouse_is_away_known_keys_open_what_is_in_memory(s3: Any, bucket: str, tmp_path: Path) -> None:
    with Postgres(tmp_path / "own" / "data", free_port()) as server:
        own = Agency(Night(Warehouse(server, "own"), s3, bucket), DAY)
        with own.api(tmp_path / "api.log") as http, own.api(tmp_path / "late.log") as late:
            assert http.get(LIST, headers=bearer(own.acme)).status_code == 200
            server.stop()
            # While the lease of the last moment lasts, what the keys are is known: it is no key.
            wait_until(lambda: http.get(LIST, headers=bearer("guessed")).status_code == 503)
            for _ in range(3):
                assert http.get(LIST, headers=bearer(own.acme)).status_code == 200
                assert http.get(LIST, headers=bearer(own.bolt)).status_code == 503
                assert http.get(LIST, headers=bearer("guessed")).status_code == 503
                assert http.get(LIST).status_code == 401
                assert late.get(LIST, headers=bearer(own.acme)).status_code == 503, "it has never read any key"
            back = threading.Event()
            with ThreadPoolExecutor(1) as pool:
                # The try that fails last may fail in the moment in which the warehouse is back.
                asking = pool.submit(
                    lambda: [http.get(LIST, headers=bearer(own.bolt)) for _ in iter(back.is_set, True)]
                )
                server.start()
                keys.revoke("acme", own.connect)
                assert http.get(LIST, headers=bearer(own.acme)).status_code == 401
                back.set()
                asking.result()


def test_the_form_leads_back_to_a_page_of_ours_only(agency: Agency, client: httpx.Client) -> None:
    html = {"accept": "text/html,*/*"}
    led = client.get("/advertisers/A%2FB?date=2024-11-20", headers=html)
    assert (led.status_code, led.headers["cache-control"]) == (303, "no-store")
    assert led.headers["location"] == "/login?next=/advertisers/A%252FB%3Fdate%3D2024-11-20"
    assert 'value="/advertisers/A%2FB?date=2024-11-20"' in client.get(led.headers["location"]).text
    assert client.get("/", headers=html | {"cookie": f"recommendations_key={agency.revoked}"}).status_code == 303
    for back, to in (
        ("/nights/2024-11-20", "/nights/2024-11-20"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("", "/"),
    ):
        answer = httpx.post(client.base_url.join("/login"), data={"key": agency.everything, "next": back})
        assert (answer.status_code, answer.headers["location"]) == (303, to), back
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie
    by_https = {"x-forwarded-proto": "https"}
    answer = httpx.post(client.base_url.join("/login"), data={"key": agency.everything}, headers=by_https)
    assert "secure" in answer.headers["set-cookie"].lower()
    for data, headers, status in (
        ({"key": agency.revoked}, {}, 401),
        ({}, {}, 401),
        ({"key": agency.acme}, {}, 403),
        ({"key": agency.everything}, {"sec-fetch-site": "cross-site"}, 403),
        ({"key": "x" * 20_000}, {}, 413),
    ):
        answer = httpx.post(client.base_url.join("/login"), data=data, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, False), data
    out = client.post("/logout", headers={"sec-fetch-site": "cross-site"})
    assert (out.status_code, "set-cookie" in out.headers) == (403, False)
    assert client.post("/login", content=iter([])).status_code == 413, "in pieces, of which there is none"
    assert client.get("/logout").status_code == client.put("/login").status_code == 405


def test_open_to_all_it_is_as_it_was(agency: Agency, tmp_path: Path) -> None:
    with agency.api(tmp_path / "api.log", API_ACCESS="open") as http:
        for headers in ({}, bearer("x"), {"X-API-Key": agency.revoked}):
            answer = http.get(LIST, headers=headers)
            assert answer.headers["cache-control"].startswith("public, ")
            assert answer.headers["vary"] == "Accept-Encoding"
        assert http.get("/login").status_code == 404
        document = http.get("/openapi.json").json()
        assert "securitySchemes" not in document["components"]
        assert "401" not in document["paths"]["/stats"]["get"]["responses"]


def test_several_lists_and_exports_are_of_those_that_the_key_may_see(agency: Agency, client: httpx.Client) -> None:
    several = {"advertiser_id": ["BOLT", "ACME", "NOBODY"]}
    answer = client.get("/recommendations", params=several, headers=bearer(agency.acme)).json()
    assert (answer["missing"], [one["advertiser_id"] for one in answer["lists"]]) == (["BOLT", "NOBODY"], ["ACME"])
    for path in ("/exports/lists.ndjson", "/exports/lists.csv"):
        mine, every = (client.get(path, headers=bearer(key)) for key in (agency.acme, agency.everything))
        assert "BOLT" not in mine.text
        assert {line for line in every.text.splitlines() if "BOLT" not in line} == set(mine.text.splitlines())
        assert mine.headers["etag"] != every.headers["etag"]
        assert mine.headers["vary"] == "Accept-Encoding, Authorization, X-API-Key, Cookie"
        assert mine.headers["cache-control"].startswith("private, ")


def test_the_log_names_the_key_of_a_request_not_that_of_another_on_its_connection(
    agency: Agency, tmp_path: Path
) -> None:
    """Requests that are sent without waiting for the answers to those before."""
    log = tmp_path / "api.log"
    requests = ((LIST, agency.everything), ("/stats", ""), ("/" + "x" * 5000, ""), ("/health/live", ""), (LIST, "x"))
    sent = "".join(
        f"GET {path} HTTP/1.1\r\nHost: api\r\nX-API-Key: {key} \r\nX-Request-Id: {number}\r\n\r\n"
        for number, (path, key) in enumerate(requests)
    )
    with agency.api(log, ACCESS_LOG="true") as http:
        with closing(socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=20)) as client:
            client.sendall(sent.encode())
            received = b""
            while received.count(b"HTTP/1.1 ") < len(requests):
                more = client.recv(65536)
                assert more, received
                received += more
    printed = re.findall(r"^{.*}$", log.read_text(), re.MULTILINE)
    lines = {line["request_id"]: line for line in map(json.loads, printed)}
    told = [(lines[str(number)]["status"], lines[str(number)]["key"]) for number in range(len(requests))]
    assert told == [(200, "everything"), (401, None), (414, None), (200, None), (401, None)]


def test_who_has_no_key_is_one_client_by_address(agency: Agency, tmp_path: Path) -> None:
    """Otherwise whoever asks for nothing but health, often, would make the balancer believe that there is none."""
    connections = httpx.HTTPTransport(local_address="127.0.0.2")
    with (
        agency.api(tmp_path / "api.log", STATEMENT_TIMEOUT="60", POOL_WAIT="60") as http,
        httpx.Client(base_url=http.base_url, transport=connections, timeout=20) as balancer,
        ThreadPoolExecutor(60) as pool,
        closing(agency.connect()) as holder,
    ):
        holder.cursor().execute("LOCK TABLE marts.publications IN ACCESS EXCLUSIVE MODE")
        flood = [pool.submit(http.get, "/health/ready") for _ in range(51)]
        refused = next(as_completed(flood, timeout=20)).result()
        assert refused.status_code == 429, refused.text
        probe = pool.submit(balancer.get, "/health/ready")
        with pytest.raises(TimeoutError):
            probe.result(0.5)
        holder.rollback()
        assert probe.result().status_code == 200


def test_the_document_says_how_a_key_is_sent(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["components"]["securitySchemes"]["header"]["name"] == "X-API-Key"
    stats, live = (document["paths"][path]["get"] for path in ("/stats", "/health/live"))
    assert stats["security"] == [{"bearer": []}, {"header": []}]
    assert {"401", "403"} <= set(stats["responses"])
    assert "security" not in live
    assert "401" not in live["responses"]


@pytest.fixture
def command(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`python -m elt key ...`: exit status, standard output, standard error."""

    def run(*arguments: str, role: str = MASTER) -> tuple[int, str, str]:
        monkeypatch.setenv("DATABASE_URL", warehouse.url(role))
        monkeypatch.setattr("sys.argv", ["elt", "key", *arguments])
        return (main(), *capsys.readouterr())

    return run


def test_a_key_is_made_shown_once_listed_and_revoked_by_the_command(warehouse: Warehouse, command: Any) -> None:
    status, out, said = command(
        "create", "acme-2026", "--advertiser", "ACME", "--advertiser", "BOLT", "--expires", "2999-01-01"
    )
    key = out.strip()
    assert status == 0
    assert re.fullmatch(r"rk_[\w-]{43}", key)
    assert "no published day has an advertiser 'ACME' on its active list" in said
    assert "it is shown this once" in said
    assert command("create", "everything")[0] == 0
    _, listed, _ = command("list")
    assert re.search(r"^everything +made on \S+ +does not expire +reads everything$", listed, re.MULTILINE)
    assert re.search(r"^acme-2026 +made on \S+ +expires on 2999-01-01 +reads ACME BOLT$", listed, re.MULTILINE)
    (stored,) = warehouse.rows("SELECT * FROM marts.api_keys WHERE name = 'acme-2026'", role=MASTER)
    assert bytes(stored[1]) == hashlib.sha256(key.encode()).digest()
    assert stored[3] == datetime(2999, 1, 1, tzinfo=UTC)
    assert key not in listed + str(stored)
    assert "is refused from now on" in command("revoke", "acme-2026")[1]
    assert "was revoked before; nothing was changed" in command("revoke", "acme-2026")[1]
    assert "revoked on" in command("list")[1]


def test_a_mistake_with_a_key_is_told_and_changes_nothing(warehouse: Warehouse, command: Any) -> None:
    assert command("create", "taken")[0] == 0
    today = TOMORROW - timedelta(1)
    for arguments, said in (
        (("create", "taken"), "there is a key taken already (made on"),
        (("create", "no name"), "'no name' is no name of a key"),
        (("create", "x", "--advertiser", ""), "'' is no id of an advertiser"),
        (("create", "x", "--advertiser", "A" * 65), "is no id of an advertiser: it has 1 to 64 characters"),
        (("create", "x", "--expires", str(today)), f"a key that expires on {today} would be refused now"),
        (("revoke", "none"), "there is no key 'none'; `python -m elt key list` says which there are"),
    ):
        status, out, told = command(*arguments)
        assert (status, out) == (1, ""), arguments
        assert told.startswith("key: "), told
        assert said in told
    with pytest.raises(SystemExit, match="2"):
        command("create", "x", "--expires", "tomorrow")
    status, _, told = command("create", "x", role="recommendations_pipeline")
    assert (status, "permission denied" in told) == (1, True)
    assert warehouse.rows("SELECT name FROM marts.api_keys", role=MASTER) == [("taken",)]


def test_keys_are_the_owners_to_write_and_the_apis_to_read(warehouse: Warehouse) -> None:
    rights = (
        "SELECT string_agg(kind, ' ' ORDER BY kind) FROM unnest(%s::text[]) AS kind "
        "WHERE has_table_privilege(%s, %s, kind)"
    )
    kinds = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"]
    for role, may in (("pipeline", None), ("analyst", None), ("api", "SELECT")):
        ((found,),) = warehouse.rows(rights, kinds, f"recommendations_{role}", "marts.api_keys")
        assert found == may, role


def test_keys_that_can_not_be_confirmed_are_trusted_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warehouse is played: it names a key, and is away; a clock that the test sets says how long."""
    now, away = 0.0, False
    for module in ("api.memory", "api.access"):
        monkeypatch.setattr(f"{module}.monotonic", lambda: now)
    version, asked = 1, 0

    async def lease() -> tuple[bool, int, float]:
        if away:
            raise Unavailable
        return False, version, 0.0

    async def ask() -> list[Any]:
        nonlocal asked
        asked += 1
        return [(hashlib.sha256(b"known").hexdigest(), "known", None, None, version)]

    async def story() -> None:
        nonlocal now, away, version
        access = Access(ask, Memory(lease, Unavailable, 1000))
        assert (await access.holder(b"known"))[0]
        away, now = True, TRUSTED - 1
        assert (await access.holder(b"known"))[0]
        with pytest.raises(Unavailable):
            await access.holder(b"other")
        now = TRUSTED + 1
        with pytest.raises(Unavailable):
            await access.holder(b"known")
        away, now = False, TRUSTED + 2
        assert (await access.holder(b"known"))[0]
        assert asked == 1
        version = 2
        assert (await access.holder(b"known"))[0]
        assert asked == 2

    asyncio.run(story())
