"""DBWriting and the models: one transaction, audited, the same the second time."""

import csv
import gzip
import io
import json
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import cluster
import psycopg2
import pytest
from conftest import DAY, MODELS, ORDINARY_LISTS, Night, ordinary_logs

import elt.warehouse
from elt import following, sql, steps, warehouse
from elt.errors import NotYet, PipelineError

pytestmark = pytest.mark.usefixtures("nobody_reads")

EARLIER = "2024-11-18"


def everything(night: Night) -> dict[str, list]:
    tables = (
        "marts.recommendations",
        "marts.publications",
        "marts.sql_versions",
        "marts.list_changes",
        "marts.list_variation",
        "marts.model_agreement",
        "marts.active_advertisers",
        "marts.advertiser_daily",
        "marts.daily",
        "marts.advertiser_evaluation",
        "marts.evaluation",
        *(f"marts.{model.relation}" for model in sql.models()),
        "staging.product_daily",
        "staging.accounting",
        "staging.source_objects",
    )
    return {table: night.warehouse.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables}


def test_running_a_day_again_changes_nothing(delivered: Night) -> None:
    assert delivered.run() == MODELS
    before = everything(delivered)
    files = {
        key: delivered.object(f"intermediate/date={DAY}/{key}.csv.gz")
        for key in (*MODELS, "ads_views", "product_views")
    }
    assert len(before["marts.recommendations"]) == ORDINARY_LISTS * len(MODELS)
    assert delivered.run() == []
    assert everything(delivered) == before
    assert delivered.run(reload=True) == []
    assert everything(delivered) == before
    assert files == {key: delivered.object(f"intermediate/date={DAY}/{key}.csv.gz") for key in files}
    assert {body[4:8] for body in files.values()} == {bytes(4)}, "a gzip header with a time changes every second"


def test_the_file_of_a_model_on_s3_is_its_lists_in_order(delivered: Night) -> None:
    delivered.run()
    for name, rows, columns in (
        ("TopCTR", delivered.top_ctr(), ("advertiser_id", "rank", "product_id", "ctr", "clicks", "impressions")),
        ("TopProduct", delivered.top_product(), ("advertiser_id", "rank", "product_id", "views")),
    ):
        text = gzip.decompress(delivered.object(f"intermediate/date={DAY}/{name}.csv.gz")).decode()
        found = [tuple(row[column] for column in columns) for row in csv.DictReader(io.StringIO(text))]
        assert found == [tuple(map(str, row)) for row in rows]


@pytest.mark.model_blind
def test_the_file_of_a_model_is_in_order_however_the_model_selects(delivered: Night, tmp_path: Path) -> None:
    (tmp_path / "backwards.sql").write_text(
        "-- Backwards: x\nSELECT a AS advertiser_id, 21 - n AS rank, 'p' || n AS product_id, n AS score "
        "FROM generate_series(1, 20) AS n, unnest(ARRAY['b', 'Z', 'a']) AS a"
    )
    (model,) = sql.models(tmp_path)
    delivered.load()
    assert steps.build_model(DAY, model, delivered.warehouse.connect, delivered.s3, delivered.settings) == 60
    text = gzip.decompress(delivered.object(f"intermediate/date={DAY}/Backwards.csv.gz")).decode()
    found = [(row["advertiser_id"], int(row["rank"])) for row in csv.DictReader(io.StringIO(text))]
    assert found == [(advertiser, rank) for advertiser in ("Z", "a", "b") for rank in range(1, 21)]


def test_a_redelivered_day_replaces_the_old_lists(delivered: Night) -> None:
    delivered.run()
    before = delivered.top_product()
    delivered.deliver(*ordinary_logs(shift=3))
    assert delivered.run() == MODELS
    assert delivered.top_product() != before
    assert len(delivered.top_product()) == 40


@pytest.mark.model_blind
def test_an_advertiser_that_turned_inactive_loses_its_lists(delivered: Night) -> None:
    delivered.run()
    delivered.put("advertiser_ids", "advertiser_id\nACME\n")
    delivered.run()
    assert {row[0] for row in delivered.top_ctr()} == {"ACME"}
    assert delivered.warehouse.rows("SELECT advertiser_id FROM marts.active_advertisers") == [("ACME",)]
    delivered.put("advertiser_ids", "advertiser_id\nACME\nBOLT\n")
    delivered.run()
    assert {row[0] for row in delivered.top_ctr()} == {"ACME", "BOLT"}


def test_a_publication_says_what_it_was_made_of(delivered: Night) -> None:
    delivered.run()
    (row,) = delivered.warehouse.rows(
        "SELECT row_count, advertiser_count, sql_file, sql_version, git_revision, run_id, sources, accounting "
        "FROM marts.publications WHERE model = 'TopCTR' AND date = %s",
        DAY,
    )
    model = next(m for m in sql.models() if m.name == "TopCTR")
    assert row[:6] == (40, 2, "sql/models/top_ctr.sql", model.version, "test", "test")
    heads = {s["source"]: delivered.s3.head_object(Bucket=delivered.bucket, Key=s["source"]) for s in row[6]}
    assert {(s["source"], s["etag"], s["size_bytes"]) for s in row[6]} == {
        (source, head["ETag"].strip('"'), head["ContentLength"]) for source, head in heads.items()
    }
    assert [a["source"] for a in row[7]] == ["ads_views", "product_views"]


@pytest.mark.parametrize(
    "changed",
    [
        "'ACME' AS advertiser_id, n AS rank, 'p0' || n AS product_id, 2.5 AS score",
        "'BOLT' AS advertiser_id, n AS rank, 'p0' || n AS product_id, 1.5 AS score",
        "'ACME' AS advertiser_id, n AS rank, 'p0' || n AS product_id, 1.5 AS score, 7 AS figure",
        "'ACME' AS advertiser_id, 4 - n AS rank, 'p0' || n AS product_id, 1.5 AS score",
    ],
    ids=["score", "advertiser", "figure", "order"],
)
def test_a_list_is_published_again_for_another(delivered: Night, tmp_path: Path, changed: str) -> None:
    delivered.load()
    for selected in ("'ACME' AS advertiser_id, n AS rank, 'p0' || n AS product_id, 1.5 AS score", changed):
        (tmp_path / "other.sql").write_text(f"-- Other: x\nSELECT {selected} FROM generate_series(1, 3) AS n")
        models = sql.models(tmp_path)
        steps.build_model(DAY, models[0], delivered.warehouse.connect, delivered.s3, delivered.settings)
        assert steps.publish(DAY, models, delivered.warehouse.connect, delivered.settings, run_id="test") == ["Other"]
    columns = "advertiser_id, rank, product_id, score, entry::text"
    assert delivered.warehouse.rows(
        f"SELECT {columns} FROM marts.recommendations ORDER BY rank"
    ) == delivered.warehouse.rows(f"SELECT {columns} FROM models.candidates ORDER BY rank")


