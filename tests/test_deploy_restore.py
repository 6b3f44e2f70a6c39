"""A restore, as far as it can be rehearsed without RDS: a dump of one server brought back on another."""

import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from conftest import DAY, ROLES, Night, Warehouse, ordinary_logs

from elt.migrate import migrate
from local.airflow import free_port
from local.api import serve
from local.postgres import BIN, MASTER, Postgres

pytestmark = pytest.mark.model_blind

BEFORE = "2024-11-19"

RIGHTS = """
SELECT role, relation, string_agg(kind, ' ' ORDER BY kind)
FROM unnest(%s) AS role
CROSS JOIN (
    SELECT oid, oid::regclass::text AS relation FROM pg_class
    WHERE relnamespace::regnamespace::text IN ('staging', 'models', 'marts') AND relkind IN ('r', 'p', 'v')
) AS relations
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS kind
WHERE has_table_privilege(role, oid, kind)
GROUP BY 1, 2 ORDER BY 1, 2
"""


def test_a_dump_is_brought_back_on_another_server_with_roles_and_grants_and_the_api_answers(
    night: Night, s3: Any, tmp_path: Path
) -> None:
    active, views, ads = ordinary_logs(BEFORE, shift=2)
    _, more_views, more_ads = ordinary_logs()
    night.deliver(active, views + more_views, ads + more_ads)
    for day in (BEFORE, DAY):
        night.run(day)
    kept = night.lists(), night.warehouse.rows("SELECT * FROM marts.publications ORDER BY date, model")
    rights = night.warehouse.rows(RIGHTS, list(ROLES))
    dump = tmp_path / "warehouse.dump"
    run("pg_dump", night.warehouse.url(MASTER), "--format=custom", f"--file={dump}")
    with Postgres(tmp_path / "restored", free_port(), fsync="off") as server:
        # The roles are the server's, not the database's: migrating makes them, as the machine of a new stack does.
        restored = Warehouse(server, "recommendations")
        run(
            "pg_restore",
            f"--dbname={restored.url(MASTER)}",
            "--clean",
            "--if-exists",
            "--single-transaction",
            str(dump),
        )
        assert migrate(restored.url(MASTER)) == [], "the schema is what this release expects"
        again = Night(restored, s3, night.bucket)
        assert (again.lists(), restored.rows("SELECT * FROM marts.publications ORDER BY date, model")) == kept
        assert restored.rows(RIGHTS, list(ROLES)) == rights
        with closing(psycopg2.connect(restored.url("recommendations_api"))) as conn, conn.cursor() as cursor:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("SELECT * FROM staging.product_daily")
        port = free_port()
        with serve(port, restored.url("recommendations_api"), tmp_path / "api.log"):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
                answer = http.get("/recommendations/ACME/TopCTR").raise_for_status().json()
                assert (answer["date"], answer["count"]) == (DAY, 20)
                # The pipeline goes on where it was: the same logs change nothing, others replace the day.
                assert again.run() == []
                again.deliver(*ordinary_logs(shift=1))
                assert again.run() != []
                assert http.get("/recommendations/ACME/TopCTR").json() != answer


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([BIN / program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
