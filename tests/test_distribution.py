"""The night's SQL can run on many machines: what is distributed by advertiser is met advertiser by advertiser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot
from conftest import Warehouse
from sqlglot import exp

from elt import sql

pytestmark = pytest.mark.model_blind

DISTRIBUTED = set(re.findall(r"'(\w+\.\w+)'", (sql.SQL / "citus" / "distributed.sql").read_text()))

AND_VIEWS = DISTRIBUTED | {"marts.product_daily"}

READS = ("audits/*/*.sql", "marts/*.sql", "models/*.sql", "queries/*.sql", "retention/*.sql", "staging/*.sql")


def statements(file: Path) -> Iterator[exp.Expr]:
    text = re.sub(r"%\(\w+\)s", "'2024-11-20'", file.read_text()).replace("%%", "%")
    if "$$" not in text and "LANGUAGE" not in text:
        yield from filter(None, sqlglot.parse(text, read="postgres"))


def tables(select: exp.Select) -> dict[str, str]:
    """What the SELECT itself reads, by alias: distributed, local, or made by a query."""
    own = [table for table in select.find_all(exp.Table) if table.find_ancestor(exp.Select) is select]
    kinds = {}
    for table in own:
        name = f"{table.db}.{table.name}"
        kinds[table.alias_or_name] = "distributed" if name in AND_VIEWS else "local" if table.db else "made"
    return kinds


def met(query: exp.Expr) -> list[str]:
    """What Citus refuses or pulls together: a distributed table met with a local one, or not by advertiser."""
    found = []
    for select in query.find_all(exp.Select):
        own = tables(select)
        kinds = list(own.values())
        if "distributed" in kinds and "local" in kinds:
            found.append(f"joins {own}")
        by_advertiser = [
            equal
            for equal in select.find_all(exp.EQ)
            if {equal.left.name, equal.right.name} == {"advertiser_id"}
            and isinstance(equal.left, exp.Column)
            and isinstance(equal.right, exp.Column)
        ]
        if kinds.count("distributed") > 1 and len(by_advertiser) < kinds.count("distributed") - 1:
            found.append(f"not by advertiser: {own}")
        outer = select.find_ancestor(exp.Select)
        while outer:
            around = tables(outer)
            for column in select.find_all(exp.Column):
                is_of_it = column.find_ancestor(exp.Select) is select and column.table in around.keys() - own.keys()
                if is_of_it and {around[column.table], *kinds} >= {"distributed", "local"}:
                    found.append(f"{column} is of a {around[column.table]} table, {own}")
            outer = outer.find_ancestor(exp.Select)
    return found


def test_every_key_of_a_distributed_table_holds_the_advertiser(migrated_warehouse: Warehouse) -> None:
    assert len(DISTRIBUTED) == 4
    for table in DISTRIBUTED:
        keys = migrated_warehouse.rows(
            "SELECT indexrelid::regclass::text, array_agg(attname::text) FROM pg_index "
            "JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) "
            "WHERE indrelid = %s::regclass AND (indisunique OR indisexclusion) GROUP BY 1",
            table,
        )
        assert keys
        assert {index: columns for index, columns in keys if "advertiser_id" not in columns} == {}


def test_distributed_tables_spell_the_advertiser_alike_and_have_nothing_that_can_not_be_distributed(
    migrated_warehouse: Warehouse,
) -> None:
    wanted = sorted(DISTRIBUTED)
    types = migrated_warehouse.rows(
        "SELECT DISTINCT atttypid, attcollation FROM pg_attribute "
        "WHERE attrelid = ANY(%s::regclass[]) AND attname = 'advertiser_id'",
        wanted,
    )
    assert len(types) == 1
    for unwanted in (
        "pg_trigger WHERE tgrelid = ANY(%s::regclass[]) AND NOT tgisinternal",
        "pg_constraint WHERE contype = 'f' AND (conrelid = ANY(%s::regclass[]) OR confrelid = ANY(%s::regclass[]))",
        "pg_attribute WHERE attrelid = ANY(%s::regclass[]) AND attnum > 0 AND attidentity <> ''",
    ):
        params = [wanted] * unwanted.count("%s")
        assert migrated_warehouse.rows(f"SELECT t::text FROM (SELECT * FROM {unwanted}) AS t", *params) == []


@pytest.mark.parametrize(
    "file", [file for folder in READS for file in sorted(sql.SQL.glob(folder))], ids=lambda f: f.stem
)
def test_a_distributed_table_meets_no_local_one_and_others_by_advertiser(file: Path) -> None:
    assert [said for statement in statements(file) for said in met(statement)] == []


@pytest.mark.parametrize("model", sql.models(), ids=lambda model: model.name)
def test_a_model_ranks_an_advertiser_where_its_counts_are(model: sql.Model) -> None:
    """No window over many advertisers; nothing that keeps a part of it from being sent to the nodes."""
    (statement,) = statements(model.file)
    for window in statement.find_all(exp.Window):
        named = window.args.get("alias")
        if named is not None:
            named = next(w for w in statement.find_all(exp.Window) if w.this == named and w.args.get("partition_by"))
        by = {part.name for part in (named or window).args.get("partition_by") or []}
        assert "advertiser_id" in by, window.sql("postgres")
    assert [cte.alias for cte in statement.find_all(exp.CTE) if cte.args.get("materialized")] == []
    assert [part.sql("postgres") for part in statement.find_all(exp.Limit, exp.Offset, exp.Fetch)] == []
    for table in statement.find_all(exp.Table):
        if table.db not in ("", "pg_temp") and f"{table.db}.{table.name}" not in DISTRIBUTED:
            select = table.find_ancestor(exp.Select)
            column = select and select.parent and select.parent.parent
            assert isinstance(column, exp.Alias), f"{table.sql()}: read as another thing than one column"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT FROM marts.recommendations AS r WHERE NOT EXISTS (SELECT FROM staging.product_daily AS d "
        "WHERE d.advertiser_id = r.advertiser_id)",
        "SELECT FROM staging.product_daily AS d "
        "WHERE EXISTS (SELECT FROM marts.publications AS p WHERE p.date = d.date)",
        "SELECT FROM models.candidates AS c JOIN marts.publications AS p ON p.date = c.date",
        "SELECT FROM models.candidates AS c JOIN staging.product_daily AS d ON d.product_id = c.product_id",
    ],
)
def test_the_rule_knows_what_the_nodes_can_not_do(query: str) -> None:
    assert met(sqlglot.parse_one(query, read="postgres"))
