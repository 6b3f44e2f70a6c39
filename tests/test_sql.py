"""The file is the relation: what stands in sql/ against the catalog, what migrate makes of it, what a model reads."""

import re
import shutil
from pathlib import Path

import psycopg2
import pytest
from conftest import DAY, Night, Warehouse

from elt import sql, steps
from elt.errors import PipelineError
from elt.look_back import cut, look_back
from elt.migrate import migrate
from elt.settings import PROJECT
from local import describe
from local.postgres import MASTER, Postgres

CATALOG = """
SELECT relnamespace::regnamespace::text, relname, coalesce(array_agg(attname) FILTER (WHERE attnum > 0), '{}')::text[]
FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND NOT attisdropped
WHERE relnamespace::regnamespace::text = ANY(%s) AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
GROUP BY 1, 2
UNION ALL
SELECT pronamespace::regnamespace::text, proname, '{}' FROM pg_proc WHERE pronamespace::regnamespace::text = ANY(%s)
"""


def test_every_relation_has_one_file_every_file_a_relation_and_every_column_a_line(warehouse: Warehouse) -> None:
    schemas = list(sql.SCHEMAS)
    catalog = {(schema, name): set(columns) for schema, name, columns in warehouse.rows(CATALOG, schemas, schemas)}
    models = {("marts", model.relation): model for model in sql.models()}
    files = {(relation.schema, relation.name): relation for relation in sql.relations()}
    assert len(files) > 25
    assert not set(files) & set(models), "a model's view has the model's file"
    assert set(catalog) == set(files) | set(models)
    for key, relation in files.items():
        opening = relation.opening
        assert set(opening.columns) == catalog[key], relation.file
        assert all(opening.columns.values()), relation.file
        assert opening.title, relation.file
        said = " ".join(f"{name}: {text}" for name, text in opening.said.items())
        assert not [f"-- {name}: ..." for name in sql.KEYS if f"{name}:" not in said], relation.file
    for key, model in models.items():
        assert set(model.figures) == catalog[key] - {"date", *sql.MODEL_COLUMNS}, model.file


def test_an_audit_says_its_promise_in_its_first_line_since_a_message_shows_no_more() -> None:
    promises = {file.stem: file.read_text().splitlines()[0] for file in (sql.SQL / "audits").rglob("*.sql")}
    assert len(promises) > 10
    assert [name for name, said in promises.items() if not (said.startswith("-- ") and said.endswith("."))] == []


def test_a_file_names_as_its_source_what_it_reads_and_nothing_that_is_not_there(warehouse: Warehouse) -> None:
    landing = sorted((sql.SQL / "landing").glob("*.sql"))
    files = [relation.file for relation in sql.relations()] + landing
    schemas = list(sql.SCHEMAS)
    known = {f"{schema}.{name}" for schema, name, _ in warehouse.rows(CATALOG, schemas, schemas)}
    known |= {f"pg_temp.{file.stem}" for file in landing} | {"pg_temp.ranked", "pg_temp.dropped"}
    for file in files:
        named = describe.named_sources(file)
        # What a statement reads of the day that it writes is no source.
        assert describe.read_by(file) - {sql.opening(file).name} <= named, file
        assert {name for name in named if "." in name} <= known, file


def test_a_file_of_landing_makes_the_table_of_its_name_or_none() -> None:
    for file in (sql.SQL / "landing").glob("*.sql"):
        made = re.findall(r"CREATE TEMPORARY TABLE (\w+)", file.read_text())
        assert made in ([], [file.stem]), file
        if made:
            assert sql.opening(file).name == f"pg_temp.{file.stem}"


