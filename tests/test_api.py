"""The API: a real uvicorn, asked over HTTP."""

import asyncio
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from conftest import DAY, MODELS, Night, Warehouse, ordinary_logs
from oracle import top_ctr, top_product

from api.database import PARAMETERS, Connection, Database, Unavailable, _ready
from api.settings import Settings
from elt.settings import PROJECT
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

BEFORE = "2024-11-19"
ORIGINS = '["https://agency.example"]'


@pytest.fixture(scope="module")
def reader(postgres: Postgres, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API over two published days, for tests that change nothing."""
    s3.create_bucket(Bucket="readers")
    yield from two_days(Night(Warehouse(postgres, "readers"), s3, "readers"), tmp_path_factory.mktemp("api"))


@pytest.fixture
def client(night: Night, tmp_path: Path) -> Iterator[httpx.Client]:
    """The API over two published days, of the test's own."""
    yield from two_days(night, tmp_path)


def two_days(night: Night, folder: Path) -> Iterator[httpx.Client]:
    active, views, ads = ordinary_logs(BEFORE, shift=2)
    today = ordinary_logs()
    night.deliver(active, views + today[1], ads + today[2])
    night.run(BEFORE)
    night.run(DAY)
    port = free_port()
    url = night.warehouse.url("recommendations_api")
    with serve(
        port, url, folder / "api.log", POOL_SIZE="2", STATEMENT_TIMEOUT="1", POOL_WAIT="3", CORS_ORIGINS=ORIGINS
    ):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield http


def test_recommendations(reader: httpx.Client) -> None:
    active, views, ads = ordinary_logs()
    answer = reader.get("/recommendations/ACME/TopCTR")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "advertiser_id": "ACME",
        "model": "TopCTR",
        "date": DAY,
        "count": 20,
        "recommendations": [
            {"rank": rank, "product_id": product, "ctr": rate, "clicks": clicks, "impressions": shown}
            for advertiser, rank, product, rate, clicks, shown in top_ctr(DAY, active, ads)
            if advertiser == "ACME"
        ],
    }
    assert list(answer.json()["recommendations"][0]) == ["rank", "product_id", "ctr", "clicks", "impressions"]
    for spelling in ("TopProduct", "topproduct/", "TOP_PRODUCT", "top-product", "Top-Product//"):
        answer = reader.get(f"/recommendations/ACME/{spelling}")
        assert answer.json()["recommendations"] == [
            {"rank": rank, "product_id": product, "views": count}
            for advertiser, rank, product, count in top_product(DAY, active, views)
            if advertiser == "ACME"
        ]
    older = reader.get("/recommendations/ACME/TopCTR", params={"date": BEFORE}).json()
    assert older["date"] == BEFORE
    assert older["recommendations"] != reader.get("/recommendations/ACME/TopCTR").json()["recommendations"]


def test_without_a_model_it_is_the_list_to_show(reader: httpx.Client) -> None:
    """Recommended, by default: what was clicked first, and each entry says why it is there."""
    answer = reader.get("/recommendations/ACME")
    assert answer.json() == reader.get("/recommendations/ACME/Recommended").json()
    assert answer.json()["model"] == "Recommended"
    assert answer.json()["count"] == 20
    entries = answer.json()["recommendations"]
    assert list(entries[0]) == ["rank", "product_id", "source", "decayed_ctr", "clicks", "impressions", "views", "days"]
    assert {(entry["source"], entry["days"]) for entry in entries} == {("DecayedCTR", 2)}
    assert reader.get(f"/recommendations/ACME/?date={BEFORE}").json()["date"] == BEFORE
    assert "'GONE' on the active list" in reader.get("/recommendations/GONE").json()["detail"]
    assert reader.get("/recommendations/ACME?date=2020-01-01").status_code == 404


@pytest.mark.model_blind
def test_a_setting_chooses_another_default_list(client: httpx.Client, warehouse: Warehouse, tmp_path: Path) -> None:
    for model, status in (("top-product", 200), ("TopNothing", 404)):
        port = free_port()
        with serve(port, warehouse.url("recommendations_api"), tmp_path / "other.log", DEFAULT_MODEL=model):
            answer = httpx.get(f"http://127.0.0.1:{port}/recommendations/ACME")
        assert answer.status_code == status, answer.text
    assert "no model 'TopNothing'; the models are" in answer.json()["detail"]
    assert "setting DEFAULT_MODEL says TopNothing" in answer.json()["detail"]