def test_what_made_a_list_is_known_from_its_first_publication_on(delivered: Night) -> None:
    delivered.run()
    delivered.change(git_revision="later")
    delivered.deliver(*ordinary_logs(shift=1))
    delivered.run(run_id="again")
    for model in sql.models():
        assert delivered.warehouse.rows(
            "SELECT sql_file, model, title, sql_text, git_revision FROM marts.sql_versions WHERE sql_version = %s",
            model.version,
        ) == [(f"sql/models/{model.file.name}", model.name, model.title, model.text, "test")]
    assert delivered.warehouse.rows("SELECT DISTINCT git_revision FROM marts.publications") == [("later",)]
    assert delivered.warehouse.rows("SELECT run_id FROM staging.loads") == [("again",)]


OTHERS = [model for model in sql.models() if model.name != "TopProduct"]
"""As a release has them that lacks a model."""


def test_the_lists_of_a_model_that_a_release_lacks_stay_with_the_days_that_it_runs_again(delivered: Night) -> None:
    delivered.run()
    before = everything(delivered)
    connect, settings = delivered.warehouse.connect, delivered.settings
    for reload in (False, True):
        delivered.load(reload=reload)
        for model in OTHERS:
            steps.build_model(DAY, model, connect, delivered.s3, settings)
        assert following.finish(DAY, OTHERS, connect, lambda: delivered.s3, settings, run_id="test") == []
        assert everything(delivered) == before


def test_they_stay_with_a_later_day_that_is_caught_up_with(delivered: Night) -> None:
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER, shift=2)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.run()
    before = delivered.top_product()
    connect, settings = delivered.warehouse.connect, delivered.settings
    delivered.load(EARLIER)
    for model in OTHERS:
        steps.build_model(EARLIER, model, connect, delivered.s3, settings)
    following.finish(EARLIER, OTHERS, connect, lambda: delivered.s3, settings, run_id="test")
    assert {row[6] for row in delivered.smoothed_ctr()} == {2}, "caught up with"
    assert delivered.top_product() == before
    published = delivered.warehouse.rows("SELECT model FROM marts.publications WHERE date = %s ORDER BY 1", DAY)
    assert published == [(name,) for name in sorted(MODELS)]


def test_they_go_when_the_day_is_delivered_anew_and_listeners_are_told(delivered: Night) -> None:
    """They are of other logs than all else that is said of the day."""
    delivered.run()
    delivered.deliver(*ordinary_logs(shift=1))
    delivered.load()
    connect, settings = delivered.warehouse.connect, delivered.settings
    for model in OTHERS:
        steps.build_model(DAY, model, connect, delivered.s3, settings)
    with closing(psycopg2.connect(delivered.warehouse.url("recommendations_api"))) as listener:
        listener.autocommit = True
        with listener.cursor() as cursor:
            cursor.execute("LISTEN recommendations_published")
            changed = steps.publish(DAY, OTHERS, connect, settings, run_id="test")
            cursor.execute("SELECT 1")
        listener.poll()
        told = [json.loads(notice.payload)["model"] for notice in listener.notifies]
    assert sorted(changed) == sorted(told) == sorted(MODELS)
    for table in ("publications", "recommendations"):
        assert delivered.warehouse.rows(f"SELECT DISTINCT model FROM marts.{table} ORDER BY 1") == sorted(
            (model.name,) for model in OTHERS
        )
    agreeing = "SELECT 1 FROM marts.model_agreement WHERE 'TopProduct' IN (model, other_model)"
    assert delivered.warehouse.rows(agreeing) == []
    delivered.rank()
    assert delivered.publish() == ["TopProduct"]
    assert len(delivered.top_product()) == 40


CHANGES = (
    "SELECT date::text, model, previous_date::text, sum(replaced)::integer FROM marts.list_changes "
    "GROUP BY 1, 2, 3 ORDER BY 1, 2"
)


def three_days(night: Night) -> list[str]:
    """Delivered, loaded and ranked, with other lists each."""
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(3)]
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(days)]
    night.deliver(logs[0][0], [view for log in logs for view in log[1]], [ad for log in logs for ad in log[2]])
    for day in days:
        night.load(day)
        night.rank(day)
    return days


@pytest.mark.model_blind
def test_a_day_is_run_again_though_a_model_is_missing_on_the_day_after_it(night: Night) -> None:
    days = three_days(night)
    for day, models in zip(days, (sql.models(), OTHERS, sql.models()), strict=True):
        steps.publish(day, models, night.warehouse.connect, night.settings, run_id="test")
    before = night.warehouse.rows(CHANGES)
    assert [row[:3] for row in before if row[1] == "TopProduct"] == [(days[2], "TopProduct", days[0])]
    assert night.run(days[0]) == []
    assert night.warehouse.rows(CHANGES) == before


@pytest.mark.model_blind
def test_the_next_lists_of_a_model_are_compared_with_a_day_that_is_published_between(night: Night) -> None:
    """In whatever order the days come, and whichever models a day after them lacks, the figures are the same."""
    days = three_days(night)

    def published(*order: int) -> list[tuple]:
        for table in ("publications", "recommendations", "list_changes"):
            night.warehouse.rows(f"DELETE FROM marts.{table}")
        for n in order:
            models = OTHERS if n == 1 else sql.models()
            steps.publish(days[n], models, night.warehouse.connect, night.settings, run_id="test")
        return night.warehouse.rows(CHANGES)

    in_order = published(0, 1, 2)
    assert {row[2] for row in in_order if row[0] == days[2]} == {days[0], days[1]}
    for order in ((2, 1, 0), (1, 2, 0), (2, 0, 1)):
        assert published(*order) == in_order, order


