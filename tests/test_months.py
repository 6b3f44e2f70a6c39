"""A partition a month: how a warehouse gets them, who makes and drops them, and what readers see meanwhile."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from conftest import DAY, ORDINARY_LISTS, Night, Warehouse, ordinary_logs
from test_migrating import open_query, until

from elt import sql
from elt.migrate import migrate
from elt.settings import PROJECT
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres

pytestmark = pytest.mark.model_blind

BEFORE = "2024-11-19"
LATER = "2024-12-01"

OF_MONTHS = ("staging/months", "staging/make_month", "staging/drop_months", "marts/list_of")

HASHED_AS_BEFORE = """
UPDATE models.builds SET lists_hash = (
    SELECT md5(string_agg(advertiser_id || score || entry::text, ',' ORDER BY advertiser_id, rank))
    FROM models.candidates WHERE candidates.date = builds.date AND candidates.model = builds.model
);
UPDATE marts.publications SET lists_hash = builds.lists_hash FROM models.builds
WHERE builds.date = publications.date AND builds.model = publications.model;
"""

KILL = """
CREATE FUNCTION migrations.kill() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
CREATE TRIGGER kill BEFORE INSERT ON migrations._yoyo_migration FOR EACH ROW
WHEN (NEW.migration_id = '0029_months') EXECUTE FUNCTION migrations.kill()
"""


def months(warehouse: Warehouse, relation: str = "marts.recommendations") -> list[str]:
    found = warehouse.rows("SELECT partition FROM staging.months WHERE relation = %s::regclass ORDER BY 1", relation)
    return [name for (name,) in found]


def without_months(folder: Path) -> None:
    """Makes a copy of sql/ one from before there were months."""
    for file in (folder / "migrations").iterdir():
        if "0027" <= file.name < "0030":
            file.unlink()
    for name in OF_MONTHS:
        (folder / f"{name}.sql").unlink()
    counts = folder / "staging" / "product_daily.sql"
    counts.write_text(counts.read_text().replace("SELECT staging.make_month(%(ds)s::date) AS made;\n", ""))
    (folder / "queries" / "month_of_the_day.sql").write_text("SELECT 1")


class Asking(threading.Thread):
    """Asks for what is told of lists, again and again, as a client of the API and as an analyst."""

    def __init__(self, url: str, warehouse: Warehouse) -> None:
        super().__init__(daemon=True)
        self.url, self.warehouse = url, warehouse
        self.answers: Counter[tuple[Any, ...]] = Counter()
        self.is_over = threading.Event()

    def run(self) -> None:
        query = "SELECT count(*) FROM marts.top_ctr UNION ALL SELECT count(*) FROM marts.product_daily"
        with (
            httpx.Client(base_url=self.url, timeout=30) as http,
            closing(psycopg2.connect(self.warehouse.url("recommendations_analyst"))) as conn,
            conn.cursor() as cursor,
        ):
            conn.autocommit = True
            cursor.execute(f"PREPARE asked AS {query}")
            while not self.is_over.is_set():
                answer = http.get("/stats/ACME")
                cursor.execute("EXECUTE asked")
                self.answers[(answer.status_code, answer.text, *cursor.fetchall())] += 1


def test_a_warehouse_gets_its_months_while_it_is_read_and_answers_as_before(
    postgres: Postgres, s3: Any, bucket: str, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the last step, too. No row is written anew, and a day that is run again is known to be published."""
    without_months(copied)
    warehouse = Warehouse(postgres, "without_months")
    night = Night(warehouse, s3, bucket)
    for shift, day in enumerate((BEFORE, DAY)):
        night.deliver(*ordinary_logs(day, shift))
        night.load(day)
        night.rank(day)
        night.publish(day)
    warehouse.rows(HASHED_AS_BEFORE)
    stored = "SELECT pg_relation_filenode(%s::regclass), pg_relation_filenode(%s::regclass)"
    before = warehouse.rows(stored, "marts.recommendations", "marts.recommendations_pkey")
    lists = night.lists()

    monkeypatch.setattr(sql, "SQL", PROJECT / "sql")
    warehouse.rows(KILL, role=MASTER)
    port = free_port()
    with serve(port, warehouse.url("recommendations_api"), tmp_path / "api.log", MEMORY_MB="0"):
        asking = Asking(f"http://127.0.0.1:{port}", warehouse)
        asking.start()
        until(lambda: asking.answers.total() > 3)
        with pytest.raises((psycopg2.OperationalError, psycopg2.InterfaceError)):
            migrate(warehouse.url(MASTER))
        warehouse.rows("DROP FUNCTION migrations.kill CASCADE", role=MASTER)
        said: list[str] = []
        with ThreadPoolExecutor(1) as pool:
            with open_query(warehouse, "SELECT count(*) FROM marts.top_ctr") as who:
                done = pool.submit(migrate, warehouse.url(MASTER), said.append)
                until(lambda: said or done.done())
        assert done.result(30)[0] == "applied sql/migrations/0029_months.sql"
        assert who in "".join(said)
        before_the_last = asking.answers.total()
        until(lambda: asking.answers.total() > before_the_last + 3)
        asking.is_over.set()
        asking.join(30)
        ((status, text, *counts),) = asking.answers
        assert (status, DAY in text, counts) == (200, True, [(ORDINARY_LISTS * 2,), (100,)])
        history = httpx.get(f"http://127.0.0.1:{port}/history/ACME").raise_for_status().json()["history"]
        assert {day: len(lists["TopCTR"]) for day, lists in history.items()} == {BEFORE: 20, DAY: 20}
    assert night.lists() == lists
    assert migrate(warehouse.url(MASTER)) == []
    assert months(warehouse) == ["months.recommendations_first"]
    assert before == warehouse.rows(stored, "months.recommendations_first", "months.recommendations_pkey", role=MASTER)
    for table in ("months.recommendations_first", "months.product_daily_first"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.rows(f"DELETE FROM {table}")
    warehouse.make_months("2040-01-01")
    for table, columns in (
        ("marts.recommendations", "model, advertiser_id, rank, product_id, score, entry"),
        ("staging.product_daily", "advertiser_id, product_id, impressions, clicks, views"),
        (
            "marts.publications",
            "model, row_count, advertiser_count, sql_file, sql_version, git_revision, lists_hash, "
            "load_id, sources, accounting, run_id",
        ),
    ):
        copy = f"INSERT INTO {table} (date, {columns}) SELECT '2040-01-01', {columns} FROM {table} WHERE date = %s"
        warehouse.rows(copy, DAY)
    assert night.top_ctr("2040-01-01") == night.top_ctr(), "the views are of the whole table, not of the first month"
    seen = "SELECT count(*) FROM marts.product_daily WHERE date = '2040-01-01'"
    assert warehouse.rows(seen) == [(50,)]
    warehouse.rows("DELETE FROM marts.publications WHERE date = '2040-01-01'")
    night.load(DAY, reload=True)
    night.rank()
    assert night.publish() == [], "the same lists have the same hash"


@pytest.mark.usefixtures("nobody_reads")
def test_a_new_month_is_made_by_who_writes_its_first_day_and_two_at_once_wait_for_each_other(
    warehouse: Warehouse,
) -> None:
    write = "INSERT INTO staging.product_daily VALUES (%s, 'ACME', 'p', 1, 0, 0)"
    with closing(warehouse.connect()) as one, closing(warehouse.connect()) as other, ThreadPoolExecutor(1) as pool:
        first, second = one.cursor(), other.cursor()
        first.execute("SELECT staging.make_month(%s)", (LATER,))
        first.execute(write, (LATER,))
        waiting = pool.submit(second.execute, "SELECT staging.make_month(%s)", ("2024-12-31",))
        locked = "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted"
        until(lambda: warehouse.rows(locked, other.info.backend_pid) == [(1,)] or waiting.done())
        assert not waiting.done()
        one.commit()
        waiting.result(30)
        second.execute(write, ("2024-12-31",))
        other.commit()
    assert months(warehouse) == ["months.recommendations_2024_12"]
    assert months(warehouse, "staging.product_daily") == ["months.product_daily_2024_12"]
    for statement in (
        "CREATE TABLE months.mine (date date)",
        "DROP TABLE months.recommendations_2024_12",
        "DELETE FROM months.recommendations_2024_12",
        "ALTER TABLE marts.recommendations DETACH PARTITION months.recommendations_2024_12",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            warehouse.rows(statement)
    with pytest.raises(psycopg2.errors.NullValueNotAllowed, match="of_date is null; it is a log day"):
        warehouse.rows("SELECT staging.make_month(NULL)")
    for role in ("recommendations_api", "recommendations_analyst"):
        for function in ("make_month('2024-12-01')", "drop_months()"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                warehouse.rows(f"SELECT staging.{function}", role=role)


@pytest.mark.usefixtures("nobody_reads")
def test_a_month_past_retention_is_dropped_once_nobody_reads_it_and_a_day_of_another_is_deleted(night: Night) -> None:
    days = ["2024-07-31", "2024-08-31", "2024-09-01", "2024-09-30", "2024-12-01"]
    for day in days:
        night.deliver(*ordinary_logs(day))
        night.run(day)
    there = "SELECT DISTINCT date::text FROM marts.recommendations ORDER BY 1"
    counted = "SELECT DISTINCT date::text FROM staging.product_daily ORDER BY 1"
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days' WHERE date <> '2024-07-31'")
    night.change(keep_days=80, keep_working_days=30)
    # Kept: from 2024-09-12 on, and what was loaded a moment ago.
    with open_query(night.warehouse, "SELECT count(*) FROM marts.recommendations"):
        night.forget("2024-12-01")
        assert "months.recommendations_2024_08" in months(night.warehouse)
        published = "SELECT DISTINCT date::text FROM marts.publications ORDER BY 1"
        kept = night.warehouse.rows(published)
        assert kept == [("2024-07-31",), ("2024-09-30",), ("2024-12-01",)]
        assert night.warehouse.rows(counted) == kept, "models look back on days, not on loads"
        assert night.warehouse.rows(there) == kept, "the month stays for good once a day of it is loaded again"
    loading = night.warehouse.connect()
    with closing(loading), loading.cursor() as cursor:
        cursor.execute("SELECT staging.make_month('2024-08-15')")
        cursor.execute("SELECT pg_advisory_xact_lock(24256, date '2024-08-15' - date '0001-01-01' + 1)")
        night.warehouse.rows("INSERT INTO staging.product_daily VALUES ('2024-08-15', 'ACME', 'p', 1, 0, 0)")
        night.forget("2024-12-01")
        assert "months.recommendations_2024_08" in months(night.warehouse), "somebody is about to write a day of it"
        assert ("2024-08-15",) in night.warehouse.rows(counted), "and has written some"
    vacuuming = psycopg2.connect(night.warehouse.url(MASTER))
    with closing(vacuuming), vacuuming.cursor() as cursor:
        stays = "months.recommendations_2024_12, months.product_daily_2024_12"
        cursor.execute(f"LOCK TABLE {stays} IN SHARE UPDATE EXCLUSIVE MODE")
        night.forget("2024-12-01")
    left = ["2024_07", "2024_09", "2024_12"]
    for relation, table in (("marts.recommendations", "recommendations"), ("staging.product_daily", "product_daily")):
        assert months(night.warehouse, relation) == [f"months.{table}_{month}" for month in left]
    assert night.warehouse.rows(there) == night.warehouse.rows(counted) == night.warehouse.rows(published)
    # A day of it is wanted again.
    night.deliver(*ordinary_logs("2024-08-31"))
    night.run("2024-08-31")
    assert ("2024-08-31",) in night.warehouse.rows(there)
    # Half a century before, of a load that nobody knows.
    night.warehouse.rows("SELECT staging.make_month('1970-01-15')")
    night.warehouse.rows("INSERT INTO staging.product_daily VALUES ('1970-01-15', 'ACME', 'p', 1, 0, 0)")
    with open_query(night.warehouse, "SELECT count(*) FROM staging.product_daily"):
        night.forget("2024-12-01")
    assert ("1970-01-15",) not in night.warehouse.rows(counted)


def test_the_month_of_a_day_that_is_being_loaded_is_not_dropped(delivered: Night) -> None:
    """Nothing of it is loaded yet: as another run would that has just deleted what is old."""
    with closing(psycopg2.connect(delivered.warehouse.url(MASTER))) as mending, ThreadPoolExecutor(1) as pool:
        with mending.cursor() as cursor:
            cursor.execute("LOCK TABLE staging.source_objects IN EXCLUSIVE MODE")
        loading = pool.submit(delivered.load)
        waits = "SELECT count(*) FROM pg_locks WHERE relation = 'staging.source_objects'::regclass AND NOT granted"
        until(lambda: delivered.warehouse.rows(waits) == [(1,)] or loading.done())
        delivered.warehouse.rows("SELECT staging.drop_months()")
        there = months(delivered.warehouse)
        mending.close()
        assert loading.result(30)
    assert there == ["months.recommendations_2024_11"]


@pytest.mark.usefixtures("nobody_reads")
def test_a_day_that_the_release_before_has_set_aside_is_loaded_again(delivered: Night) -> None:
    """It runs until it is replaced, and does not say so in staging.days_set_aside."""
    delivered.run()
    delivered.load(reload=True)
    delivered.warehouse.rows("DELETE FROM staging.days_set_aside")
    delivered.deliver(*ordinary_logs(shift=1))
    delivered.run()
    assert delivered.warehouse.rows("SELECT count(*) FROM marts.product_daily") == [(50,)]