@pytest.mark.model_blind
def test_an_active_advertiser_without_events_has_an_empty_list(client: httpx.Client, delivered: Night) -> None:
    delivered.put("advertiser_ids", "advertiser_id\nACME\nBOLT\nQUIET\n")
    delivered.run()
    assert client.get("/recommendations/QUIET/TopCTR").json() == {
        "advertiser_id": "QUIET",
        "model": "TopCTR",
        "date": DAY,
        "count": 0,
        "recommendations": [],
    }
    assert client.get("/history/QUIET/").json()["history"] == {}


def test_history(reader: httpx.Client) -> None:
    answer = reader.get("/history/BOLT/").json()
    assert (answer["advertiser_id"], answer["from"], answer["to"]) == ("BOLT", "2024-11-14", DAY)
    assert list(answer["history"]) == [DAY, BEFORE]
    for day, lists in answer["history"].items():
        for model in ("TopCTR", "TopProduct"):
            single = reader.get(f"/recommendations/BOLT/{model}?date={day}").json()
            assert lists[model] == single["recommendations"]


def test_stats(client: httpx.Client, delivered: Night) -> None:
    answer = client.get("/stats/").json()
    assert answer["date"] == DAY
    assert answer["advertisers"] == 2
    assert answer["advertisers_with_lists"] == dict.fromkeys(MODELS, 2)
    for model in MODELS:
        lists = {
            (day, advertiser): {
                e["product_id"]
                for e in client.get(f"/recommendations/{advertiser}/{model}?date={day}").json()["recommendations"]
            }
            for day in (BEFORE, DAY)
            for advertiser in ("ACME", "BOLT")
        }
        assert [(v["advertiser_id"], v["replaced_share"], v["days"]) for v in answer["most_varying"][model]] == [
            (a, pytest.approx(len(lists[DAY, a] - lists[BEFORE, a]) / 20), 1) for a in ("ACME", "BOLT")
        ]
    for agreement in answer["agreement"]:
        one, other = (
            {
                e["product_id"]
                for e in client.get(f"/recommendations/{agreement['advertiser_id']}/{m}").json()["recommendations"]
            }
            for m in agreement["models"]
        )
        assert agreement["common"] == len(one & other)
        assert agreement["jaccard"] == pytest.approx(len(one & other) / len(one | other))
    assert len(client.get("/stats?limit=1").json()["agreement"]) == math.comb(len(MODELS), 2), "one a pair of models"
    assert answer["totals"]["day"] == {"impressions": 500, "clicks": 100, "ctr": 0.2, "views": 188}
    assert answer["lines"]["ads_views"]["rejected"] == 0
    assert answer["evaluation"]["TopCTR"]["lists_of"] == BEFORE
    older = client.get(f"/stats?date={BEFORE}").json()
    assert (older["date"], older["newest"], older["evaluation"]) == (BEFORE, DAY, {})
    assert older["most_varying"] == {model: [] for model in MODELS}


def test_stats_of_an_advertiser(client: httpx.Client) -> None:
    every, one = client.get("/stats/").json(), client.get("/stats/BOLT/").json()
    assert (one["advertiser_id"], one["date"]) == ("BOLT", DAY)
    assert set(one["lists"]) == set(MODELS)
    for model, figures in one["lists"].items():
        assert figures["count"] == 20
        varying = {v["advertiser_id"]: v for v in every["most_varying"][model]}["BOLT"]
        assert varying == {"advertiser_id": "BOLT", **figures["week"]}
    assert [{"advertiser_id": "BOLT", **pair} for pair in one["agreement"]] == sorted(
        (pair for pair in every["agreement"] if pair["advertiser_id"] == "BOLT"), key=lambda pair: pair["models"]
    )
    assert one["totals"]["day"] == {"products": 25, "impressions": 250, "clicks": 50, "ctr": 0.2, "views": 94}
    assert client.get(f"/stats/BOLT?date={BEFORE}").json()["lists"]["TopCTR"]["replaced_share"] is None