@pytest.mark.model_blind
def test_the_week_of_a_model_follows_a_day_that_is_published_late_however_long_ago(night: Night) -> None:
    """The model's next day is more than 7 published days later: its change, and its week, are against the late day."""
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(12)]
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(days)]
    night.deliver(logs[0][0], [view for log in logs for view in log[1]], [ad for log in logs for ad in log[2]])
    variation = "SELECT t::text FROM marts.list_variation AS t WHERE date = %s ORDER BY 1"
    for day in days:
        night.load(day)
        night.rank(day)
    for day in days[1:-1]:
        steps.publish(day, OTHERS, night.warehouse.connect, night.settings, run_id="test")
    night.publish(days[-1])
    assert not [row for row in night.warehouse.rows(variation, days[-1]) if "TopProduct" in row[0]]
    night.publish(days[0])
    assert len([row for row in night.warehouse.rows(variation, days[-1]) if "TopProduct" in row[0]]) == 2


@pytest.mark.model_blind
def test_rows_that_were_lost_from_the_published_lists_are_mended_by_the_next_run(delivered: Night) -> None:
    delivered.run()
    before = everything(delivered)
    delivered.warehouse.rows("DELETE FROM marts.recommendations WHERE model = 'TopCTR' AND rank > 3")
    delivered.warehouse.rows("DELETE FROM marts.recommendations WHERE model = 'TopProduct'")
    delivered.run()
    assert everything(delivered) == before


def test_listeners_are_told_of_what_changed_and_of_nothing_else(delivered: Night) -> None:
    listener = psycopg2.connect(delivered.warehouse.url("recommendations_api"))
    listener.autocommit = True
    with listener.cursor() as cursor:
        cursor.execute("LISTEN recommendations_published")
        delivered.run()
        delivered.run()
        cursor.execute("SELECT 1")
    listener.poll()
    told = [json.loads(notice.payload) for notice in listener.notifies]
    listener.close()
    assert told == [{"date": DAY, "model": model} for model in MODELS]


def test_a_log_delivered_again_with_the_same_events_changes_what_is_said_of_the_lists_and_not_the_lists(
    delivered: Night,
) -> None:
    """Its lines in another order: other bytes, another ETag."""
    rows = delivered.warehouse.rows
    lists = "SELECT xmin::text, ctid::text, t::text FROM marts.recommendations AS t ORDER BY 3"
    said = (
        "SELECT model, revision, published_at, sources, lists_hash, row_count, accounting, days_read "
        "FROM marts.publications ORDER BY model"
    )
    delivered.run()
    lists_before, before = rows(lists), rows(said)
    active, views, ads = ordinary_logs()
    delivered.deliver(active, views, ads[::-1])
    listener = psycopg2.connect(delivered.warehouse.url("recommendations_api"))
    listener.autocommit = True
    with listener.cursor() as cursor:
        cursor.execute("LISTEN recommendations_published")
        assert delivered.run() == MODELS
        cursor.execute("SELECT 1")
    listener.poll()
    told = [json.loads(notice.payload) for notice in listener.notifies]
    listener.close()
    assert told == [{"date": DAY, "model": model} for model in MODELS]
    assert rows(lists) == lists_before, "not even written anew"
    etag = delivered.s3.head_object(Bucket=delivered.bucket, Key="ads_views")["ETag"].strip('"')
    after = rows(said)
    for (model, revision, published_at, sources, *made), now in zip(before, after, strict=True):
        expected = [source | ({"etag": etag} if source["source"] == "ads_views" else {}) for source in sources]
        assert expected != sources
        assert now == (model, revision + 1, now[2], expected, *made)
        assert now[2] > published_at


@pytest.mark.model_blind
@pytest.mark.parametrize(
    ("change", "audit"),
    [
        (
            "INSERT INTO models.candidates SELECT date, model, 'GONE', rank, product_id, score, entry "
            "FROM models.candidates WHERE advertiser_id = 'BOLT'",
            "active_advertisers_only",
        ),
        ("DELETE FROM models.candidates WHERE rank = 7 AND model = 'TopCTR'", "lists_are_whole"),
        ("UPDATE models.candidates SET score = 1e9 WHERE rank = 7", "lists_are_whole"),
        ("UPDATE models.candidates SET product_id = 'invented' WHERE rank = 7", "products_had_events"),
        ("DELETE FROM models.candidates WHERE model = 'TopProduct'", "every_model_is_published"),
    ],
)
def test_an_audit_stops_the_publication_and_readers_keep_what_they_had(
    delivered: Night, change: str, audit: str
) -> None:
    delivered.run()
    before = everything(delivered)
    delivered.deliver(*ordinary_logs(shift=2))
    delivered.load()
    delivered.rank()
    delivered.warehouse.rows(change)
    with pytest.raises(PipelineError, match=f"nothing was published(?s:.*)sql/audits/publication/{audit}.sql: broken"):
        delivered.publish()
    after = everything(delivered)
    assert {t: after[t] for t in after if t.startswith("marts.")} == {
        t: before[t] for t in before if t.startswith("marts.")
    }
    delivered.run()
    assert len(delivered.top_ctr()) == 40


@pytest.mark.model_blind
@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO marts.recommendations SELECT date, model, advertiser_id, 21, 'more', score, entry "
        "FROM marts.recommendations WHERE rank = 20",
        "UPDATE marts.recommendations SET product_id = (SELECT min(product_id) FROM marts.recommendations)",
        "UPDATE marts.recommendations SET score = 'NaN' WHERE rank = 1",
        "UPDATE marts.recommendations SET score = '-Infinity' WHERE rank = 20",
    ],
    ids=["21 products", "a product twice", "not a number", "infinite"],
)
def test_the_audit_would_see_what_the_tables_constraints_keep_away(delivered: Night, change: str) -> None:
    delivered.run()
    with closing(delivered.warehouse.connect()) as conn, conn.cursor() as cursor:
        warehouse.audit(cursor, "publication", ds=DAY, run_id="test", models=MODELS)
        cursor.execute(change)
        with pytest.raises(PipelineError, match=r"lists_are_whole\.sql: broken"):
            warehouse.audit(cursor, "publication", ds=DAY, run_id="test", models=MODELS)


