"""What readers see has a name of its own: whatever becomes of the database, no old answer passes for a new one."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from chaos import Address, figures, instances, standby_of, streams, wait_until
from conftest import DAY, Night, Warehouse, ordinary_logs

from api.database import PARAMETERS, QUERIES
from local.airflow import free_port
from local.postgres import Postgres

pytestmark = [pytest.mark.chaos, pytest.mark.model_blind]

BEFORE = "2024-11-19"
LIST = "/recommendations/ACME/TopCTR"


@pytest.fixture
def published(delivered: Night) -> Night:
    """A published day, and the logs of the next one, delivered."""
    deliver(delivered)
    delivered.run(BEFORE)
    return delivered


def deliver(night: Night, shift: int = 0) -> None:
    """The logs of both days; `shift` makes other lists of the second."""
    active, views, ads = ordinary_logs(BEFORE, shift=2)
    _, today_views, today_ads = ordinary_logs(shift=shift)
    night.deliver(active, views + today_views, ads + today_ads)


def answers(of: list[httpx.Client], path: str = LIST, **headers: str) -> list[httpx.Response]:
    return [instance.get(path, headers=headers) for instance in of]


def check_not_taken_for_new(night: Night, of: list[httpx.Client], old: httpx.Response) -> None:
    """Both instances, idle since they gave `old`, give what the warehouse has now, and a tag of before is no 304."""
    expected = [(rank, product) for advertiser, rank, product, *_ in night.top_ctr() if advertiser == "ACME"]
    for answer in answers(of, **{"if-none-match": old.headers["etag"]}):
        assert answer.status_code == 200
        assert "cache-status" not in answer.headers
        assert [(entry["rank"], entry["product_id"]) for entry in answer.json()["recommendations"]] == expected
    assert old.json() != answer.json()


def as_superuser(server: Postgres, *statements: str) -> None:
    with closing(psycopg2.connect(server.url("postgres", "postgres"))) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        for statement in statements:
            cursor.execute(statement)


def test_a_night_repeated_after_a_restore_is_another_one(published: Night, tmp_path: Path) -> None:
    """The backup is of the morning; the night after it is lost, withdrawn, and run again over other logs."""
    name = published.warehouse.name
    backup = published.warehouse.copy(f"{name}_backup")
    with instances(published.warehouse.url("recommendations_api"), tmp_path) as both:
        published.run(DAY)
        old, _ = answers(both)
        as_superuser(
            backup.postgres, f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {backup.name} RENAME TO {name}"
        )
        deliver(published, shift=3)
        published.run(DAY)
        check_not_taken_for_new(published, both, old)
    figures.append("restored from a backup, the night run again: both idle instances gave the new lists, no 304")


def test_a_standby_that_lost_a_publication_and_was_promoted_names_none_as_its_own(
    s3: Any, bucket: str, tmp_path: Path
) -> None:
    """A real asynchronous one: the stream breaks, a night is published, the primary dies, the standby takes over."""
    with Postgres(tmp_path / "primary" / "data", free_port()) as primary, ExitStack() as stack:
        night = Night(Warehouse(primary, "own"), s3, bucket)
        deliver(night)
        night.run(BEFORE)
        standby = stack.enter_context(standby_of(primary, tmp_path / "standby" / "data"))
        host = stack.enter_context(Address(primary.port))
        url = host.in_place_of(night.warehouse.url("recommendations_api"))
        both = stack.enter_context(instances(url, tmp_path))
        as_superuser(standby, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        wait_until(lambda: not streams(primary))
        night.run(DAY)
        old, _ = answers(both)
        assert old.json()["date"] == DAY
        primary.kill()
        as_superuser(standby, "SELECT pg_promote()")
        host.leads_to(standby.port)
        night.warehouse.postgres = standby
        deliver(night, shift=3)
        night.run(DAY)
        check_not_taken_for_new(night, both, old)
    figures.append("an asynchronous standby promoted, a publication lost: both idle instances gave the new lists")


def test_a_figure_that_is_recomputed_without_a_publication_is_seen_by_everybody(
    published: Night, tmp_path: Path
) -> None:
    """One instance has the answer in its memory, the other has never been asked."""
    published.run(DAY)
    with instances(published.warehouse.url("recommendations_api"), tmp_path) as (idle, fresh):

        def clicks(of: httpx.Client) -> int:
            return int(of.get("/stats").json()["totals"]["day"]["clicks"])

        right = clicks(idle)
        published.warehouse.rows("UPDATE marts.daily SET clicks = clicks + 1000")
        assert [clicks(fresh), clicks(idle)] == [right + 1000] * 2
        assert published.publish() == []
        assert [clicks(fresh), clicks(idle)] == [right] * 2


def test_a_change_by_hand_is_seen_at_once(published: Night, tmp_path: Path) -> None:
    with instances(published.warehouse.url("recommendations_api"), tmp_path) as both:
        assert [answer.status_code for answer in answers(both)] == [200, 200]
        published.warehouse.rows("DELETE FROM marts.publications")
        assert [answer.status_code for answer in answers(both)] == [404, 404]


def test_lists_that_lost_rows_are_not_given_as_empty_and_the_next_night_brings_them_back(
    published: Night, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An advertiser that never had a list of the model, as it has no impressions, has none now."""
    active, views, ads = ordinary_logs()
    published.deliver([*active, "NOADS"], [*views, ("NOADS", "p", DAY)], ads)
    published.run()
    paths = [LIST, "/recommendations/BOLT/TopCTR", "/recommendations/ACME/TopProduct", "/history/ACME", "/history/BOLT"]
    with instances(published.warehouse.url("recommendations_api"), tmp_path) as (one, _):
        whole = {path: one.get(path).json() for path in paths}
        lost = "DELETE FROM marts.recommendations WHERE date = %s AND model = 'TopCTR' AND "
        published.warehouse.rows(f"{lost} (advertiser_id = 'ACME' OR rank = 3)", DAY)
        for path in paths:
            answer = one.get(path)
            if path == "/recommendations/ACME/TopProduct":
                assert answer.json() == whole[path]
            else:
                assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
                assert "rows of what was published are lost" in answer.json()["detail"]
        assert one.get("/recommendations/NOADS/TopProduct").json()["count"] == 1
        columns = (
            "date, row_count, advertiser_count, sql_file, sql_version, git_revision, lists_hash, load_id, sources, "
            "accounting, run_id"
        )
        published.warehouse.rows(
            f"INSERT INTO marts.publications (model, {columns}) SELECT 'Gone', {columns} FROM marts.publications "
            "WHERE (date, model) = (%s, 'TopCTR')",
            DAY,
        )
        later = "2024-11-21"
        published.deliver(*ordinary_logs(later))
        published.run(later)
        assert "rows of it are lost: TopCTR has" in caplog.text, "and not Gone, which is no model any more"
        assert {path: one.get(path, params={"date": DAY}).json() for path in paths[:3]} == {
            path: whole[path] for path in paths[:3]
        }
        assert one.get("/recommendations/NOADS/TopCTR", params={"date": DAY}).json()["count"] == 0
    figures.append(
        "rows of published lists deleted: 503 with the reason, never a shorter list; whole after the next night"
    )