@pytest.mark.model_blind
def test_advertisers_by_the_page(client: httpx.Client) -> None:
    everyone = client.get("/advertisers/").json()
    assert (everyone["date"], everyone["active"], everyone["count"]) == (DAY, 2, 2)
    assert [a["advertiser_id"] for a in everyone["advertisers"]] == ["ACME", "BOLT"]
    first = client.get("/advertisers?limit=1").json()
    second = client.get("/advertisers", params={"after": first["advertisers"][-1]["advertiser_id"]}).json()
    assert first["advertisers"] + second["advertisers"] == everyone["advertisers"]
    assert (second["active"], second["count"]) == (2, 1)


def test_models_and_the_sql_that_made_their_lists(client: httpx.Client, delivered: Night) -> None:
    found = client.get("/models/").json()["models"]
    assert [model["model"] for model in found] == sorted(MODELS)
    by_name = {model["model"]: model for model in found}
    assert by_name["TopCTR"]["figures"] == ["ctr", "clicks", "impressions"]
    assert by_name["SmoothedCTR"]["days_read"] == [BEFORE, DAY]
    assert by_name["TopCTR"]["days_read"] == [DAY]
    for model in found:
        file = PROJECT / model["sql_file"]
        (text,) = delivered.warehouse.rows(
            "SELECT sql_text FROM marts.sql_versions WHERE sql_version = %s",
            model["sql_version"],
            role="recommendations_analyst",
        )
        assert text[0].startswith(file.read_text())
        assert ("-- DecayedCTR: " in text[0]) == (model["model"] in ("DecayedCTR", "Recommended"))
        assert f"-- {model['model']}: {model['title']}" == file.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        (
            "/recommendations/NOBODY/TopCTR",
            404,
            "no advertiser 'NOBODY' on the active list of any published day, 2024-11-19 to 2024-11-20",
        ),
        (
            "/recommendations/ACME/TopSellers",
            404,
            f"no model 'TopSellers'; the models are {', '.join(sorted(MODELS))}",
        ),
        (
            "/recommendations/ACME/TopCTR?date=2020-01-01",
            404,
            "nothing is published for 2020-01-01; the published days are 2024-11-19 to 2024-11-20",
        ),
        ("/recommendations/ACME/TopCTR?date=20-11-2024", 422, "query.date: Value error, a date is written YYYY-MM-DD"),
        ("/recommendations/ACME/TopCTR?date=2024-02-30", 422, None),
        ("/recommendations/ACME/TopCTR?date=1732060800", 422, None),
        ("/history/NOBODY", 404, None),
        ("/stats?limit=0", 422, None),
        ("/stats?date=2020-01-01", 404, None),
        (
            "/stats/NOBODY",
            404,
            "no advertiser 'NOBODY' on the active list of any published day, 2024-11-19 to 2024-11-20",
        ),
        ("/stats/GONE/", 404, None),
        (
            "/advertisers?date=2020-01-01",
            404,
            "nothing is published for 2020-01-01; the published days are 2024-11-19 to 2024-11-20",
        ),
        ("/advertisers?limit=0", 422, None),
        ("/advertisers?after=%00", 422, None),
        ("/models?date=2020-01-01", 404, None),
        ("/stats?limit=x", 422, None),
        ("/nothing", 404, "no page '/nothing'; /docs lists what there is"),
        ("/recommendations/A%00B/TopCTR", 422, None),
        ("/recommendations/" + "x" * 100 + "/TopCTR", 422, None),
        ("/recommendations/" + "x" * 10_000 + "/TopCTR", 414, "path and query are longer than 4096 bytes"),
        ("/recommendations/%27%3B%20DROP%20TABLE%20marts.recommendations%3B--/TopCTR", 404, None),
        ("/recommendations/%25s%25(date)s/TopCTR", 404, None),
        ("/recommendations/ACME/%E2%98%83", 404, None),
        ("/recommendations/%2E%2E%2F%2E%2E%2Fetc/passwd", 404, None),
        ("/recommendations/%FF%FE/TopCTR", 404, None),
    ],
)
def test_a_wrong_request_is_told_what_would_be_right(
    reader: httpx.Client, path: str, status: int, detail: str | None
) -> None:
    answer = reader.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert problem["status"] == status
    assert set(problem) >= {"type", "title", "status", "detail"}
    if detail:
        assert problem["detail"] == detail
    assert reader.get("/recommendations/ACME/TopCTR").status_code == 200