@pytest.mark.model_blind
@pytest.mark.parametrize(("days", "holds"), [(30, True), (31, False)])
def test_a_product_was_seen_on_the_day_or_in_the_30_days_before_it(delivered: Night, days: int, holds: bool) -> None:
    delivered.load()
    delivered.rank()
    delivered.warehouse.rows("UPDATE models.candidates SET product_id = 'seen' WHERE rank = 7")
    delivered.warehouse.make_months(days=days + 1)
    for advertiser in ("ACME", "BOLT"):
        delivered.warehouse.rows(
            "INSERT INTO staging.product_daily VALUES (%s::date - %s, %s, 'seen', 1, 0, 0)", DAY, days, advertiser
        )
    if holds:
        assert sorted(delivered.publish()) == sorted(MODELS)
    else:
        with pytest.raises(PipelineError, match=r"products_had_events\.sql: broken"):
            delivered.publish()


def test_models_built_from_another_load_are_not_published_together(delivered: Night) -> None:
    """Another run loaded the day anew between this run's models and its publication."""
    delivered.load()
    delivered.rank()
    delivered.deliver(*ordinary_logs(shift=1))
    delivered.load()
    with pytest.raises(NotYet, match=f"{', '.join(sorted(MODELS))}: not built from the day's newest load"):
        delivered.publish()
    delivered.rank()
    assert delivered.publish() == MODELS


@pytest.mark.model_blind
def test_a_day_that_is_not_loaded_is_not_ranked(delivered: Night) -> None:
    with pytest.raises(PipelineError, match=f"{MODELS[0]}: 2024-11-20 is not loaded; FiltrarDatos loads it"):
        delivered.rank()


@pytest.mark.model_blind
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "-- Bad: x\nSELECT advertiser_id FROM staging.no_such_table WHERE date = %(ds)s::date",
            r'bad\.sql: relation "staging.no_such_table"',
        ),
        ("-- Bad: x\nSELEC 1", r"bad\.sql: can not be read"),
        ("-- Bad: x\nSELECT 1; COMMIT", r"bad\.sql: a model is one SELECT that only reads, not: SELECT 1; COMMIT"),
        ("-- Bad: x\nCOMMIT", r"bad\.sql: a model is one SELECT that only reads, not: COMMIT"),
        (
            "-- Bad: x\nWITH gone AS (DELETE FROM marts.publications RETURNING date) SELECT * FROM gone",
            r"bad\.sql: a model is one SELECT that only reads, not: WITH gone AS \(DELETE",
        ),
        *(
            (
                f"-- Bad: x\nSELECT 'ACME' AS advertiser_id, 1 AS rank, 'p' AS product_id, '{score}'::float AS score",
                r"bad\.sql: .*score_is_a_number",
            )
            for score in ("NaN", "Infinity", "-Infinity")
        ),
        *(
            (
                "-- Bad: x\nSELECT 'ACME' AS advertiser_id, 1 AS rank, 'p' AS product_id, 1 AS score, "
                f"{figure} AS clicks",
                r"bad\.sql: .*figures_are_numbers_of_json",
            )
            for figure in ("'NaN'::float", "'-Infinity'::numeric", "9007199254740992", "-9007199254740993::bigint")
        ),
        (
            "-- Bad: x\nSELECT 'ACME' AS advertiser_id, 1 AS rank, 'p' AS product_id, 1 AS score FROM pg_sleep(30)",
            r"bad\.sql: has not ranked the day within 1 s \(RANKING_TIMEOUT\)",
        ),
        (
            "-- Bad: x\nSELECT 'a' AS advertiser_id, 1 AS rank",
            r"bad\.sql: selects advertiser_id, rank, but not product",
        ),
        (
            "-- Bad: x\nSELECT 'ACME' AS advertiser_id, 1 AS rank, 'p' || n AS product_id, 1 AS score "
            "FROM generate_series(1, 2) AS n",
            r"bad\.sql: .*a_rank_is_given_once",
        ),
        (
            "-- Bad: x\nSELECT 'ACME' AS advertiser_id, n AS rank, 'p' AS product_id, 1 AS score "
            "FROM generate_series(1, 2) AS n",
            r"bad\.sql: .*a_product_is_listed_once",
        ),
        (
            "-- Bad: x\nSELECT 'ACME' AS advertiser_id, 0 AS rank, 'p' AS product_id, 1 AS score",
            r"bad\.sql: .*rank_is_1_to_20",
        ),
        ("-- Bad: 5 % x\nSELECT 1", r"bad\.sql: parameters are written %\(name\)s"),
        (
            "-- Bad: x\nSELECT\n    1,\n    nonsense(date)\nFROM staging.loads\nWHERE date = %(ds)s::date",
            r"bad\.sql: function nonsense\(date\) does not exist; .*\(at: nonsense\(date\)\)$",
        ),
    ],
)
def test_a_mistake_in_a_model_names_the_file(delivered: Night, tmp_path, text: str, message: str) -> None:
    (tmp_path / "bad.sql").write_text(text)
    (model,) = sql.models(tmp_path)
    delivered.load()
    delivered.change(ranking_timeout=1)
    with pytest.raises(PipelineError, match=message):
        steps.build_model(DAY, model, delivered.warehouse.connect, delivered.s3, delivered.settings)
    assert delivered.warehouse.rows("TABLE models.builds") == []


@pytest.mark.model_blind
def test_what_is_recorded_of_a_model_is_what_ranked_though_its_file_is_changed_meanwhile(
    delivered: Night, tmp_path, monkeypatch
) -> None:
    text = "-- Other: x\nSELECT 'ACME' AS advertiser_id, n AS rank, 'p0' || n AS product_id, 1 AS score FROM {} AS n"
    file = tmp_path / "other.sql"
    file.write_text(text.format("generate_series(1, 3)"))
    (model,) = sql.models(tmp_path)
    delivered.load()
    check_columns = sql.check_columns

    def changed_meanwhile(*arguments):
        file.write_text(text.format("generate_series(1, 4)"))
        check_columns(*arguments)

    monkeypatch.setattr(sql, "check_columns", changed_meanwhile)
    assert steps.build_model(DAY, model, delivered.warehouse.connect, delivered.s3, delivered.settings) == 3
    ((recorded, version),) = delivered.warehouse.rows("SELECT sql_text, sql_version FROM models.builds")
    assert recorded == text.format("generate_series(1, 3)")
    assert version == model.version != sql.model(file).version


