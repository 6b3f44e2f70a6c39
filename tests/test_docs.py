"""What docs/ says of the warehouse is what the warehouse is."""

import re

import psycopg2
import pytest
from conftest import DAY, Night, Warehouse, ordinary_logs

from elt import sql
from elt.settings import PROJECT
from local import describe
from local.postgres import MASTER


def test_the_data_dictionary_is_what_the_catalog_says(warehouse: Warehouse) -> None:
    """Also that no schema, relation or column is without a comment: the dictionary refuses to be written then."""
    conn = psycopg2.connect(warehouse.url(MASTER))
    text = describe.dictionary(conn)
    assert describe.DICTIONARY.read_text() == text, "make docs writes it"
    with conn.cursor() as cursor:
        cursor.execute("COMMENT ON COLUMN marts.evaluation.lift IS NULL")
        with pytest.raises(RuntimeError, match=r"marts\.evaluation\.lift: .* undocumented"):
            describe.dictionary(conn)
    conn.close()


def test_the_lineage_is_what_the_sql_reads_and_writes(warehouse: Warehouse) -> None:
    conn = psycopg2.connect(warehouse.url(MASTER))
    text = describe.lineage(conn)
    conn.close()
    assert describe.LINEAGE.read_text() == text, "make docs writes it"
    for model in sql.models():
        assert f'staging_product_daily[("staging.product_daily")] --> {model.name}["{model.name}"]' in text


def test_the_figures_of_every_model_are_explained_in_its_file(warehouse: Warehouse) -> None:
    for model in sql.models():
        rows = warehouse.rows(
            "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 5",
            f"marts.{model.relation}",
        )
        assert rows
        for name, comment in rows:
            assert comment == model.figures[name], model


def test_the_analysts_queries_run_and_answer(night: Night) -> None:
    """Every query of docs/analysts.md, as the analyst, over two published days with a line that could not be read."""
    for shift, day in enumerate(("2024-11-19", DAY)):
        night.deliver(*ordinary_logs(day, shift))
        night.put("ads_views", night.object("ads_views") + b"ACME,p07,click\n")
        night.run(day)
    text = (PROJECT / "docs" / "analysts.md").read_text()
    queries = re.findall(r"\*\*(.+?\?)\*\*.*?```sql\n(.*?)```", text, re.DOTALL)
    assert len(queries) >= 12
    empty = {"Are there lists that were ranked before an earlier day was loaded?"}
    # On these logs a list that holds all clicks does no worse than average, and holds them all.
    empty |= {"Which days were taken back, and why?"}
    empty |= {"For which advertisers does a model do worse than an average product?"}
    for question, query in queries:
        rows = night.warehouse.rows(query, role="recommendations_analyst")
        assert bool(rows) == (question not in empty), question
