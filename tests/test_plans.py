"""The night's statements, as PostgreSQL plans them for a day that it knows nothing of: what each has to read."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import psycopg2
import pytest
from conftest import DAY, Night, Warehouse

from api.database import EXECUTE, PARAMETERS, QUERIES
from bench.day import repeat
from elt import sql, steps
from local.postgres import MASTER

pytestmark = [pytest.mark.usefixtures("nobody_reads"), pytest.mark.model_blind]

ASKED = {
    **{"ended": DAY, "date": None, "advertiser_id": "A001", "product_id": "p01", "typed": "p01", "model": "TopCTR"},
    **{"advertiser_ids": ["A001"], "models": ["TopCTR"], "dates": [None], "limits": [None]},
    **{"limit": 10, "after": "", "seen": None},
}
"""Of the pages and of the API's answers."""

OF_A_SESSION = {"session", "server", "lease", "version", "at_version", "keys"}
"""What the API asks that is no answer."""

looked_at: Counter[str] = Counter()
"""Rows that every part of a statement's plan had to look at, again and again where it was run again."""


class Explained(psycopg2.extensions.cursor):
    """Runs what it is given; every statement that reads is explained before, and what that did is taken back."""

    def execute(self, query: Any, params: Any = None) -> None:
        if self.connection.autocommit:
            return super().execute(query, params)
        text = self.mogrify(query, params).decode()
        for statement in re.split(r";\s*\n\s*\n", text):
            bare = re.sub(r"--[^\n]*", "", statement).strip()
            if bare.startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLE ranked")):
                name = " ".join(bare.split())[:120]
                super().execute("SAVEPOINT explained")
                super().execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement)
                ((found,),) = self.fetchall()
                super().execute("ROLLBACK TO explained")
                count(name, found[0]["Plan"])
            super().execute(statement)


def count(name: str, plan: dict[str, Any]) -> None:
    for node in nodes(plan):
        rows = node["Actual Rows"] + sum(n for key, n in node.items() if key.startswith("Rows Removed by"))
        looked_at[name] += rows * node["Actual Loops"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def night_of(night: Night, advertisers: int, history: int) -> dict[str, int]:
    """The rows that each statement of DAY's night, and of an answer, looks at, after so many days of the same."""
    before = date.fromisoformat(DAY) - timedelta(1)
    ids = [f"A{n:03}" for n in range(advertisers)]
    pairs = [(a, f"p{n:02}") for a in ids for n in range(25)]
    days = (str(before), DAY)
    views = [(*pair, day) for day in days for pair in pairs]
    ads = [(*pair, kind, day) for day in days for pair in pairs for kind in ("impression", "click")]
    night.deliver(ids, views, ads)
    night.run(str(before))
    conn = psycopg2.connect(night.warehouse.url(MASTER))
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
            "WHERE attname = 'date' AND relkind IN ('r', 'p') "
            "AND relnamespace::regnamespace::text IN ('staging', 'models', 'marts')"
        )
        dated = [table for (table,) in cursor.fetchall()]
        repeat(cursor, dated, [before - timedelta(n) for n in range(history, 0, -1)], before)
        # As autovacuum does, which leaves out what is partitioned: the planner knows its months, not the whole.
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace::regnamespace::text IN ('staging', 'models', 'marts', 'months')"
        )
        cursor.execute("ANALYZE " + ", ".join(table for (table,) in cursor.fetchall()))
    conn.close()
    looked_at.clear()
    connect, settings = lambda: explaining(night), night.settings
    night.load(DAY)
    for model in sql.models():
        steps.build_model(DAY, model, connect, night.s3, settings)
    steps.publish(DAY, sql.models(), connect, settings, run_id="test")
    steps.forget(DAY, connect, settings)
    answer(night)
    return dict(looked_at)


def answer(night: Night) -> None:
    """Explains what the API asks, planned as it plans: once for all values."""
    conn = psycopg2.connect(night.warehouse.url("recommendations_api"))
    conn.autocommit = True
    with closing(conn), conn.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        for name in QUERIES.keys() - OF_A_SESSION:
            numbered = {parameter: f"${place}" for place, parameter in enumerate(PARAMETERS[name], 1)}
            cursor.execute(f"PREPARE {name} AS " + QUERIES[name] % numbered)
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + EXECUTE[name].as_string(conn), ASKED)
            ((found,),) = cursor.fetchall()
            count(name, found[0]["Plan"])


def explaining(night: Night) -> Any:
    return psycopg2.connect(night.warehouse.url("recommendations_pipeline"), cursor_factory=Explained)


def test_nothing_of_the_night_or_of_an_answer_grows_with_the_history_or_with_advertisers_squared(
    night: Night, migrated_warehouse: Any, s3: Any, bucket: str
) -> None:
    """After few days, when the planner still expects little of any, and after more than any model looks back on."""
    few = night_of(night, advertisers=30, history=9)
    twice = night_of(Night(migrated_warehouse.copy("plans_twice"), s3, bucket), advertisers=60, history=9)
    long = night_of(Night(migrated_warehouse.copy("plans_long"), s3, bucket), advertisers=20, history=120)
    longer = night_of(Night(migrated_warehouse.copy("plans_longer"), s3, bucket), advertisers=20, history=240)
    assert len([name for name in few if name.startswith("CREATE TEMPORARY TABLE ranked")]) == len(sql.models())
    for table in ("models.candidates", *(f"marts.{name}" for name in ("recommendations", *steps.FIGURES))):
        assert [name for name in few if name.startswith(f"INSERT INTO {table} ")], table
    # A few rows a day there may be, such as its publications.
    assert {name: (n, twice[name]) for name, n in few.items() if twice[name] > 2.3 * n + 3_000} == {}
    assert {name: (n, longer[name]) for name, n in long.items() if longer[name] > 1.2 * n + 3_000} == {}


def test_of_thousands_of_excluded_products_each_is_looked_at_once_to_fill_up_a_list(warehouse: Warehouse) -> None:
    warehouse.rows(f"INSERT INTO staging.loads VALUES ('{DAY}', gen_random_uuid(), '', '', now())")

    def moved_up(excluded: int) -> int:
        looked_at.clear()
        conn = psycopg2.connect(warehouse.url("recommendations_pipeline"), cursor_factory=Explained)
        with closing(conn), conn.cursor() as cursor:
            numbers = "generate_series(1, %s) AS n"
            cursor.execute(
                f"INSERT INTO staging.exclusions SELECT '{DAY}', 'ACME', 'p' || 2 * n FROM {numbers}", [excluded]
            )
            cursor.execute(
                "CREATE TEMPORARY TABLE ranked ON COMMIT DROP AS SELECT 'ACME'::text AS advertiser_id, n AS rank, "
                f"'p' || n AS product_id, 1.0 / n AS score FROM {numbers}",
                [2 * excluded + 20],
            )
            cursor.execute(sql.read("models/candidates"), {"ds": DAY, "model": "TopCTR"})
            cursor.execute("SELECT rank, product_id FROM models.candidates ORDER BY rank")
            assert cursor.fetchall() == [(n, f"p{2 * n - 1}") for n in range(1, 21)]
        (looked,) = (n for name, n in looked_at.items() if name.startswith("UPDATE pg_temp.ranked"))
        return looked

    assert moved_up(1_000) <= 2.3 * moved_up(500)