@pytest.mark.model_blind
def test_a_model_file_that_does_not_say_its_name_is_refused(tmp_path) -> None:
    (tmp_path / "my_model.sql").write_text("-- TheModel: x\nSELECT 1")
    with pytest.raises(PipelineError, match=r"my_model\.sql: the first line must be '-- Name: what the model is'"):
        sql.models(tmp_path)


LOOKING_BACK = sorted(model.name for model in sql.models() if model.looks_back >= 2)
"""On EARLIER, two days before DAY."""


def test_a_day_that_was_loaded_late_is_caught_up_with_by_the_days_that_look_back_on_it(delivered: Night) -> None:
    """As two days of a backfill that overtake each other: in the end the lists are those of the right order."""
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER, shift=2)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.run()
    assert {row[6] for row in delivered.smoothed_ctr()} == {1}, "a list of one day's counts"
    delivered.load(EARLIER)
    query = "SELECT date::text, model, newly_loaded::text FROM marts.outdated_lists"
    assert delivered.warehouse.rows(query, role="recommendations_analyst") == [
        (DAY, name, EARLIER) for name in LOOKING_BACK
    ]
    delivered.rank(EARLIER)
    delivered.publish(EARLIER)
    before = everything(delivered)
    assert delivered.catch_up(EARLIER) == [DAY]
    assert {row[6] for row in delivered.smoothed_ctr()} == {2}
    assert delivered.warehouse.rows(query) == []
    assert delivered.warehouse.rows(
        "SELECT days_read::text[] FROM marts.publications WHERE date = %s AND model = 'SmoothedCTR'", DAY
    ) == [([EARLIER, DAY],)]
    after = everything(delivered)
    changed = {table for table in after if after[table] != before[table]}
    assert "marts.top_ctr" not in changed, "only the model that looks back is ranked again"
    assert changed > {"marts.smoothed_ctr", "marts.publications", "marts.list_changes"}
    caught_up = delivered.smoothed_ctr()
    for day in (EARLIER, DAY):
        delivered.run(day, reload=True)
    assert delivered.smoothed_ctr() == caught_up
    assert delivered.catch_up(EARLIER) == delivered.catch_up(DAY) == []


def three_to_catch_up_with(night: Night) -> list[str]:
    """A day that was loaded and published, and two published days that look back on it and were ranked before."""
    days = three_days(night)
    for day in days[1:]:
        night.publish(day)
    night.load(days[0], reload=True)
    night.rank(days[0])
    return days


@pytest.mark.model_blind
def test_a_later_day_that_is_refused_stops_neither_the_others_nor_what_comes_after(night: Night) -> None:
    """It can not be published again, for its events are no longer there: an audit sees it."""
    days = three_to_catch_up_with(night)
    night.warehouse.rows("DELETE FROM staging.product_daily WHERE date = %s AND product_id = 'p07'", days[1])
    night.warehouse.rows(
        "UPDATE models.candidates SET product_id = 'invented' WHERE date = %s AND model = 'TopCTR' AND rank = 7",
        days[1],
    )
    night.warehouse.rows("UPDATE models.builds SET lists_hash = 'others' WHERE date = %s AND model = 'TopCTR'", days[1])
    night.warehouse.rows("INSERT INTO staging.loads VALUES ('2024-01-02', gen_random_uuid(), '', '', '2024-01-03')")
    night.change(keep_days=60)
    connect, settings = night.warehouse.connect, night.settings

    def away(**_: Any) -> None:
        raise OSError("S3 is away")

    night.s3.meta.events.register("before-parameter-build.s3.ListObjectsV2", away)
    try:
        with pytest.raises(PipelineError) as refused:
            following.finish(days[0], sql.models(), connect, lambda: night.s3, settings, run_id="test")
    finally:
        night.s3.meta.events.unregister("before-parameter-build.s3.ListObjectsV2", away)
    assert not isinstance(refused.value, NotYet), "a retry would fail the same way, or not meet it again"
    message = str(refused.value)
    assert message.endswith("\nS3 is away"), "the files are written by another night"
    assert message.startswith(f"{days[0]} is published; after that:\npublished again: {days[2]}; ")
    assert f"\n{days[1]}, which looks back on {days[0]}, keeps the lists that it had: {days[1]}: nothing was" in message
    assert "products_had_events.sql: broken" in message
    assert {row[6] for row in night.smoothed_ctr(days[2])} == {3}, "the other is published again"
    assert night.warehouse.rows("SELECT 1 FROM staging.loads WHERE date = '2024-01-02'") == [], "retention was done"


def test_a_model_that_does_not_look_back_is_not_ranked_again(delivered: Night) -> None:
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER, shift=2)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.run()
    ranked = "SELECT model, xmin::text FROM models.builds WHERE date = %s"
    before = dict(delivered.warehouse.rows(ranked, DAY))
    delivered.run(EARLIER)
    after = dict(delivered.warehouse.rows(ranked, DAY))
    assert sorted(name for name in after if after[name] != before[name]) == LOOKING_BACK


@pytest.mark.model_blind
def test_a_day_that_is_loaded_again_while_it_is_caught_up_with_is_left_to_who_loaded_it(
    delivered: Night, monkeypatch
) -> None:
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER, shift=2)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.run()
    delivered.load(EARLIER)
    build_model = steps.build_model

    def build_and_load_again(*arguments):
        build_model(*arguments)
        delivered.load(DAY, reload=True)

    with monkeypatch.context() as patched:
        patched.setattr(steps, "build_model", build_and_load_again)
        assert delivered.catch_up(EARLIER) == []
    assert {row[6] for row in delivered.smoothed_ctr()} == {1}
    delivered.run()
    assert {row[6] for row in delivered.smoothed_ctr()} == {2}