def test_a_list_that_lost_its_last_entries_is_not_given_as_a_shorter_one(published: Night, tmp_path: Path) -> None:
    """Its ranks have no gap: it is told by how many products its change since the day before was counted of."""
    published.run()
    paths = ["/recommendations/BOLT/TopCTR", "/recommendations/BOLT/top-ctr?limit=3", "/history/BOLT"]
    others = ["/recommendations/ACME/TopCTR", "/recommendations/BOLT/TopProduct", "/history/ACME"]
    lost = "DELETE FROM marts.recommendations WHERE date = %s AND model = 'TopCTR' AND advertiser_id = 'BOLT' AND "
    with instances(published.warehouse.url("recommendations_api"), tmp_path, names="a") as (http,):
        whole = {path: http.get(path).json() for path in (*paths, *others)}
        published.warehouse.rows(f"{lost} rank > 19", DAY)
        assert [http.get(path).status_code for path in paths] == [503] * 3
        assert {path: http.get(path).json() for path in others} == {path: whole[path] for path in others}
        published.publish()
        assert {path: http.get(path).json() for path in whole} == whole


def lease(warehouse: Warehouse) -> tuple[bool, int]:
    ((granted, version),) = warehouse.rows("SELECT granted, version FROM marts.lease()", role="recommendations_api")
    return granted, version


