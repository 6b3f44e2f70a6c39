"""Figures: what /stats and /advertisers say, recomputed in plain Python over several days published in any order."""

import json
import random
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import psycopg2
import pytest
from chaos import scale
from conftest import DAY, MODELS, URIS, Night, Warehouse, ordinary_logs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg2.extras import execute_values
from statistics_oracle import Published, advertisers, stats, stats_of_advertiser

from api.database import QUERIES
from elt import sql, steps
from elt.settings import Settings

pytestmark = pytest.mark.usefixtures("nobody_reads")

ADVERTISERS = ["ACME", "BOLT", "acme", "ÄTNA"]
PRODUCTS = [f"p{n:02}" for n in range(26)]
SOURCES = ["ads_views", "advertiser_ids", "product_views"]


def make_day(chance: random.Random, most: int) -> Published:
    active = {a for a in ADVERTISERS if chance.random() < 0.85} or {"ACME"}
    with_events = [a for a in sorted(active) if chance.random() < 0.9] or sorted(active)
    counts = {}
    for advertiser in with_events:
        for product in PRODUCTS:
            shown = chance.choice([0, most, chance.randint(0, most)])
            counts[advertiser, product] = shown, chance.randint(0, 1 + shown // 8), chance.randint(0, 5)
    if not any(shown for shown, *_ in counts.values()):
        # A day with clicks and no impression at all is not published.
        counts = {key: (0, 0, views) for key, (*_, views) in counts.items()}
    day = Published(active, counts)
    for source in SOURCES:
        lines = [chance.randint(0, 99) for _ in range(chance.randint(1, 3))]
        day.objects[source] = [(delivered, chance.randint(0, delivered)) for delivered in lines]
    for model in MODELS:
        for advertiser in with_events:
            if chance.random() < 0.8 or not day.lists[model]:
                day.lists[model][advertiser] = chance.sample(PRODUCTS, chance.choice([1, 2, 5, 19, 20, 20]))
    return day


@st.composite
def published_days(draw):
    """(day, what is published of it) in the order of publication; some days twice, with other lists the second time."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    days = draw(st.lists(st.integers(0, 11), min_size=1, max_size=7))
    most = draw(st.sampled_from([0, 3, 60]))
    return [(str(date.fromisoformat(DAY) + timedelta(n)), make_day(chance, most)) for n in days]


def publish(warehouse: Warehouse, day: str, content: Published) -> None:
    """As if FiltrarDatos had loaded it and the models had ranked it; DBWriting is the real one."""
    warehouse.make_months(day)
    conn = warehouse.connect()
    with conn, conn.cursor() as cursor:
        for table in ("loads", "active_advertisers", "product_daily", "source_objects", "accounting"):
            cursor.execute(f"DELETE FROM staging.{table} WHERE date = %s", (day,))
        cursor.execute("DELETE FROM models.candidates WHERE date = %s", (day,))
        cursor.execute("INSERT INTO staging.loads VALUES (%s, gen_random_uuid(), '', '')", (day,))
        active = [(day, advertiser) for advertiser in content.active]
        execute_values(cursor, "INSERT INTO staging.active_advertisers VALUES %s", active)
        counts = [(day, *key, *row) for key, row in content.counts.items()]
        execute_values(cursor, "INSERT INTO staging.product_daily VALUES %s", counts)
        objects = [
            (day, source, f"u{number}", "e", 1, *lines)
            for source, of_source in content.objects.items()
            for number, lines in enumerate(of_source)
        ]
        execute_values(cursor, "INSERT INTO staging.source_objects VALUES %s", objects)
        cursor.execute("INSERT INTO staging.accounting VALUES (%s, 'ads_views', 9, 7, 0, 0, 2)", (day,))
        rows = [
            (day, model, advertiser, rank, product, -rank, json.dumps({"rank": rank, "product_id": product}))
            for model, lists in content.lists.items()
            for advertiser, products in lists.items()
            for rank, product in enumerate(products, 1)
        ]
        execute_values(cursor, "INSERT INTO models.candidates VALUES %s", rows)
        cursor.execute("CREATE TEMPORARY TABLE dropped ()")  # nothing was left out
        for model in MODELS:
            built = {"sql_file": "f", "sql_version": model, "sql_text": f"-- {model}: x", "looks_back": 0}
            cursor.execute(sql.read("models/builds"), built | {"ds": day, "model": model})
    conn.close()
    uris: dict[str, Any] = dict.fromkeys(URIS, "s3://bucket/key")
    anywhere = Settings(git_revision="test", **uris)
    steps.publish(day, sql.models(), warehouse.connect, anywhere, run_id="test")


def ask(warehouse: Warehouse, query: str, **params: Any) -> Any:
    """What the API answers to a question, as its role; None where it would say 404."""
    conn = psycopg2.connect(warehouse.url("recommendations_api"))
    with conn.cursor() as cursor:
        cursor.execute(QUERIES[query], {"seen": None, **params})
        row = cursor.fetchone()
    conn.close()
    return json.loads(row[0]) if row else None


def close(expected: Any) -> Any:
    """The same, numbers to 3 digits: expected clicks, often less than one, are rounded to 6 decimals in between."""
    match expected:
        case dict():
            return {key: close(value) for key, value in expected.items()}
        case list():
            return [close(value) for value in expected]
        case float() | Fraction():
            return pytest.approx(float(expected), rel=1e-3, abs=2e-6)
    return expected


# Without shrinking: a smaller example is not worth the minutes that it takes to find.
@pytest.mark.chaos
@pytest.mark.model_blind
@settings(
    max_examples=scale(4, 16),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(days=published_days(), limit=st.integers(1, 5))
def test_stats_are_what_plain_python_counts_in_the_lists(warehouse: Warehouse, days, limit: int) -> None:
    assert_stats(warehouse, days, limit)


@pytest.mark.model_blind
def test_a_week_is_7_published_days_of_many(warehouse: Warehouse) -> None:
    """One of the first is published once more at the end: all weeks that it is in follow, and no other."""
    chance = random.Random(1)
    order = chance.sample(range(18), 11)
    order.append(sorted(order)[1])
    days = [(str(date.fromisoformat(DAY) + timedelta(n)), make_day(chance, 60)) for n in order]
    assert_stats(warehouse, days, 3)


def assert_stats(warehouse: Warehouse, days: list[tuple[str, Published]], limit: int) -> None:
    for table in warehouse.rows(
        "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relkind IN ('r', 'p') "
        "AND c.relnamespace::regnamespace::text IN ('staging', 'models', 'marts') AND c.relname <> 'version' "
        "AND has_table_privilege(c.oid, 'DELETE')"
    ):
        warehouse.rows(f"DELETE FROM {table[0]}")
    check(warehouse, days, limit)


@pytest.mark.model_blind
def test_a_week_is_the_7_newest_of_the_days_that_are_published(warehouse: Warehouse) -> None:
    chance = random.Random(7)
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in (0, 1, 2, 3, 5, 6, 8, 9, 10)]
    check(warehouse, [(day, make_day(chance, most=60)) for day in days], limit=3)


def check(warehouse: Warehouse, days: list[tuple[str, Published]], limit: int) -> None:
    """Publishes the days in their order; then the figures of each are what plain Python counts."""
    published: dict[str, Published] = {}
    for day, content in days:
        publish(warehouse, day, content)
        published[day] = content
    for day in published:
        answer = ask(warehouse, "stats", date=day, limit=limit)
        of_all = ask(warehouse, "stats", date=day, limit=limit, seen=list(ADVERTISERS))
        assert of_all == {**answer, "lines": {}, "evaluation": {}}, "who may see every advertiser by name"
        answer.pop("published_at")
        assert answer == close(stats(published, day, limit))
        for after in ("", *ADVERTISERS):
            answer = ask(warehouse, "advertisers", date=day, limit=limit, after=after)
            assert answer == close(advertisers(published, day, limit, after))
        for advertiser in ADVERTISERS:
            answer = ask(warehouse, "stats_advertiser", date=day, advertiser_id=advertiser)
            if advertiser in published[day].active:
                assert answer
                answer.pop("published_at")
                assert answer == close(stats_of_advertiser(published, day, advertiser))
            else:
                assert answer is None
    newest = ask(warehouse, "stats", date=None, limit=limit)
    assert newest == ask(warehouse, "stats", date=max(published), limit=limit)


def test_a_day_published_before_there_were_figures_has_totals_of_0(delivered: Night) -> None:
    delivered.run()
    for table in ("daily", "advertiser_daily"):
        delivered.warehouse.rows(f"DELETE FROM marts.{table}")
    nothing = {"from": DAY, "days": 0, "impressions": 0, "clicks": 0, "ctr": None, "views": 0}
    every = ask(delivered.warehouse, "stats", date=None, limit=1)
    one = ask(delivered.warehouse, "stats_advertiser", date=None, advertiser_id="ACME")
    assert every["totals"] == one["totals"] == {"day": None, "week": nothing}
    listed = ask(delivered.warehouse, "advertisers", date=None, limit=1, after="")
    unknown = dict.fromkeys(("products", "impressions", "clicks", "ctr", "views"))
    assert listed["advertisers"] == [{"advertiser_id": "ACME", **unknown}]


def test_the_newest_of_the_days_lists_says_when_it_was_published(delivered: Night) -> None:
    """A day that comes late: of the day after it, only the model that looks back on it is published again."""
    delivered.run()
    before = "2024-11-19"
    delivered.deliver(*ordinary_logs(before))
    delivered.run(before)
    times = {m["model"]: m["published_at"] for m in ask(delivered.warehouse, "models", date=DAY)["models"]}
    assert times["SmoothedCTR"] > times["TopCTR"] == times["TopProduct"]
    assert ask(delivered.warehouse, "stats", date=DAY, limit=1)["published_at"] == times["SmoothedCTR"]
    one = ask(delivered.warehouse, "stats_advertiser", date=DAY, advertiser_id="ACME")
    assert one["published_at"] == times["SmoothedCTR"]


def test_what_became_of_the_lists_is_known_when_the_day_after_is_published_and_follows_what_is_loaded_again(
    night: Night,
) -> None:
    """Worked by hand: 25 products, 10 impressions each; p00 to p04 have no, ... 4 clicks, and so on."""
    after = "2024-11-21"
    night.deliver(*ordinary_logs())
    night.run()
    assert night.warehouse.rows("TABLE marts.evaluation") == []
    night.deliver(*ordinary_logs(after))
    night.run(after)
    query = (
        "SELECT date::text, advertisers, impressions, clicks, all_impressions, all_clicks, expected_clicks, lift, "
        "click_share, meaningful FROM marts.evaluation WHERE model = 'TopCTR'"
    )
    # TopCTR lists the 20 products with a click: 200 of 250 impressions, all 50 clicks, for each of two advertisers.
    assert night.warehouse.rows(query) == [(DAY, 2, 400, 100, 500, 100, 80.0, 1.25, 1.0, True)]
    night.deliver(*ordinary_logs(after, shift=1))
    night.run(after)
    # Now p04, p09, ... have no click, and p00, p05, ... one: TopCTR named the former. 20 listed products miss 5 clicks.
    ((_, _, shown, clicked, _, _, expected, lift, share, meaningful),) = night.warehouse.rows(query)
    assert (shown, clicked, expected, lift, share, meaningful) == (400, 90, 80.0, 1.125, 0.9, True)
    asked = {"date": after, "limit": 1}
    assert "TopProduct" in ask(night.warehouse, "stats", **asked)["evaluation"]
    night.warehouse.rows("DELETE FROM marts.publications WHERE (date, model) = (%s, 'TopProduct')", after)
    assert "TopProduct" not in ask(night.warehouse, "stats", **asked)["evaluation"], "it is none of the day's models"


@pytest.mark.model_blind
@pytest.mark.parametrize(("clicks", "meaningful"), [(10, True), (9, False)])
def test_5_expected_counts_are_enough_to_mean_something(night: Night, clicks: int, meaningful: bool) -> None:
    """Half of the impressions are of the one product on the list: of 10 clicks it would have 5, were it average."""
    after = "2024-11-21"
    night.deliver(["ACME"], [("ACME", "p", DAY)], [("ACME", "p", kind, DAY) for kind in ("impression", "click")])
    night.run()
    ads = [("ACME", product, "impression", after) for product in ("p", "other") for _ in range(100)]
    night.deliver(["ACME"], [("ACME", "p", after)], [*ads, *[("ACME", "other", "click", after)] * clicks])
    night.run(after)
    for table in ("advertiser_evaluation", "evaluation"):
        assert night.warehouse.rows(
            f"SELECT smallest_expected, meaningful FROM marts.{table} WHERE model = 'TopCTR'"
        ) == [(clicks / 2, meaningful)], table


@pytest.mark.model_blind
def test_few_clicks_are_marked_as_meaning_nothing(night: Night) -> None:
    for day in (DAY, "2024-11-21"):
        ads = [("ACME", f"p{n}", "impression", day) for n in range(30) for _ in range(5)]
        night.deliver(
            ["ACME"], [("ACME", "p0", day)], [*ads, ("ACME", "p0", "click", day), ("ACME", "p1", "click", day)]
        )
        night.run(day)
    assert night.warehouse.rows(
        "SELECT clicks, round(smallest_expected::numeric, 3)::float, meaningful FROM marts.advertiser_evaluation "
        "WHERE model = 'TopCTR'"
    ) == [(2, 0.667, False)]


@pytest.mark.model_blind
@pytest.mark.parametrize(("clicks", "meaningful"), [(10, True), (9, False)])
def test_5_expected_clicks_are_enough_to_mean_something(night: Night, clicks: int, meaningful: bool) -> None:
    """The list was shown 200 times of 400: half of the clicks are expected on it, half elsewhere."""
    after, products = "2024-11-21", [f"p{n:02}" for n in range(40)]
    clicked = {DAY: products[:20], after: ["p30"] * clicks}
    for day, clicks_of_day in clicked.items():
        ads = [("ACME", product, "impression", day) for product in products for _ in range(10)]
        ads += [("ACME", product, "click", day) for product in clicks_of_day]
        night.deliver(["ACME"], [("ACME", "p00", day)], ads)
        night.run(day)
    for query, params in (("stats", {"limit": 1}), ("stats_advertiser", {"advertiser_id": "ACME"})):
        found = ask(night.warehouse, query, date=None, **params)["evaluation"]["TopCTR"]
        assert (found["meaningful"], found["week"]["meaningful"]) == (meaningful, meaningful)