@pytest.mark.model_blind
def test_a_run_that_is_killed_while_it_catches_up_is_taken_up_by_its_retry(delivered: Night, monkeypatch) -> None:
    """After the later day was ranked again, before it was published again."""
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER, shift=2)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.run()
    delivered.load(EARLIER)
    delivered.rank(EARLIER)
    delivered.publish(EARLIER)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(steps, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            delivered.catch_up(EARLIER)
    assert delivered.warehouse.rows("SELECT date::text, model, newly_loaded FROM marts.outdated_lists") == [
        (DAY, name, None) for name in LOOKING_BACK
    ]
    assert delivered.catch_up(EARLIER) == [DAY]
    assert {row[6] for row in delivered.smoothed_ctr()} == {2}
    assert delivered.warehouse.rows("TABLE marts.outdated_lists") == []


@pytest.mark.model_blind
def test_a_retry_takes_up_what_is_ranked_again_up_to_30_days_later(night: Night) -> None:
    """30 days are as far as a model may look back: what lies later was not ranked again because of this day."""
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(32)]
    newly_loaded, last, too_late = days[29:]
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(days[29:])]
    night.deliver(logs[0][0], [view for log in logs for view in log[1]], [ad for log in logs for ad in log[2]])
    for day in (too_late, last):
        night.load(day)
        night.rank(day)
        night.publish(day)
    night.load(newly_loaded)
    for day in (last, too_late):
        night.rank(day)
    query = "SELECT date::text, model, newly_loaded FROM marts.outdated_lists ORDER BY 1, 2"
    assert night.warehouse.rows(query) == [(day, name, None) for day in (last, too_late) for name in LOOKING_BACK]
    assert night.catch_up(str(date.fromisoformat(DAY) - timedelta(1))) == [], "31 and 32 days before"
    assert night.catch_up(DAY) == [last]
    assert {row[6] for row in night.smoothed_ctr(last)} == {2}
    assert night.warehouse.rows(query) == [(too_late, name, None) for name in LOOKING_BACK]
    assert night.catch_up(too_late) == [too_late]
    assert {row[6] for row in night.smoothed_ctr(too_late)} == {3}
    assert night.warehouse.rows(query) == []


@pytest.mark.model_blind
def test_a_retry_leaves_what_is_ranked_again_of_earlier_days_to_the_runs_of_those(night: Night) -> None:
    """They do not look back on the retried day."""
    days = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(3)]
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(days)]
    night.deliver(logs[0][0], [view for log in logs for view in log[1]], [ad for log in logs for ad in log[2]])
    night.run(days[1])
    night.load(days[0])
    night.rank(days[1])
    night.run(days[2])
    query = "SELECT date::text, model, newly_loaded FROM marts.outdated_lists ORDER BY 2"
    assert night.warehouse.rows(query) == [(days[1], name, None) for name in LOOKING_BACK]
    assert night.catch_up(days[0]) == [days[1]]


def test_a_model_that_is_newer_than_the_day_is_ranked_too_when_the_day_is_caught_up_with(delivered: Night) -> None:
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER, shift=2)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.run()
    for table in ("models.candidates", "models.builds", "marts.recommendations", "marts.publications"):
        delivered.warehouse.rows(f"DELETE FROM {table} WHERE model = 'TopProduct'")
    delivered.run(EARLIER)
    assert {row[6] for row in delivered.smoothed_ctr()} == {2}
    assert len(delivered.top_product()) == 40


@pytest.mark.model_blind
@pytest.mark.skipif(cluster.WANTED, reason="there a load waits for who ranks: test_citus")
def test_a_load_that_ends_while_a_model_ranks_is_not_taken_as_read(delivered: Night, monkeypatch) -> None:
    """What is ranked and what is recorded as read are of one moment."""
    active, views, ads = ordinary_logs()
    _, earlier_views, earlier_ads = ordinary_logs(EARLIER)
    delivered.deliver(active, views + earlier_views, ads + earlier_ads)
    delivered.load()
    run = elt.warehouse.run

    def load_in_between(cursor, name, **params):
        if name == "models/builds" and params["model"] == "SmoothedCTR":
            monkeypatch.undo()
            delivered.load(EARLIER)
        run(cursor, name, **params)

    monkeypatch.setattr(elt.warehouse, "run", load_in_between)
    delivered.rank()
    delivered.publish()
    assert {row[6] for row in delivered.smoothed_ctr()} == {1}
    assert delivered.catch_up() == [DAY]
    assert {row[6] for row in delivered.smoothed_ctr()} == {2}


def test_what_is_older_than_the_settings_keep_is_deleted_and_nothing_else(night: Night) -> None:
    days = [f"2024-09-{n:02}" for n in (1, 2)] + ["2024-11-19", DAY]
    for shift, day in enumerate(days):
        active, views, ads = ordinary_logs(day, shift)
        night.change(max_rejected_share=1.0)
        night.deliver(active, views, ads)
        night.put("ads_views", night.object("ads_views") + b"unreadable\n")
        night.run(day)
    tables = sorted(
        table
        for (table,) in night.warehouse.rows(
            "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
            "WHERE attname = 'date' AND relkind IN ('r', 'p') "
            "AND relnamespace::regnamespace::text IN ('staging', 'models', 'marts')"
        )
    )
    assert len(tables) >= 18

    def kept() -> dict[str, list[str]]:
        return {
            t: [d for (d,) in night.warehouse.rows(f"SELECT DISTINCT date::text FROM {t} ORDER BY 1")] for t in tables
        }

    before = kept()
    night.change(keep_days=60, keep_working_days=30)
    night.forget()
    assert kept() == before, "loaded a moment ago: somebody wanted these days"
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.forget()
    after = kept()
    assert after["staging.rejected_lines"] == after["models.candidates"] == []
    for table in set(tables) - {"staging.rejected_lines", "models.candidates"}:
        assert after[table] == [day for day in before[table] if day > "2024-10"], table
    assert after["marts.recommendations"] == days[2:]
    assert night.publish() == [], "a retry of DBWriting finds its lists published"
    night.change(keep_days=10_000)
    night.forget()
    assert kept() == after