def test_every_sql_file_opens_with_what_it_makes() -> None:
    files = [*sql.SQL.rglob("*.sql"), *(PROJECT / "api" / "queries").glob("*.sql")]
    assert len(files) > 70
    assert any(file.parent.name == "queries" and file.parent.parent.name == "api" for file in files)
    for file in files:
        assert file.read_text().startswith("-- "), file
        if "migrations" not in file.parts:
            assert re.search(r"^-- .*(Parameters:|No parameters)", file.read_text(), re.M), file


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_changed_view_function_or_comment_needs_no_migration(warehouse: Warehouse, copied: Path) -> None:
    change(
        copied / "marts" / "latest_day.sql",
        "    publications.published_at\n",
        "    publications.published_at,\n    1 AS one\n",
    )
    change(copied / "marts" / "latest_day.sql", "-- published_at:", "-- one: Always 1\n-- published_at:")
    change(copied / "marts" / "lease.sql", "seconds := 0.15", "seconds := 0.1")
    change(copied / "staging" / "loads.sql", "-- run_id: Run that loaded", "-- run_id: The run that loaded")
    change(copied / "marts" / "daily.sql", "-- Grain: log day", "-- Grain: day")
    done = migrate(warehouse.url(MASTER))
    assert sorted(done) == [
        "explained marts.daily as sql/marts/daily.sql does",
        "explained staging.loads as sql/staging/loads.sql does",
        "made the function marts.lease of sql/marts/lease.sql",
        "made the view marts.latest_day of sql/marts/latest_day.sql",
    ]
    assert migrate(warehouse.url(MASTER)) == []
    assert warehouse.rows("SELECT seconds FROM marts.lease()", role="recommendations_api") == [(0.1,)]
    warehouse.rows("SELECT one FROM marts.latest_day", role="recommendations_analyst")
    assert warehouse.rows(
        "SELECT col_description('marts.latest_day'::regclass, 16), col_description('staging.loads'::regclass, 4), "
        "obj_description('marts.daily'::regclass)"
    ) == [
        (
            "Always 1",
            "The run that loaded the day: of Airflow, or rebuild",
            "Events of all active advertisers on a published day. Grain: day",
        )
    ]


def test_views_come_after_those_that_they_read(warehouse: Warehouse, copied: Path) -> None:
    """A new one, and a column that another is to have first."""
    change(copied / "marts" / "product_daily.sql", " AS ctr\n", " AS ctr,\n    1 AS one\n")
    change(copied / "marts" / "product_daily.sql", "-- ctr:", "-- one: Always 1\n-- ctr:")
    (copied / "marts" / "a_new_one.sql").write_text(
        "-- marts.a_new_one: Ones.\n-- Grain: one\n-- one: Always 1\nSELECT product_daily.one FROM marts.product_daily;"
    )
    assert migrate(warehouse.url(MASTER)) == [
        "made the view marts.product_daily of sql/marts/product_daily.sql",
        "made the view marts.a_new_one of sql/marts/a_new_one.sql",
    ]
    warehouse.rows("SELECT one FROM marts.a_new_one", role="recommendations_analyst")


def test_a_view_may_read_the_view_of_a_model(postgres: Postgres, copied: Path) -> None:
    """In a new database neither is there."""
    (copied / "marts" / "a_new_one.sql").write_text(
        "-- marts.a_new_one: Lists.\n-- Grain: all\n-- lists: How many\n"
        "SELECT count(*) AS lists FROM marts.top_ctr WHERE top_ctr.rank = 1;"
    )
    postgres.provision("reads_a_model")
    assert "made the view marts.a_new_one of sql/marts/a_new_one.sql" in migrate(postgres.url(MASTER, "reads_a_model"))


def test_two_that_name_each_other_are_refused(warehouse: Warehouse, copied: Path) -> None:
    (copied / "marts" / "hen.sql").write_text("-- marts.hen: Hen.\n-- one: 1\nSELECT egg.one FROM marts.egg\n")
    (copied / "marts" / "egg.sql").write_text("-- marts.egg: Egg.\n-- one: 1\nSELECT hen.one FROM marts.hen\n")
    with pytest.raises(PipelineError, match=r"sql/marts/egg\.sql, sql/marts/hen\.sql: they name each other"):
        migrate(warehouse.url(MASTER))


