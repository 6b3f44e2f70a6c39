"""The ranking rules, against the oracle, on logs made to be awkward."""

import random

from conftest import DAY, Night, Warehouse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import top_ctr, top_product

from local.postgres import MASTER

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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs=nights())
def test_lists_are_what_plain_python_ranks(night: Night, logs) -> None:
    active, views, ads = logs
    night.deliver(*logs)
    night.run()
    assert night.top_ctr() == top_ctr(DAY, active, ads)
    assert night.top_product() == top_product(DAY, active, views)


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
    from elt import sql

    for model in sql.models():
        conn = warehouse.connect()
        with conn.cursor() as cursor:
            cursor.execute("EXPLAIN " + model.query(), {"ds": DAY})
            plan = "\n".join(line for (line,) in cursor.fetchall())
        conn.close()
        assert "Run Condition: (row_number() OVER" in plan, plan


def test_a_night_reads_its_own_day_of_a_year(warehouse: Warehouse) -> None:
    """No file of the run scans a whole durable table: not with statistics, not before there are any."""
    from elt import sql

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
    names = [*sql.audits("publication"), "candidates/builds", "marts/model_agreement", "marts/recommendations"]
    queries = [model.query() for model in sql.models()]
    queries += [statement for name in names for statement in sql.read(name).split(";\n") if statement.strip()]
    params = {"ds": DAY, "model": "TopCTR", "models": ["TopCTR", "TopProduct"], "sql_file": "f", "sql_version": "v"}
    for role in (None, MASTER):
        if role:
            warehouse.rows("ANALYZE staging.product_daily, marts.recommendations", role=role)
        conn = warehouse.connect()
        with conn.cursor() as cursor:
            for query in queries:
                cursor.execute("EXPLAIN " + query, params)
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert "Seq Scan on product_daily" not in plan, plan
                assert "Seq Scan on recommendations" not in plan, plan
        conn.close()