@pytest.mark.model_blind
def test_what_is_as_old_as_the_settings_keep_is_still_kept(night: Night) -> None:
    """Each is tried one day short of its time, and at it."""
    night.change(max_rejected_share=1.0)
    newest = datetime.now(UTC).date() - timedelta(1)
    kept, expired = str(newest - timedelta(60)), str(newest - timedelta(61))
    for day in (expired, kept, str(newest)):
        night.deliver(*ordinary_logs(day))
        night.put("ads_views", night.object("ads_views") + b"unreadable\n")
        night.run(day)
    age = "UPDATE staging.loads SET loaded_at = now() - interval '30 days' + interval '1 minute' WHERE date < %s"
    night.warehouse.rows(age, newest)
    night.change(keep_days=60, keep_working_days=30)
    night.forget(str(newest))
    dates = "SELECT DISTINCT date::text FROM {} ORDER BY 1"
    for table in ("staging.loads", "models.candidates", "staging.rejected_lines"):
        assert night.warehouse.rows(dates.format(table)) == [(expired,), (kept,), (str(newest),)], table
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = loaded_at - interval '2 minutes'")
    night.forget(str(newest))
    assert night.warehouse.rows(dates.format("staging.loads")) == [(kept,), (str(newest),)]
    for table in ("models.candidates", "staging.rejected_lines"):
        assert night.warehouse.rows(dates.format(table)) == [(str(newest),)], table
    assert night.warehouse.rows(dates.format("marts.recommendations")) == [(kept,), (str(newest),)]


@pytest.mark.model_blind
def test_a_day_in_the_future_deletes_no_history(delivered: Night) -> None:
    """No run publishes one; an older release did, or somebody by hand."""
    delivered.run()
    delivered.warehouse.rows("UPDATE marts.publications SET date = current_date + 3650 WHERE model = 'TopCTR'")
    delivered.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    delivered.change(keep_days=2000, keep_working_days=30)
    delivered.forget("2024-09-01")
    assert delivered.warehouse.rows("SELECT date::text FROM staging.loads") == [(DAY,)]


@pytest.mark.model_blind
def test_lines_of_a_day_that_was_never_loaded_are_kept_for_days_that_count_from_its_date(night: Night) -> None:
    """Every attempt failed, for too many of them."""
    today = datetime.now(UTC).date()
    for days in (29, 30, 31):
        day = str(today - timedelta(days))
        night.deliver(*ordinary_logs(day))
        night.put("ads_views", night.object("ads_views") + b"unreadable\n" * 999)
        with pytest.raises(PipelineError, match="rejected_share"):
            night.load(day)
    night.change(keep_working_days=30)
    night.forget(str(today))
    assert night.warehouse.rows("SELECT DISTINCT date FROM staging.rejected_lines ORDER BY 1") == [
        (today - timedelta(30),),
        (today - timedelta(29),),
    ]


@pytest.mark.model_blind
def test_a_day_of_long_ago_that_is_loaded_again_is_kept_for_its_time_again(night: Night) -> None:
    for day in ("2024-09-01", DAY):
        night.deliver(*ordinary_logs(day))
        night.run(day)
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.change(keep_days=60, keep_working_days=30)
    night.deliver(*ordinary_logs("2024-09-01"))
    night.load("2024-09-01", reload=True)
    night.forget()
    assert night.warehouse.rows("SELECT DISTINCT date::text FROM marts.publications ORDER BY 1") == [
        ("2024-09-01",),
        (DAY,),
    ]


def test_candidates_that_are_not_published_yet_outlive_their_time(delivered: Night) -> None:
    """A retry of DBWriting may still publish them, however late."""
    delivered.run()
    published = delivered.lists()
    delivered.deliver(*ordinary_logs(shift=2))
    delivered.load()
    delivered.rank()
    delivered.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    delivered.change(keep_working_days=30)
    delivered.forget()
    assert delivered.warehouse.rows("SELECT model, count(*) FROM models.candidates GROUP BY model ORDER BY 1") == [
        (model, ORDINARY_LISTS) for model in sorted(MODELS)
    ]
    assert delivered.lists() == published
    assert delivered.publish() == MODELS
    assert [rows != before for rows, before in zip(delivered.lists(), published, strict=True)] == [True] * 3
    assert [len(rows) for rows in delivered.lists()] == [ORDINARY_LISTS] * 3
    delivered.forget()
    assert delivered.warehouse.rows("TABLE models.candidates") == [], "published: what they say is in marts"


@pytest.mark.model_blind
def test_a_run_does_not_delete_the_day_that_it_has_just_published(night: Night) -> None:
    """Published again from the load of long ago, by other SQL: it is not loaded anew."""
    for day in ("2024-09-01", DAY):
        night.deliver(*ordinary_logs(day))
        night.run(day)
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.change(keep_days=60, keep_working_days=30)
    night.forget("2024-09-01")
    assert [len(rows) for rows in night.lists("2024-09-01")] == [ORDINARY_LISTS] * 3
    assert night.warehouse.rows("SELECT min(date)::text FROM staging.loads") == [("2024-09-01",)]
    night.forget(DAY)
    assert night.lists("2024-09-01") == ([], [], [])
    assert night.warehouse.rows("SELECT min(date)::text FROM staging.loads") == [(DAY,)]


def readers_see(night: Night) -> dict[str, list]:
    """All that roles other than the pipeline's may see but the newest load's own account, marts.data_quality."""
    found = {name: rows for name, rows in everything(night).items() if name.startswith("marts.")}
    # The workers of a cluster know no row type of the view.
    counts = "SELECT t::text FROM (SELECT * FROM marts.product_daily) AS t ORDER BY 1"
    return found | {"marts.product_daily": night.warehouse.rows(counts, role="recommendations_analyst")}


def test_a_load_that_is_not_published_is_seen_by_nobody_until_it_is(night: Night) -> None:
    """Neither its counts nor what becomes of the lists of the day before, however often it is loaded."""
    days = three_days(night)
    for day in days:
        night.publish(day)
    before = readers_see(night)
    assert len(before["marts.product_daily"]) == 150
    for shift in (5, 6):
        logs = [ordinary_logs(day, shift if day == days[1] else n) for n, day in enumerate(days)]
        views, ads = [view for log in logs for view in log[1]], [ad for log in logs for ad in log[2]]
        night.deliver(logs[0][0], views, ads[:-7] if shift == 5 else ads)
        night.load(days[1])
        night.rank(days[1])
        night.warehouse.rows(
            "UPDATE models.candidates SET product_id = 'invented' WHERE date = %s AND rank = 7", days[1]
        )
        with pytest.raises(PipelineError, match=f"{days[1]}: nothing was published(?s:.*)products_had_events"):
            night.publish(days[1])
        assert readers_see(night) == before
        night.publish(days[0])
        assert readers_see(night) == before, "the day before evaluates its lists by what is published"
    night.run(days[1])
    after = readers_see(night)
    assert after["marts.product_daily"] != before["marts.product_daily"]
    assert after["marts.evaluation"] != before["marts.evaluation"]
    assert night.warehouse.rows("TABLE staging.product_daily_published") == []
    counts = "SELECT date, advertiser_id, product_id, impressions, clicks, views FROM {}.product_daily ORDER BY 1, 2, 3"
    assert night.warehouse.rows(counts.format("marts")) == night.warehouse.rows(counts.format("staging"))


