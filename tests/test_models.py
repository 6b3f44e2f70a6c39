"""The ranking rules, against the oracle, on logs made to be awkward."""

import random
import re
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

import pytest
from chaos import scale
from conftest import DAY, Night, Warehouse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import decayed_ctr, recommended, smoothed_ctr, top_ctr, top_product
from psycopg2 import sql as identifiers
from psycopg2.extras import execute_values

from elt import sql
from elt import warehouse as run
from local.postgres import MASTER

pytestmark = pytest.mark.usefixtures("nobody_reads")

BEFORE, AFTER = "2024-11-19", "2024-11-21"

IDS = [f"p{n:02}" for n in range(30)] + [
    "Z9",
    "z9",
    "_",
    "-",
    "0",
    "00",
    "ä",
    "Ä",
    "é",
    "日本",
    "a b",
    "a,b",
    'q"q',
    "~",
]
ADVERTISERS = ["ACME", "acme", "BOLT", "BÖLT", "GONE", "A" * 64]


@st.composite
def nights(draw):
    """Few distinct counts over many products, so that most lists are cut inside a tie; other days mixed in.

    Hypothesis draws the shape; within it chance decides, because lists drawn element by element stay short.
    """
    active = draw(st.sets(st.sampled_from(ADVERTISERS), min_size=1))
    most_clicks, most_impressions = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    chance = random.Random(draw(st.integers(0, 2**32)))
    views, ads = [], []
    for advertiser in ADVERTISERS:
        for product in chance.sample(IDS, draw(st.integers(0, len(IDS)))):
            ads += [(advertiser, product, "impression", DAY)] * chance.randint(0, most_impressions)
            ads += [(advertiser, product, "click", DAY)] * chance.randint(0, most_clicks)
            views += [(advertiser, product, DAY)] * chance.randint(0, 3)
        for day in (BEFORE, AFTER):
            product = chance.choice(IDS)
            ads += [(advertiser, product, kind, day) for kind in ("click", "impression")]
            views.append((advertiser, product, day))
    # A log without any event of the day is a failed delivery, which is another test's story.
    first = min(active)
    ads.append((first, "always", "impression", DAY))
    views.append((first, "always", DAY))
    chance.shuffle(ads)
    chance.shuffle(views)
    return sorted(active), views, ads