def test_whoever_changes_what_readers_see_commits_when_no_lease_is_left(warehouse: Warehouse) -> None:
    """Another version from any statement that changes a row, one for all that a transaction changes."""
    _, before = lease(warehouse)
    ((lasts,),) = warehouse.rows("SELECT seconds FROM marts.lease()", role="recommendations_api")
    with ThreadPoolExecutor(1) as pool, closing(warehouse.connect()) as conn, conn.cursor() as cursor:
        cursor.execute("DELETE FROM marts.daily")
        conn.commit()
        assert lease(warehouse) == (True, before), "nothing was deleted"
        cursor.execute("INSERT INTO marts.daily VALUES ('2024-11-20', 1, 1, 1, 1, 1) RETURNING pg_current_xact_id()")
        cursor.execute("SELECT number FROM marts.version")
        inserted = cursor.fetchone()
        cursor.execute("UPDATE marts.daily SET clicks = 2")
        cursor.execute("SELECT number FROM marts.version")
        assert cursor.fetchone() == inserted != (before,)
        assert lease(warehouse) == (True, before)
        begun = time.monotonic()
        commit = pool.submit(conn.commit)
        seen = []
        while not commit.done():
            seen.append(lease(warehouse))
        assert time.monotonic() - begun > lasts
        assert (False, before) in seen
        assert (True, *inserted) == lease(warehouse)


SEEN = """
SELECT relation.oid::regclass::text
FROM pg_class AS relation
WHERE relation.relnamespace = 'marts'::regnamespace AND relation.relkind IN ('r', 'p') AND NOT relation.relispartition
"""
TOLD = """
SELECT tgrelid::regclass::text
FROM pg_trigger
WHERE tgfoid = 'marts.change_version()'::regprocedure AND tgenabled = 'O'
GROUP BY 1
-- 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE; not 1, FOR EACH ROW.
HAVING bit_or(tgtype) & 61 = 60
"""


def test_every_table_of_marts_and_whatever_the_api_reads_changes_the_version(warehouse: Warehouse) -> None:
    """A new table needs the two triggers that sql/migrations/0016_versions_that_never_repeat.sql gives to all."""
    told = {table for (table,) in warehouse.rows(TOLD)}
    assert told == {table for (table,) in warehouse.rows(SEEN)} - {"marts.version"}
    warehouse.make_months()
    months = dict(warehouse.rows("SELECT partition::text, relation::text FROM staging.months"))
    read = set()
    with closing(psycopg2.connect(warehouse.url("recommendations_api"))) as conn, conn.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        for name, names in PARAMETERS.items():
            if name.startswith("page_"):  # asked each time: the pages are of what is there now
                continue
            cursor.execute(f"PREPARE {name} AS " + QUERIES[name] % {key: f"${n}" for n, key in enumerate(names, 1)})
            nulls = f"({', '.join(['NULL'] * len(names))})" if names else ""
            cursor.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE {name} {nulls}")
            ((plan,),) = cursor.fetchall()
            read |= {months.get(table, table) for table in scanned(plan[0]["Plan"])}
    assert read > {"marts.recommendations", "marts.version", "marts.list_variation"}
    assert read <= told | {"marts.version"}


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    if "Relation Name" in plan:
        yield f"{plan['Schema']}.{plan['Relation Name']}"
    for below in plan.get("Plans", ()):
        yield from scanned(below)