def test_a_function_with_other_arguments_is_not_made_beside_the_old_one(warehouse: Warehouse, copied: Path) -> None:
    change(copied / "marts" / "lease.sql", "FUNCTION marts.lease(", "FUNCTION marts.lease(waits integer, ")
    with pytest.raises(PipelineError, match=r"sql/marts/lease\.sql: after it there is not one function marts\.lease"):
        migrate(warehouse.url(MASTER))
    assert warehouse.rows("SELECT count(*) FROM pg_proc WHERE proname = 'lease'") == [(1,)]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "marts/latest_day.sql",
            "    daily.views,\n",
            "",
            r"latest_day\.sql: .*another view: latest_day_v2",
        ),
        ("marts/product_daily.sql", "SELECT", "SELEC", r"product_daily\.sql: there is no table marts"),
        ("marts/product_daily.sql", "staging.product_daily", "staging.no_such", r"product_daily\.sql: .*no_such"),
        ("marts/product_daily.sql", "-- views:", "-- vews:", r'sql/marts/product_daily\.sql: column "vews"'),
        (
            "marts/product_daily.sql",
            "-- marts.product_daily:",
            "-- marts.products:",
            r"must be '-- marts\.product_daily: ",
        ),
        ("marts/lease.sql", "LANGUAGE plpgsql", "LANGUAGE plpgsq", r"sql/marts/lease\.sql: language"),
        (
            "models/top_ctr.sql",
            "= %(ds)s::date",
            "<= %(ds)s::date",
            r"top_ctr\.sql: it can not be told how many days of",
        ),
    ],
)
def test_a_file_that_can_not_be_what_it_says_is_named(
    warehouse: Warehouse, copied: Path, file: str, old: str, new: str, message: str
) -> None:
    change(copied / file, old, new)
    with pytest.raises(PipelineError, match=message):
        migrate(warehouse.url(MASTER))


def test_a_migration_that_fails_is_named_and_changes_nothing(warehouse: Warehouse, copied: Path) -> None:
    file = copied / "migrations" / "9999_more.sql"
    file.write_text("-- More.\nCREATE TABLE marts.more (one int);\nALTER TABLE marts.daily ADD COLUMN clicks bigint;\n")
    with pytest.raises(PipelineError, match=r'sql/migrations/9999_more\.sql: column "clicks" of .* already exists'):
        migrate(warehouse.url(MASTER))
    assert warehouse.rows("SELECT to_regclass('marts.more')") == [(None,)]
    file.unlink()
    assert migrate(warehouse.url(MASTER)) == []