@pytest.mark.chaos
@pytest.mark.model_blind
@settings(max_examples=scale(10, 50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs=nights())
def test_lists_are_what_plain_python_ranks(night: Night, logs) -> None:
    active, views, ads = logs
    night.deliver(*logs)
    night.run()
    assert night.top_ctr() == top_ctr(DAY, active, ads)
    assert night.top_product() == top_product(DAY, active, views)
    events = Counter((a, p, kind) for a, p, kind, day in ads if day == DAY)
    counts = {(DAY, a, p): (events[a, p, "impression"], events[a, p, "click"]) for a, p, _ in events}
    assert night.smoothed_ctr() == [(*row, 1) for row in smoothed_ctr(DAY, active, counts)]


@st.composite
def weeks(draw):
    """Counts of up to 9 days, some not loaded; rates from equal for all to as different as can be."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    days = [str(date.fromisoformat(DAY) - timedelta(n)) for n in range(-1, 8)]
    loaded = draw(st.sets(st.sampled_from(days))) | {DAY}
    most, spread = draw(st.sampled_from([1, 3, 40, 2000])), draw(st.sampled_from([0, 0.05, 1]))
    lists = {day: {a for a in ADVERTISERS if chance.random() < 0.8} for day in loaded}
    counts = {}
    for advertiser in ADVERTISERS:
        base = draw(st.sampled_from([0, 0.02, 0.5, 1.3]))
        for product in chance.sample(IDS, draw(st.integers(0, len(IDS)))):
            rate = base + spread * chance.random()
            for day in loaded:
                if advertiser in lists[day] and chance.random() < 0.8:
                    shown = chance.randint(0, most)
                    counts[day, advertiser, product] = shown, sum(chance.random() < rate for _ in range(shown % 97))
    return lists, counts


@pytest.mark.chaos
@pytest.mark.model_blind
@settings(max_examples=scale(50, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(week=weeks())
def test_smoothed_rates_are_what_exact_fractions_give(warehouse: Warehouse, week) -> None:
    """On counts as FiltrarDatos leaves them: days missing, advertisers not always active, clicks above impressions."""
    lists, counts = week
    found = rows(warehouse, "SmoothedCTR", lists, {key: (*of, 0) for key, of in counts.items()})
    found = [row for row in found if row["rank"] <= 20]
    columns = ("advertiser_id", "rank", "product_id", "smoothed_ctr", "clicks", "impressions")
    assert [tuple(row[name] for name in columns) for row in found] == smoothed_ctr(DAY, lists[DAY], counts)
    assert {row["days"] for row in found} <= {len(set(lists) - {AFTER, "2024-11-13"})}


@st.composite
def months(draw):
    """Counts of the 32 days around the log day, some not loaded; rates from equal for all to as different as can be."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    days = [str(date.fromisoformat(DAY) - timedelta(n)) for n in range(-1, 31)]
    loaded = [DAY, *(day for day in days if chance.random() < draw(st.sampled_from([0.05, 0.9])))]
    most, spread = draw(st.sampled_from([0, 1, 3, 40, 2000])), draw(st.sampled_from([0, 0.05, 1]))
    lists = {day: {a for a in ADVERTISERS if chance.random() < 0.8} for day in loaded}
    events = {}
    for advertiser in ADVERTISERS:
        base = draw(st.sampled_from([0, 0.02, 0.5, 1.3]))
        for product in chance.sample(IDS, draw(st.sampled_from([0, 1, 2, 25, len(IDS)]))):
            rate, gone = base + spread * chance.random(), chance.choice([0, 0, 0, 2, 3, 9])
            for day in loaded[gone:]:
                if advertiser in lists[day] and chance.random() < 0.8:
                    shown = chance.randint(0, most)
                    clicks = sum(chance.random() < rate for _ in range(shown % 97)) or (chance.random() < 0.02)
                    events[day, advertiser, product] = shown, int(clicks), chance.randint(0, 3)
    return lists, events


@pytest.mark.chaos
@pytest.mark.model_blind
@settings(max_examples=scale(40, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(month=months())
def test_decayed_rates_and_what_is_recommended_are_what_plain_python_gives(warehouse: Warehouse, month) -> None:
    """Of every product, also below the 20th. Double precision against exact fractions: what is closer may swap."""
    lists, events = month
    found = {name: rows(warehouse, name, lists, events) for name in ("DecayedCTR", "Recommended")}
    expected = decayed_ctr(DAY, lists[DAY], events)
    ranked = {
        advertiser: [row for row in found["DecayedCTR"] if row["advertiser_id"] == advertiser]
        for advertiser in {row["advertiser_id"] for row in found["DecayedCTR"]}
    }
    assert {advertiser: {row["product_id"] for row in of} for advertiser, of in ranked.items()} == {
        advertiser: set(of) for advertiser, of in expected.items()
    }
    for advertiser, of in ranked.items():
        assert [row["rank"] for row in of] == list(range(1, len(of) + 1))
        for row in of:
            rate, _, n = expected[advertiser][row["product_id"]]
            assert row["score"] == row["decayed_ctr"] == pytest.approx(float(rate), rel=0, abs=CLOSE)
            assert row["effective_impressions"] == pytest.approx(float(n), rel=0, abs=0.001)
        keys = [expected[advertiser][row["product_id"]] for row in of]
        for (row, (rate, above, n)), (below, (rate_below, above_below, n_below)) in pairwise(
            zip(of, keys, strict=True)
        ):
            assert rate >= rate_below - CLOSE
            if row["score"] == below["score"]:
                assert above >= above_below - CLOSE * 100 or rate > rate_below
                if abs(above - above_below) < CLOSE / 100 and n == n_below:
                    assert row["product_id"].encode() < below["product_id"].encode()
    order = {advertiser: [row["product_id"] for row in of] for advertiser, of in ranked.items()}
    entries: dict[str, list[tuple[str, str]]] = {}
    for row in found["Recommended"]:
        entries.setdefault(row["advertiser_id"], []).append((row["product_id"], row["source"]))
    assert {a: of[:20] for a, of in entries.items()} == recommended(DAY, lists[DAY], events, order)
    assert all(row["days"] == len({d for d in lists if d <= DAY and d > "2024-10-21"}) for row in found["Recommended"])


CLOSE = 1e-7


def rows(warehouse: Warehouse, name: str, lists: dict, events: dict) -> list[dict]:
    """What the model ranks of these days, in order."""
    (model,) = (model for model in sql.models() if model.name == name)
    conn = warehouse.connect()
    with conn.cursor() as cursor:
        cursor.execute("SELECT staging.make_month(day) FROM unnest(%s::date[]) AS day", ([day for day, *_ in events],))
        conn.commit()  # on Citus nobody else may write into a month in its owner's transaction
        loads = [(day, "00000000-0000-0000-0000-000000000000", "", "") for day in lists]
        execute_values(cursor, "INSERT INTO staging.loads (date, load_id, filter_version, run_id) VALUES %s", loads)
        active = [(day, advertiser) for day, advertisers in lists.items() for advertiser in advertisers]
        execute_values(cursor, "INSERT INTO staging.active_advertisers VALUES %s", active)
        counts = [(*key, *of) for key, of in events.items()]
        execute_values(cursor, "INSERT INTO staging.product_daily VALUES %s", counts)
        cursor.execute(run.ranking(cursor, model, DAY))
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    conn.close()
    return sorted(found, key=lambda row: (row["advertiser_id"].encode(), row["rank"]))


@pytest.mark.model_blind
def test_products_that_differ_no_more_than_by_chance_have_the_mean_and_the_order_of_their_clicks(night: Night) -> None:
    """Full shrinkage: 10 products with 10 impressions and 1 click each but for two, less spread than chance makes."""
    clicks = {f"p{n}": 1 for n in range(10)} | {"p7": 2, "p3": 0}
    ads = [("ACME", p, "impression", DAY) for p in clicks for _ in range(10)]
    ads += [("ACME", p, "click", DAY) for p, n in clicks.items() for _ in range(n)]
    night.deliver(["ACME"], [("ACME", "p0", DAY)], ads)
    night.run()
    rows = night.smoothed_ctr()
    assert {row[3] for row in rows} == {0.1}
    assert [row[2] for row in rows] == ["p7", "p0", "p1", "p2", "p4", "p5", "p6", "p8", "p9", "p3"]
    assert night.warehouse.rows("SELECT DISTINCT strength, advertiser_ctr FROM marts.smoothed_ctr") == [(None, 0.1)]


def test_one_product_that_was_shown_tells_nothing_of_how_products_differ(warehouse: Warehouse) -> None:
    """Of one product the moments are differences of equal numbers: what rounding leaves of them is no strength."""
    of_age = {0: (20, 1), 1: (44, 1), 2: (47, 0), 3: (15, 1), 4: (21, 2)}
    days = {age: str(date.fromisoformat(DAY) - timedelta(age)) for age in of_age}
    events = {(days[age], "ACME", "shown"): (*counts, 0) for age, counts in of_age.items()}
    events |= {(DAY, "ACME", viewed): (0, 0, 9) for viewed in ("a", "z")}
    found = rows(warehouse, "DecayedCTR", {DAY: {"ACME"}}, events)
    assert [(row["product_id"], row["strength"]) for row in found] == [("shown", None), ("a", None), ("z", None)]


@pytest.mark.model_blind
def test_a_lucky_click_does_not_beat_a_week_of_good_ones(night: Night) -> None:
    """What TopCTR gets wrong: one click in two impressions, against 4 % of a thousand; the others have 2 %."""
    lines = {"good": (1_000, 40), "lucky": (2, 1)} | {f"p{n}": (1_000, 20) for n in range(10)}
    ads = [("ACME", p, "impression", DAY) for p, (shown, _) in lines.items() for _ in range(shown)]
    ads += [("ACME", p, "click", DAY) for p, (_, clicked) in lines.items() for _ in range(clicked)]
    night.deliver(["ACME"], [("ACME", "good", DAY)], ads)
    night.run()
    assert [row[2] for row in night.top_ctr()][:2] == ["lucky", "good"]
    assert [row[2] for row in night.smoothed_ctr()][:2] == ["good", "lucky"]


@pytest.mark.model_blind
def test_a_product_that_was_shown_earlier_in_the_week_is_ranked_and_an_inactive_advertiser_is_not(night: Night) -> None:
    night.deliver(
        ["ACME", "BOLT"],
        [("ACME", "new", day) for day in (BEFORE, DAY)],
        [(a, "old", kind, BEFORE) for a in ("ACME", "BOLT") for kind in ("impression", "click")]
        + [("ACME", "new", "impression", DAY)],
    )
    night.load(BEFORE)
    night.put("advertiser_ids", "advertiser_id\nACME\n")
    night.run()
    assert [(row[0], row[2], row[6]) for row in night.smoothed_ctr()] == [("ACME", "old", 2), ("ACME", "new", 2)]


def test_a_model_reads_as_far_back_as_it_says(warehouse: Warehouse) -> None:
    """What `catch_up` relies on: Model.looks_back, which it reads in the SQL."""
    looks_back = {model.name: model.looks_back for model in sql.models()}
    assert (
        looks_back.items()
        >= {"DecayedCTR": 29, "Recommended": 29, "SmoothedCTR": 6, "TopCTR": 0, "TopProduct": 0}.items()
    )
    for model in sql.models():
        day = {(DAY, "ACME", "p"): (9, 1, 1), (DAY, "ACME", "q"): (9, 0, 1)}
        without = rows(warehouse, model.name, {DAY: {"ACME"}}, day)
        read = []
        for days in range(model.looks_back + 4):
            earlier = str(date.fromisoformat(DAY) - timedelta(days))
            events = {**day, (earlier, "ACME", "q"): (900, 90, 9)}
            read += [days] * (rows(warehouse, model.name, {DAY: {"ACME"}}, events) != without)
        assert read == list(range(model.looks_back + 1)), model


@pytest.mark.model_blind
def test_a_tie_at_rank_20_is_cut_by_product_id_in_byte_order(night: Night) -> None:
    products = [f"p{n:02}" for n in range(19)] + ["Zz", "a0", "aa", "ä"]
    night.deliver(
        ["ACME"],
        [("ACME", p, DAY) for p in reversed(products)],
        [("ACME", p, "impression", DAY) for p in reversed(products)],
    )
    night.run()
    expected = ["Zz", "a0", "aa"] + [f"p{n:02}" for n in range(17)]
    assert [row[2] for row in night.top_product()] == expected
    assert [row[2] for row in night.top_ctr()] == expected


@pytest.mark.model_blind
def test_products_without_an_impression_have_no_rate(night: Night) -> None:
    night.deliver(
        ["ACME"],
        [("ACME", "seen", DAY)],
        [
            ("ACME", "clicked", "click", DAY),
            ("ACME", "shown", "impression", DAY),
            ("ACME", "both", "impression", DAY),
            ("ACME", "both", "click", DAY),
            ("ACME", "both", "click", DAY),
        ],
    )
    night.run()
    assert night.top_ctr() == [("ACME", 1, "both", 2.0, 2, 1), ("ACME", 2, "shown", 0.0, 0, 1)]


def test_the_scan_of_the_ranking_stops_at_rank_20(warehouse: Warehouse) -> None:
    """Window run condition: PostgreSQL need not rank what nobody will see."""
    for model in sql.models():
        conn = warehouse.connect()
        with conn.cursor() as cursor:
            listed = identifiers.SQL("EXPLAIN SELECT * FROM ({}) AS model WHERE model.rank <= 20")
            cursor.execute(listed.format(run.ranking(cursor, model, DAY)))
            plan = "\n".join(line for (line,) in cursor.fetchall())
        conn.close()
        assert "(row_number() OVER" in plan.partition("Run Condition: ")[2], plan


def test_a_night_reads_its_own_day_of_a_year(warehouse: Warehouse) -> None:
    """No file of the run scans a whole durable table: not with statistics, not before there are any."""
    from elt import sql

    warehouse.make_months(days=365)
    warehouse.rows(
        "INSERT INTO staging.product_daily SELECT date %s - day, 'A' || advertiser, 'p' || product, 100, 1, 10 "
        "FROM generate_series(0, 364) AS day, generate_series(1, 5) AS advertiser, generate_series(1, 40) AS product",
        DAY,
    )
    warehouse.rows(
        "INSERT INTO marts.recommendations SELECT date %s - day, model, 'A' || advertiser, rank, 'p' || rank, 1, '{}' "
        "FROM generate_series(0, 364) AS day, unnest(ARRAY['TopCTR', 'TopProduct']) AS model, "
        "generate_series(1, 5) AS advertiser, generate_series(1, 20) AS rank",
        DAY,
    )
    names = [*sql.audits("publication"), "models/builds", "marts/model_agreement", "marts/recommendations"]
    queries = [statement for name in names for statement in sql.read(name).split(";\n") if statement.strip()]
    params = {"ds": DAY, "model": "TopCTR", "models": ["TopCTR", "TopProduct"], "looks_back": 0}
    params |= {"sql_file": "f", "sql_version": "v", "sql_text": "t"}
    for role in (None, MASTER):
        if role:
            warehouse.rows("ANALYZE staging.product_daily, marts.recommendations", role=role)
        conn = warehouse.connect()
        with conn.cursor() as cursor:
            ranked = [run.ranking(cursor, model, DAY).string for model in sql.models()]
            cursor.execute("CREATE TEMPORARY TABLE dropped ()")
            for query in [*queries, *(text.replace("%", "%%") for text in ranked)]:
                cursor.execute("EXPLAIN " + query, params)
                plan = "\n".join(line for (line,) in cursor.fetchall())
                # A month of so few advertisers may be read whole, by who looks back on most of it.
                # A node's part of one has a number of six figures behind its name.
                scanned = set(re.findall(r"Seq Scan on (?:product_daily|recommendations)_(\w+?)(?:_\d{6})?\b", plan))
                assert scanned <= {"2024_10", "2024_11"}, plan
        conn.close()