def test_health_metrics_and_documentation(reader: httpx.Client) -> None:
    version = (PROJECT / "VERSION").read_text().strip()
    assert reader.get("/health/live").json() == {"status": "live", "version": version}
    assert reader.get("/health/ready/").json() == {"status": "ready", "newest": DAY}
    assert reader.get("/docs").status_code == 200
    document = reader.get("/openapi.json").json()
    assert document["info"]["version"] == version
    assert {"/recommendations/{advertiser_id}/{model}", "/history/{advertiser_id}", "/stats"} <= set(document["paths"])
    reader.get("/recommendations/ACME/TopCTR").raise_for_status()
    assert 'route="/recommendations/{advertiser_id}/{model}"' in reader.get("/metrics").text
    through_a_balancer = reader.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
    assert through_a_balancer.status_code == 404, "not from the internet"
    assert "inside the network only" in through_a_balancer.json()["detail"]
    assert reader.post("/stats").status_code == 405


@pytest.mark.model_blind
def test_limits_security_headers_and_cors(reader: httpx.Client) -> None:
    assert reader.get("/stats", headers={"x-large": "y" * 20_000}).status_code == 431
    assert reader.request("GET", "/stats", content=b"z" * 20_000).status_code == 413
    answer = reader.get("/stats", headers={"origin": "https://agency.example"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["access-control-allow-origin"] == "https://agency.example"
    assert "access-control-allow-origin" not in reader.get("/stats", headers={"origin": "https://evil.example"}).headers


@pytest.mark.model_blind
def test_whatever_is_answered_allows_a_browser_nothing_but_the_pages_what_they_load(reader: httpx.Client) -> None:
    nothing = "default-src 'none'; frame-ancestors 'none'"
    for path in ("/stats", "/recommendations/ACME/TopCTR", "/recommendations/NOBODY/TopCTR", "/none", "/health/live"):
        headers = reader.get(path).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer"), path
        assert headers["content-security-policy"] == nothing, path
    for page in ("/", "/docs", "/advertisers/ACME", "/advertisers/NOBODY"):
        policy = reader.get(page).headers["content-security-policy"]
        assert "script-src 'self'; style-src 'self';" in policy, page


@pytest.mark.model_blind
def test_more_requests_than_connections_wait_and_are_answered(reader: httpx.Client) -> None:
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda n: reader.get("/recommendations/ACME/TopCTR").status_code, range(240)))
    assert set(answers) == {200}


@pytest.mark.model_blind
def test_more_than_100_requests_at_once_are_refused_at_once_but_health_and_metrics_answer(
    delivered: Night, tmp_path: Path
) -> None:
    """A lock in the database keeps 100 under way; no two are the same, so that none is answered from memory.

    Of one client 50 are, and the places of the others are theirs. Clients are told apart by the address that the proxy
    before the API names: here the test, which comes from one that is trusted.
    """
    delivered.run()
    port = free_port()
    url = delivered.warehouse.url("recommendations_api")
    settings = {"POOL_SIZE": "2", "STATEMENT_TIMEOUT": "60", "POOL_WAIT": "60", "FORWARDED_ALLOW_IPS": "127.0.0.1"}
    with (
        serve(port, url, tmp_path / "api.log", **settings),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=httpx.Limits()) as http,
        ThreadPoolExecutor(150) as pool,
        closing(psycopg2.connect(delivered.warehouse.postgres.url("postgres", delivered.warehouse.name))) as holder,
    ):

        def ask(client: int, number: int) -> httpx.Response:
            return http.get(f"/stats?limit={number}", headers={"x-forwarded-for": f"192.0.2.{client}"})

        holder.cursor().execute("LOCK TABLE marts.publications IN ACCESS EXCLUSIVE MODE")
        greedy = [pool.submit(ask, 1, number) for number in range(1, 58)]
        for _, answer in zip(range(7), as_completed(greedy, timeout=30), strict=False):
            assert (answer.result().status_code, answer.result().headers["retry-after"]) == (429, "2")
            assert answer.result().json()["detail"].startswith("50 requests of yours are under way")
            assert answer.result().headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        others = [pool.submit(ask, number, number) for number in range(101, 158)]
        for _, answer in zip(range(7), as_completed(others, timeout=30), strict=False):
            assert (answer.result().status_code, answer.result().headers["retry-after"]) == (503, "2")
            assert answer.result().json()["detail"] == "too many requests at once"
        for path in ("/health/live", "/metrics"):
            assert http.get(path).status_code == 200
        assert ask(1, 200).status_code == 429
        assert ask(2, 200).status_code == 503
        holder.close()
        assert sorted(answer.result().status_code for answer in greedy) == [200] * 50 + [429] * 7
        assert sorted(answer.result().status_code for answer in others) == [200] * 50 + [503] * 7
        assert [ask(1, number).status_code for number in range(300, 360)] == [200] * 60