def files(night: Night, day: str = DAY) -> dict[str, list[tuple]]:
    """The published lists on S3."""
    found = {}
    for model in MODELS:
        body = gzip.decompress(night.object(f"intermediate/published/date={day}/{model}.csv.gz")).decode()
        rows = csv.DictReader(io.StringIO(body))
        found[model] = [(r["advertiser_id"], int(r["rank"]), r["product_id"], json.loads(r["entry"])) for r in rows]
    return found


def lists_of(night: Night, day: str = DAY) -> dict[str, list[tuple]]:
    query = (
        "SELECT advertiser_id, rank, product_id, entry FROM marts.recommendations WHERE date = %s AND model = %s "
        "ORDER BY 1, 2"
    )
    return {model: night.warehouse.rows(query, day, model) for model in MODELS}


def test_what_other_programs_may_read_on_s3_is_what_is_published(delivered: Night) -> None:
    """Candidates that an audit refused stand beside it; a run that was killed before it wrote is made up for."""
    delivered.run()
    published = lists_of(delivered)
    assert files(delivered) == published
    delivered.deliver(*ordinary_logs(shift=2))
    delivered.load()
    delivered.rank()
    delivered.warehouse.rows("UPDATE models.candidates SET product_id = 'invented' WHERE rank = 7")
    with pytest.raises(PipelineError, match="products_had_events"):
        delivered.publish()
    assert files(delivered) == published
    delivered.rank()
    delivered.publish()
    assert files(delivered) == published != lists_of(delivered), "killed between commit and S3"
    delivered.deliver(*ordinary_logs("2024-11-21"))
    delivered.run("2024-11-21")
    assert files(delivered) == lists_of(delivered)
    assert files(delivered, "2024-11-21") == lists_of(delivered, "2024-11-21")


def test_they_are_whole_again_where_the_warehouse_was_restored_the_place_changed_or_an_object_was_lost(
    delivered: Night,
) -> None:
    """What the warehouse remembers to have written is not what is there."""
    delivered.run()
    first = lists_of(delivered)
    backup = delivered.warehouse.copy(f"{delivered.warehouse.name}_backup")
    delivered.deliver(*ordinary_logs(shift=2))
    delivered.run()
    assert files(delivered) == lists_of(delivered) != first
    delivered.deliver(*ordinary_logs("2024-11-21"))
    delivered.run("2024-11-21")
    delivered.warehouse = backup

    def write_published() -> None:
        following.write_published(DAY, delivered.warehouse.connect, lambda: delivered.s3, delivered.settings)

    write_published()
    assert files(delivered) == lists_of(delivered) == first
    assert not any(files(delivered, "2024-11-21").values()), "of a night that the restored warehouse does not know"
    written = delivered.s3.list_objects_v2(Bucket=delivered.bucket, Prefix="intermediate/published/")["Contents"]
    write_published()
    assert (
        delivered.s3.list_objects_v2(Bucket=delivered.bucket, Prefix="intermediate/published/")["Contents"] == written
    )
    delivered.s3.delete_object(Bucket=delivered.bucket, Key=written[0]["Key"])
    write_published()
    assert files(delivered) == first
    delivered.change(intermediate_uri=f"s3://{delivered.bucket}/elsewhere/")
    write_published()
    keys = delivered.s3.list_objects_v2(Bucket=delivered.bucket, Prefix="elsewhere/")["Contents"]
    assert [item["Key"] for item in keys] == [
        f"elsewhere/published/date={DAY}/{model}.csv.gz" for model in sorted(MODELS)
    ]


@pytest.mark.model_blind
def test_s3_that_is_away_after_the_commit_takes_no_publication_back(delivered: Night) -> None:
    delivered.load()
    delivered.rank()
    connect, settings = delivered.warehouse.connect, delivered.settings

    def away():
        raise OSError("S3 is away")

    with pytest.raises(NotYet, match=f"{DAY} is published; after that:\nS3 is away"):
        following.finish(DAY, sql.models(), connect, away, settings, run_id="test")
    assert [len(rows) for rows in lists_of(delivered).values()] == [ORDINARY_LISTS] * len(MODELS)
    assert following.finish(DAY, sql.models(), connect, lambda: delivered.s3, settings, run_id="test") == []
    assert files(delivered) == lists_of(delivered)


@pytest.mark.model_blind
def test_an_expired_day_that_somebody_works_on_stays_for_another_night(night: Night) -> None:
    for day in ("2024-09-01", DAY):
        night.deliver(*ordinary_logs(day))
        night.run(day)
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.change(keep_days=60, keep_working_days=30)
    with closing(night.warehouse.connect()) as conn:
        warehouse.lock_day(conn, "2024-09-01", shared=True)
        night.forget()
        assert [len(rows) for rows in night.lists("2024-09-01")] == [ORDINARY_LISTS] * 3
    night.forget()
    assert night.lists("2024-09-01") == ([], [], [])


@pytest.mark.model_blind
@pytest.mark.skipif(cluster.WANTED, reason="there who ranks the day after waits for that lock, too")
def test_a_lock_that_kept_a_later_day_from_being_published_again_is_told_and_left_to_the_retries(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else publishes that day: an analyst may hold its lock."""
    days = three_to_catch_up_with(night)
    monkeypatch.setattr(warehouse, "LOCK_TIMEOUT", "100ms")
    with closing(psycopg2.connect(night.warehouse.url("recommendations_analyst"))) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(24256, %s)", (date.fromisoformat(days[1]).toordinal(),))
        connect, settings = night.warehouse.connect, night.settings
        with pytest.raises(NotYet, match=rf"{days[1]}, which looks back(?s:.*)held by pid {conn.info.backend_pid}"):
            following.finish(days[0], sql.models(), connect, lambda: night.s3, settings, run_id="test")
    assert {row[6] for row in night.smoothed_ctr(days[2])} == {3}, "the other is published again"
    assert night.catch_up(days[0]) == [days[1]]