def test_a_new_function_may_be_called_by_nobody(warehouse: Warehouse, copied: Path) -> None:
    (copied / "marts" / "answer.sql").write_text(
        "-- marts.answer: The answer.\nCREATE OR REPLACE FUNCTION marts.answer() RETURNS integer\n"
        "LANGUAGE sql AS $$ SELECT 42 $$;\n"
    )
    assert migrate(warehouse.url(MASTER)) == ["made the function marts.answer of sql/marts/answer.sql"]
    assert warehouse.rows("SELECT marts.answer()", role=MASTER) == [(42,)]
    for role in ("recommendations_api", "recommendations_analyst", "recommendations_pipeline"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.rows("SELECT marts.answer()", role=role)


def test_a_file_without_a_table_is_refused(warehouse: Warehouse, copied: Path) -> None:
    for text in ("DELETE FROM marts.more;", "WITH one AS (SELECT 1 AS n) INSERT INTO marts.more SELECT one.n FROM one"):
        (copied / "marts" / "more.sql").write_text(f"-- marts.more: x\n{text}\n")
        with pytest.raises(
            PipelineError, match=r"sql/marts/more\.sql: there is no table marts\.more; a migration makes"
        ):
            migrate(warehouse.url(MASTER))


def test_migrating_a_current_database_waits_for_no_reader(warehouse: Warehouse) -> None:
    reader = psycopg2.connect(warehouse.url("recommendations_analyst"))
    with reader.cursor() as cursor:
        cursor.execute("SELECT * FROM marts.latest_day, marts.product_daily, marts.top_ctr")
        assert migrate(warehouse.url(MASTER) + "?options=-c%20lock_timeout%3D2s") == []
    reader.close()


def test_a_comment_that_is_edited_loads_no_day_again_and_a_statement_does(
    delivered: Night, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "elt", tmp_path / "elt")
    monkeypatch.setattr(sql, "PROJECT", tmp_path)
    assert delivered.load() is True
    change(copied / "landing" / "ads_views.sql", "-- Grain: identical", "-- Grain: the same --'")
    change(copied / "staging" / "product_daily.sql", "DELETE FROM", "DELETE   -- it's the day\n FROM")
    change(tmp_path / "elt" / "land.py", '"""Copies the lines as they come.', '"""Copies the lines.')
    change(tmp_path / "elt" / "lines.py", "CHUNK = 256 * 1024", "# Not too many.\nCHUNK = 256 * 1024")
    change(copied / "staging" / "step_times.sql", "INSERT INTO", "SELECT 1; INSERT INTO")
    assert delivered.load() is False
    for file, old, new in (
        ("sql/landing/ads_views.sql", "BETWEEN 1 AND 64", "BETWEEN 1 AND 63"),
        ("sql/landing/count_lines.sql", "E'\\n'", "E'\\n '"),
        ("sql/staging/accounting.sql", "coalesce(counted.kept, 0)", "coalesce(counted.kept, 1)"),
        ("elt/land.py", "MOST_REJECTED = 1_000_000", "MOST_REJECTED = 1_000_001"),
        ("elt/lines.py", "REPEATED = 4", "REPEATED = 5"),
        ("elt/copying.py", '"not one row"', '"not a row"'),
        ("elt/shares.py", "import heapq", "import heapq as heap"),
    ):
        before = sql.filter_version()
        change(tmp_path / file, old, new)
        assert sql.filter_version() != before, file
    change(copied / "landing" / "count_lines.sql", "E'\\n '", "E'\\n'")
    assert delivered.load() is True


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("E'it\\'s -- one'", "E'it\\'s -- two'"),
        ("$$it's -- one$$", "$$it's -- two$$"),
        ("$a$ $$ -- one $a$", "$a$ $$ -- two $a$"),
        ('"a  name"', '"a name"'),
        ("\"it's\", 'x -- one'", "\"it's\", 'x -- two'"),
        ("/* it's */ 'x -- one'", "/* it's */ 'x -- two'"),
        ("/* -- */ 1", "/* -- */ 2"),
    ],
)
def test_what_stands_in_quotes_of_any_kind_is_no_comment(copied: Path, text: str, edited: str) -> None:
    file = copied / "landing" / "one_more.sql"
    versions = set()
    for written in (text, f"/* So it's said. */{text} -- isn't it?", edited):
        file.write_text(f"SELECT {written}\n")
        versions.add(sql.filter_version())
    assert len(versions) == 2


DAYS = "SELECT * FROM staging.product_daily AS events WHERE "


@pytest.mark.parametrize(
    ("condition", "days"),
    [
        ("events.date = %(ds)s::date", 0),
        ("date = CAST(%(ds)s AS date) - 6", 6),
        ("events.date BETWEEN (%(ds)s::date - 6) AND %(ds)s::date", 6),
        ("events.date BETWEEN %(ds)s::date - 7 + 1 AND %(ds)s::date", 6),
        ("%(ds)s::date  -5<=events.date AND events.views > 0 AND %(ds)s::date + 1 > events.date", 5),
        ("events.date IN (%(ds)s::date, %(ds)s::date - 1, %(ds)s::date - 30)", 30),
        ("events.date BETWEEN DATE %(ds)s - 9 AND %(ds)s::date AND (events.date > %(ds)s::date - 3 OR true)", 9),
        ("events.date >= %(ds)s::date - 9 AND events.date >= %(ds)s::date - 3 AND events.date < %(ds)s::date", 3),
        ("events.date <= %(ds)s::date + 2 AND events.date = %(ds)s::date - 1", 1),
    ],
)
def test_how_far_a_model_looks_back_is_read_in_its_sql_however_it_is_spelt(condition: str, days: int) -> None:
    assert look_back(DAYS + condition, "x.sql") == days