@pytest.mark.model_blind
def test_a_lost_connection_is_replaced_without_the_client_noticing(client: httpx.Client, warehouse: Warehouse) -> None:
    for number in range(5):
        answer = client.get(f"/history/ACME?{'&' * number}")  # never the same, so that none is answered from memory
        assert answer.status_code == 200
        assert "cache-status" not in answer.headers
        _kill_connections(warehouse)


@pytest.mark.model_blind
def test_a_query_that_took_too_long_is_not_asked_again(warehouse: Warehouse) -> None:
    """Only for a connection that has died the query goes over a new one, of which the test keeps count."""
    connected = 0

    class Counting(Database):
        async def _connect(self) -> Connection:
            nonlocal connected
            connected += 1
            return await super()._connect()

    async def story() -> None:
        url = warehouse.url("recommendations_api")
        database = Counting(Settings(database_url=url, pool_size=1, statement_timeout=0.3))
        await database.fetch("history", advertiser_id="ACME", date=None, limit=None)
        with closing(psycopg2.connect(warehouse.postgres.url("postgres", warehouse.name))) as holder:
            holder.cursor().execute("LOCK TABLE marts.publications IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable, match="the warehouse took too long to answer"):
                await database.fetch("history", advertiser_id="ACME", date=None, limit=None)
        assert connected == 1
        await database.fetch("history", advertiser_id="ACME", date=None, limit=None)
        _kill_connections(warehouse)
        await database.fetch("history", advertiser_id="ACME", date=None, limit=None)
        assert connected == 3
        database.close()

    asyncio.run(story())


@pytest.mark.model_blind
def test_a_slow_database_is_503_within_a_bounded_time(client: httpx.Client, warehouse: Warehouse) -> None:
    lock = psycopg2.connect(warehouse.url("recommendations_pipeline"))
    conn = psycopg2.connect(warehouse.postgres.url("postgres", warehouse.name))
    with conn.cursor() as cursor:
        cursor.execute("LOCK TABLE marts.recommendations IN ACCESS EXCLUSIVE MODE")
        answer = client.get("/recommendations/ACME/TopCTR")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["detail"] == "the warehouse took too long to answer"
        assert client.get("/health/ready").status_code == 200
    conn.close()
    lock.close()
    assert client.get("/recommendations/ACME/TopCTR").status_code == 200


@pytest.mark.model_blind
def test_without_a_database_it_starts_and_says_503(tmp_path: Path) -> None:
    port = free_port()
    with serve(port, "postgresql://someone:hidden@127.0.0.1:1/none", tmp_path / "api.log"):
        answer = httpx.get(f"http://127.0.0.1:{port}/recommendations/ACME/TopCTR")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["detail"] == "the warehouse can not be reached"
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 503
    assert "hidden" not in (tmp_path / "api.log").read_text()


@pytest.mark.model_blind
def test_the_api_imports_nothing_of_the_pipeline() -> None:
    for file in (PROJECT / "api").glob("*.py"):
        assert "import elt" not in file.read_text()
        assert "from elt" not in file.read_text()


def test_the_documented_answers_are_the_real_ones(reader: httpx.Client) -> None:
    """The examples in the OpenAPI document have the keys that the API answers."""
    document = reader.get("/openapi.json").json()
    for path, name in (
        ("/recommendations/ACME/TopCTR", "Recommendations"),
        ("/history/ACME", "History"),
        ("/stats", "Stats"),
        ("/stats/ACME", "AdvertiserStats"),
        ("/advertisers", "Advertisers"),
        ("/models", "Models"),
    ):
        (example,) = document["components"]["schemas"][name]["examples"]
        answer = reader.get(path).json()
        assert set(answer) == set(example), path
        assert_same_keys(answer, example, path)


def assert_same_keys(answer: object, example: object, where: str) -> None:
    """What the example names exists in the answer with the same keys; models and days stand for one another."""
    if isinstance(answer, list) and isinstance(example, list) and answer and example:
        assert_same_keys(answer[0], example[0], f"{where}[0]")
    elif isinstance(answer, dict) and isinstance(example, dict):
        if not set(answer) & (set(MODELS) | {DAY, BEFORE, "ads_views"}):
            assert set(answer) == set(example), where
        for key in set(answer) & set(example):
            assert_same_keys(answer[key], example[key], f"{where}.{key}")


def _kill_connections(warehouse: Warehouse) -> None:
    conn = psycopg2.connect(warehouse.postgres.url("postgres", "postgres"))
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = 'recommendations_api' AND datname = %s",
            (warehouse.name,),
        )
    conn.close()


