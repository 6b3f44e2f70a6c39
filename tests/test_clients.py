"""What clients ask for beyond one list: several, a part of one, page after page, all of a day as a stream."""

import csv
import gzip
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import DAY, MODELS, Night, Warehouse, ordinary_logs

from local.airflow import free_port
from local.api import serve
from local.postgres import Postgres

pytestmark = pytest.mark.model_blind

BEFORE = "2024-11-19"
NDJSON, CSV = "/exports/lists.ndjson", "/exports/lists.csv"


@contextmanager
def api(warehouse: Warehouse, log: Path) -> Iterator[httpx.Client]:
    port = free_port()
    with serve(port, warehouse.url("recommendations_api"), log):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield http


@pytest.fixture(scope="module")
def client(postgres: Postgres, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Two published days of ACME and BOLT, on the second one of QUIET, which has no events."""
    s3.create_bucket(Bucket="clients")
    night = Night(Warehouse(postgres, "clients"), s3, "clients")
    for day, quiet in ((BEFORE, []), (DAY, ["QUIET"])):
        active, views, ads = ordinary_logs(day, shift=len(quiet))
        night.deliver(active + quiet, views, ads)
        night.run(day)
    with api(night.warehouse, tmp_path_factory.mktemp("clients") / "api.log") as http:
        yield http


def test_the_lists_of_several_advertisers_in_one_answer(client: httpx.Client) -> None:
    for query in ({}, {"model": "top-ctr"}, {"model": "TopProduct", "date": BEFORE}):
        named = ["BOLT", "NOBODY", "ACME", "BOLT", "A,B"]
        answer = client.get("/recommendations", params={"advertiser_id": named, **query})
        model = query.get("model", "Recommended")
        singles = [
            client.get(f"/recommendations/{one}/{model}", params=query.get("date") and {"date": query["date"]})
            for one in ("BOLT", "ACME")
        ]
        assert answer.json() == {
            "count": 2,
            "missing": ["NOBODY", "A,B"],
            "lists": [single.json() for single in singles],
        }
        assert ("immutable" in answer.headers["cache-control"]) == ("date" in query)
        tag = answer.headers["etag"]
        assert client.get(answer.url, headers={"if-none-match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("", 422, "advertiser_id"),
        ("?advertiser_id=", 422, "advertiser_id"),
        ("?" + "&".join(["advertiser_id=A"] * 101), 422, "100"),
        ("?advertiser_id=ACME&advertiser_id=BOLT&model=TopSellers", 404, "no model 'TopSellers'; the models are"),
        ("?advertiser_id=NOBODY&advertiser_id=NOTHING", 404, "no advertiser 'NOBODY'"),
        ("?advertiser_id=ACME&date=2020-01-01", 404, "nothing is published for 2020-01-01"),
        ("?advertiser_id=ACME&limit=0", 422, "limit"),
        ("?advertiser_id=%00", 422, "advertiser_id"),
    ],
)
def test_when_there_are_no_lists_of_several_it_is_said_why(
    client: httpx.Client, query: str, status: int, detail: str
) -> None:
    answer = client.get("/recommendations" + query)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json()["detail"]


def test_the_best_of_a_list_are_as_many_as_were_asked_for(client: httpx.Client) -> None:
    whole = client.get("/recommendations/ACME/TopCTR").json()["recommendations"]
    for limit in (1, 7, 20):
        for path in ("/recommendations/ACME/TopCTR", "/recommendations?advertiser_id=ACME&model=TopCTR"):
            answer = client.get(httpx.URL(path).copy_merge_params({"limit": str(limit)})).json()
            one = answer["lists"][0] if "lists" in answer else answer
            assert (one["count"], one["recommendations"]) == (limit, whole[:limit])
    assert client.get("/recommendations/ACME?limit=3").json()["count"] == 3
    every, best = (client.get("/history/ACME" + query).json()["history"] for query in ("", "?limit=3"))
    assert best == {day: {model: one[:3] for model, one in lists.items()} for day, lists in every.items()}
    for wrong in ("0", "21", "x", ""):
        assert client.get(f"/recommendations/ACME/TopCTR?limit={wrong}").status_code == 422


def test_pages_lead_to_the_next_one_until_there_is_none(client: httpx.Client) -> None:
    everyone = client.get("/advertisers").json()
    assert everyone["next"] is None
    for date in ("", f"&date={BEFORE}"):
        found, url = [], httpx.URL(f"{client.base_url}/advertisers?limit=1{date}")
        while True:
            answer = client.get(url)
            found += [one["advertiser_id"] for one in answer.json()["advertisers"]]
            if (following := answer.json()["next"]) is None:
                assert "link" not in answer.headers
                break
            assert answer.links["next"]["url"] == following
            url = url.join(following)
        assert found == (["ACME", "BOLT"] if date else ["ACME", "BOLT", "QUIET"])
    exactly = client.get("/advertisers?limit=3").json()
    assert (exactly["count"], exactly["next"]) == (3, None)


def test_all_lists_of_a_day_are_one_stream_of_the_lists_that_there_are(client: httpx.Client) -> None:
    for query, date, advertisers in (
        ("", DAY, ["ACME", "BOLT", "QUIET"]),
        (f"?date={BEFORE}", BEFORE, ["ACME", "BOLT"]),
    ):
        answer = client.get(NDJSON + query)
        assert answer.headers["content-type"] == "application/x-ndjson"
        lists = [json.loads(line) for line in answer.text.splitlines()]
        assert lists == [
            client.get(f"/recommendations/{one}/{model}?date={date}").json()
            for model in sorted(MODELS)
            for one in advertisers
        ]
        assert ("immutable" in answer.headers["cache-control"]) == (date == BEFORE)
        table = list(csv.reader(client.get(CSV + query).text.splitlines()))
        assert table[0] == ["date", "model", "advertiser_id", "rank", "product_id", "score"]
        assert [row[:5] for row in table[1:]] == [
            [date, one["model"], one["advertiser_id"], str(entry["rank"]), entry["product_id"]]
            for one in lists
            for entry in one["recommendations"]
        ]
        ctr = [entry["ctr"] for one in lists if one["model"] == "TopCTR" for entry in one["recommendations"]]
        assert [float(row[5]) for row in table[1:] if row[1] == "TopCTR"] == ctr
    one = client.get(f"{NDJSON}?model=top_ctr").text
    assert one == "".join(line + "\n" for line in client.get(NDJSON).text.splitlines() if '"model":"TopCTR"' in line)


def test_an_export_is_asked_for_again_at_the_cost_of_nothing_and_zipped(client: httpx.Client) -> None:
    for path in (NDJSON, CSV):
        plain = client.get(path, headers={"accept-encoding": "identity"})
        with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as zipped:
            raw = b"".join(zipped.iter_raw())
        assert "content-encoding" not in plain.headers
        assert zipped.headers["content-encoding"] == "gzip"
        assert gzip.decompress(raw) == plain.content
        assert len(raw) < len(plain.content) / 3
        assert zipped.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert zipped.headers["etag"] != plain.headers["etag"]
        for answer, encoding in ((plain, "identity"), (zipped, "gzip")):
            tag = answer.headers["etag"]
            for named in (tag, f'"x", W/{tag}', "*"):
                again = client.get(path, headers={"accept-encoding": encoding, "if-none-match": named})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert client.get(path, headers={"accept-encoding": encoding, "if-none-match": '"x"'}).status_code == 200
        head = client.head(path)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", zipped.headers["etag"])
    for query, status in (("?date=2020-01-01", 404), ("?model=none", 404), ("?date=x", 422), ("?limit=1", 422)):
        assert client.get(NDJSON + query).status_code == status
    assert client.post(NDJSON).status_code == 405


LARGE = (
    "INSERT INTO marts.recommendations (date, model, advertiser_id, rank, product_id, score, entry) "
    "SELECT day, model, 'A' || advertiser, rank, 'p' || rank, 0.5, "
    "json_build_object('rank', rank, 'product_id', 'p' || rank, 'ctr', 0.5, 'clicks', 7, 'impressions', 14) "
    "FROM unnest(array[date '2024-11-19', '2024-11-20']) AS day, unnest(array['One', 'Two']) AS model, "
    "generate_series(1, 1500) AS advertiser, generate_series(1, 20) AS rank",
    "INSERT INTO marts.publications (date, model, row_count, advertiser_count, sql_file, sql_version, "
    "git_revision, lists_hash, load_id, sources, accounting, run_id) "
    "SELECT day, model, 0, 0, '', '', '', '', gen_random_uuid(), '[]', '[]', '' "
    "FROM unnest(array[date '2024-11-19', '2024-11-20']) AS day, unnest(array['One', 'Two']) AS model",
    "INSERT INTO marts.active_advertisers SELECT day, 'A' || advertiser "
    "FROM unnest(array[date '2024-11-19', '2024-11-20']) AS day, generate_series(1, 1500) AS advertiser",
)


def test_exports_that_are_read_slowly_leave_all_places_to_others(
    warehouse: Warehouse, nobody_reads: None, tmp_path: Path
) -> None:
    """Of many clients, each as many as it may have. Whoever goes away gives the place back."""
    warehouse.make_months()
    for statement in LARGE:
        warehouse.rows(statement)
    asked = f"GET {NDJSON} HTTP/1.1\r\nHost: api\r\n\r\n".encode()
    with api(warehouse, tmp_path / "api.log") as http, ExitStack() as stack:
        statuses: Counter[bytes] = Counter()
        for client in (f"127.0.1.{number // 25}" for number in range(100)):
            reader = stack.enter_context(closing(socket.socket()))
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.settimeout(20)
            reader.bind((client, 0))
            reader.connect((http.base_url.host, http.base_url.port))
            reader.sendall(asked)
            statuses[reader.recv(12)[9:]] += 1
        lists = [http.get(f"/recommendations/A{number}/One").status_code for number in range(1, 100)]
        assert set(lists) == {200}
        assert statuses == {b"200": 20, b"429": 30, b"503": 50}
        refused = http.get(NDJSON)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        stack.close()
        deadline = time.monotonic() + 20
        while http.get(NDJSON).status_code != 200:
            assert time.monotonic() < deadline


def test_an_export_that_is_not_all_of_one_publication_has_no_end(
    warehouse: Warehouse, nobody_reads: None, tmp_path: Path
) -> None:
    """Lists too many to be on their way at once, read by a client that waits amid; the process grows by no day."""
    warehouse.make_months()
    for statement in LARGE:
        warehouse.rows(statement)
    warehouse.rows("ANALYZE")

    def publish(http: httpx.Client, day: str) -> int:
        """Bytes of an export, while which the day is published again."""
        size = 0
        with http.stream("GET", NDJSON, headers={"accept-encoding": "identity"}) as answer:
            for piece in answer.iter_raw(10_000):
                if not size:
                    warehouse.rows(
                        "UPDATE marts.publications SET published_at = now() WHERE date = %s AND model = 'Two'", day
                    )
                size += len(piece)
        return size

    def resident(http: httpx.Client) -> float:
        return next(
            float(line.split()[1])
            for line in http.get("/metrics").text.splitlines()
            if line.startswith("process_resident")
        )

    with api(warehouse, tmp_path / "api.log") as http:
        http.get(NDJSON, params={"model": "One"})
        before = resident(http)
        size = publish(http, BEFORE)
        assert size > 5_000_000
        assert resident(http) - before < size
        with pytest.raises(httpx.RemoteProtocolError):
            publish(http, DAY)
        assert http.get(NDJSON, headers={"accept-encoding": "identity"}).text.count("\n") == 3000
        warehouse.rows("UPDATE marts.publications SET row_count = 30000")
        warehouse.rows("DELETE FROM marts.recommendations WHERE model = 'Two' AND advertiser_id = 'A7' AND rank = 3")
        for path in (NDJSON, CSV):
            assert http.get(path, params={"model": "One"}).status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                http.get(path)
    assert "rows of the lists of Two of 2024-11-20 are lost" in (tmp_path / "api.log").read_text()
    assert "the lists of Two of 2024-11-20 changed while they were exported" in (tmp_path / "api.log").read_text()