@pytest.mark.parametrize(
    "condition",
    [
        "events.date >= %(ds)s::date - 6",
        "%(ds)s::date - 6 < events.date",
        "events.date BETWEEN %(ds)s::date - 6 AND %(ds)s::date + 1",
        "events.date >= %(ds)s::date - 6 AND (events.date <= %(ds)s::date OR events.views > 5)",
        "events.date IN (%(ds)s::date - 1, %(ds)s::date + 1)",
        "events.date = %(ds)s::date + 1",
        "events.date > %(ds)s::date - 6 AND events.date < %(ds)s::date + 2",
    ],
)
def test_a_model_that_may_read_days_after_its_own_is_refused(condition: str) -> None:
    """In its night they are not there yet; when the day is run again they are, and its lists would be others."""
    with pytest.raises(PipelineError, match=r"x\.sql: may read days of staging\.product_daily after the log day"):
        look_back(DAYS + condition, "x.sql")


RANKED = "SELECT place.n AS rank, place.n <= 3 AS is_first FROM place JOIN pg_temp.top_ctr ON true "


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("", None),
        ("WHERE place.rank <= 20", "place.rank <= 20"),
        ("WHERE place.views > 3 AND 21 > place.n", "21 > place.n"),
        ("WHERE rank BETWEEN 1 AND 50", "rank BETWEEN 1 AND 50"),
        ("JOIN other ON other.rank = place.rank AND place.n < 10", "place.n < 10"),
        ("CROSS JOIN LATERAL (SELECT 1 AS one FROM other ORDER BY other.n LIMIT 20) AS best", "LIMIT 20"),
        ("CROSS JOIN LATERAL (SELECT 1 AS one FROM other ORDER BY other.n LIMIT 1) AS best", None),
        ("FETCH FIRST 20 ROWS ONLY", "FETCH FIRST 20 ROWS ONLY"),
        ("WHERE top_ctr.rank <= 5", None),
        ("WHERE place.product_id IN (SELECT product_id FROM pg_temp.top_ctr WHERE rank <= 5)", None),
        ("WHERE place.rank > place.views AND place.views > 3", None),
        ("WHERE place.n = 1 AND place.views > 3", "place.n = 1"),
        ("WHERE 1 = rank", "1 = rank"),
        ("JOIN newest ON newest.rank = 1 WHERE newest.rank = 1", None),
        ("WHERE place.product_id = (SELECT product_id FROM newest WHERE rank = 1)", None),
    ],
)
def test_a_model_that_cuts_its_lists_itself_is_found_however_it_does(rest: str, found: str | None) -> None:
    assert cut(RANKED + rest, "x.sql") == found