def test_the_short_cut_to_the_newest_list_answers_as_the_route_does(reader: httpx.Client) -> None:
    """With a query string, even one that means nothing, FastAPI calls the endpoint; without, the edge does."""
    for path, status in (
        ("/recommendations/ACME/TopCTR", 200),
        ("/recommendations/ACME/top-product/", 200),
        ("/recommendations/%41CME/topctr", 200),
        ("/recommendations/NOBODY/TopCTR", 404),
        ("/recommendations/ACME", 200),
        ("/recommendations/NOBODY", 404),
        ("/recommendations/ACME/TopNothing", 404),
        ("/recommendations/A%00/TopCTR", 422),
    ):
        short, route = (reader.get(path + query, headers={"x-request-id": "one"}) for query in ("", "?&"))
        assert (short.status_code, short.content) == (status, route.content)
        assert {k: v for k, v in short.headers.items() if k != "date"} == {
            k: v for k, v in route.headers.items() if k != "date"
        }
        assert reader.head(path).status_code == status
        assert reader.post(path).status_code == 405


async def plan_of(warehouse: Warehouse, query: str, params: dict[str, Any]) -> str:
    database = Database(Settings(database_url=warehouse.url("recommendations_api"), pool_size=1))
    assert len(await database.fetch_all(query, **params)) in (32, 1)
    conn = await database._free.get()
    assert conn
    cursor = conn.cursor()
    marks = ", ".join(["%s"] * len(params))
    cursor.execute(f"EXPLAIN EXECUTE {query} ({marks})", [params[name] for name in PARAMETERS[query]])
    await _ready(conn)
    plan = "\n".join(line for (line,) in cursor.fetchall())
    conn.close()
    return plan


def test_lists_and_history_are_looked_up_not_searched_for(warehouse: Warehouse) -> None:
    """The plans of the statements that the API prepares, at a size where searching would be slow."""
    warehouse.make_months(days=30)
    for statement in (
        "INSERT INTO marts.recommendations (date, model, advertiser_id, rank, product_id, score, entry) "
        "SELECT date '2024-11-20' - day, model, 'A' || advertiser, rank, 'p' || rank, 0, '{}' "
        "FROM generate_series(0, 29) AS day, unnest(array['TopCTR', 'TopProduct']) AS model, "
        "generate_series(1, 100) AS advertiser, generate_series(1, 20) AS rank",
        "INSERT INTO marts.publications (date, model, row_count, advertiser_count, sql_file, sql_version, "
        "git_revision, lists_hash, load_id, sources, accounting, run_id) "
        "SELECT date '2024-11-20' - day, model, 0, 0, '', '', '', '', gen_random_uuid(), '[]', '[]', '' "
        "FROM generate_series(0, 29) AS day, unnest(array['TopCTR', 'TopProduct']) AS model",
        "INSERT INTO marts.active_advertisers "
        "SELECT date '2024-11-20' - day, 'A' || advertiser "
        "FROM generate_series(0, 29) AS day, generate_series(1, 100) AS advertiser",
    ):
        warehouse.rows(statement)
    warehouse.rows("ANALYZE", role=MASTER)
    ids = [f"A{n}" for n in range(1, 33)]
    for query, params in (
        (
            "recommendations",
            {"advertiser_ids": ids, "models": ["top-ctr"] * 32, "dates": [None] * 32, "limits": [None] * 32},
        ),
        ("history", {"date": None, "limit": None, "advertiser_id": "A7"}),
        ("stats", {"date": None, "limit": 10, "seen": None}),
        ("stats_advertiser", {"date": None, "advertiser_id": "A7"}),
    ):
        plan = asyncio.run(plan_of(warehouse, query, params))
        assert f"Function Scan on list_{'sizes' if query.startswith('stats') else 'of'}" in plan, plan
        assert "recommendations" not in plan, "only there, where the other months are left out before it begins"
        assert "Seq Scan on active_advertisers" not in plan, plan