@pytest.mark.parametrize(
    "condition",
    [
        "events.date <= %(ds)s::date",
        "events.date = %(ds)s::date OR events.views > 5",
        "NOT events.date = %(ds)s::date",
        "events.date >= %(ds)s::date - interval '6 days'",
        "events.date >= %(ds)s::date - make_interval(days => 6)",
        "events.date >= date_trunc('month', %(ds)s::date)",
        "events.date + 6 >= %(ds)s::date",
        "events.date = ANY(ARRAY[%(ds)s::date])",
        "events.date NOT BETWEEN %(ds)s::date AND %(ds)s::date",
        "events.date BETWEEN SYMMETRIC %(ds)s::date AND %(ds)s::date - 20",
        "events.date = '2000-01-01'::date",
        "events.date IN (SELECT loads.date FROM staging.loads WHERE loads.date = %(ds)s::date)",
        "true",
    ],
)
def test_a_look_back_that_can_not_be_read_is_refused(condition: str) -> None:
    with pytest.raises(PipelineError, match=r"x\.sql: it can not be told how many days of staging\.product_daily are"):
        look_back(DAYS + condition, "x.sql")


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("SELECT * FROM (SELECT 1) AS one LEFT JOIN staging.product_daily AS e ON e.date = %(ds)s::date", False),
        ("SELECT * FROM staging.product_daily AS e LEFT JOIN (SELECT 1) AS one ON e.date = %(ds)s::date", True),
        ("SELECT * FROM staging.product_daily AS e FULL JOIN (SELECT 1) AS one ON e.date = %(ds)s::date", True),
        ("SELECT (SELECT max(loads.date) FROM staging.loads) AS newest", True),
        ("SELECT 1 WHERE EXISTS (SELECT FROM staging.loads WHERE loads.date = %(ds)s::date)", False),
        ("WITH e AS (SELECT * FROM staging.product_daily) SELECT * FROM e WHERE e.date = %(ds)s::date", True),
        ("SELECT '5 %% of' FROM staging.loads WHERE loads.date = %(ds)s::date", False),
        ("SELECT E.DATE FROM STAGING.LOADS AS e WHERE E.Date = %(ds)s::DATE", False),
        ("SELECT * FROM staging.loads AS e (key, load_id, filter_version, date) WHERE e.date = %(ds)s::date", True),
        (
            "SELECT 1 FROM staging.active_advertisers CROSS JOIN marts.active_advertisers "
            "WHERE marts.active_advertisers.date = %(ds)s::date",
            True,
        ),
        ("SELECT * FROM loads", True),
        ("WITH Loads AS (SELECT 1 AS one) SELECT * FROM loads CROSS JOIN generate_series(1, 2) AS two", False),
        ("SELECT * FROM marts.some_days() AS e WHERE e.date = %(ds)s::date", True),
    ],
)
def test_a_condition_bounds_what_it_filters_and_nothing_else(query: str, refused: bool) -> None:
    if refused:
        with pytest.raises(PipelineError, match="it can not be told how many days"):
            look_back(query, "x.sql")
    else:
        assert look_back(query, "x.sql") == 0


def test_what_a_function_of_the_warehouse_reads_can_not_be_told() -> None:
    assert look_back("SELECT pg_catalog.now(), lower('A')", "x.sql") == 0
    with pytest.raises(PipelineError, match=r"x\.sql: it can not be told what the function marts\.newest\(\) reads"):
        look_back("SELECT marts.newest()", "x.sql")


def test_a_model_may_look_back_30_days_and_no_more(delivered: Night, tmp_path: Path) -> None:
    """Ranked as any other; one that reads more, or as far as nobody can tell, ranks nothing."""
    delivered.load()
    text = next(model for model in sql.models() if model.name == "TopProduct").file.read_text()
    for bound, message in (
        ("BETWEEN %(ds)s::date - 31 AND %(ds)s::date", "far.sql: looks back 31 days; a model may look back 30"),
        ("<= %(ds)s::date", "far.sql: it can not be told how many days"),
        ("BETWEEN %(ds)s::date - 30 AND %(ds)s::date", None),
    ):
        (tmp_path / "far.sql").write_text(text.replace("TopProduct", "Far").replace("= %(ds)s::date", bound))
        (model,) = sql.models(tmp_path)
        arguments = DAY, model, delivered.warehouse.connect, delivered.s3, delivered.settings
        if message:
            with pytest.raises(PipelineError, match=message):
                steps.build_model(*arguments)
            assert delivered.warehouse.rows("TABLE models.builds") == []
        else:
            steps.build_model(*arguments)
    assert delivered.warehouse.rows("SELECT model, looks_back FROM models.builds") == [("Far", 30)]
