"""Migrations, and what each role can and can not do."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from conftest import DAY, Night, Warehouse

from elt import sql
from elt.errors import PipelineError
from elt.migrate import migrate
from elt.roles import set_password
from local.postgres import MASTER, Postgres


def test_migrating_again_does_nothing(warehouse: Warehouse) -> None:
    assert migrate(warehouse.url(MASTER)) == []


def test_migrations_are_numbered_without_a_gap_and_say_what_they_are_for() -> None:
    files = sorted((sql.SQL / "migrations").glob("*"))
    assert [file.name[:5] for file in files] == [f"{n:04}_" for n in range(1, len(files) + 1)]
    for file in files:
        assert re.fullmatch(r"\d{4}_[a-z_]+\.sql", file.name)
        assert file.read_text().startswith("-- ")


def test_the_command_line_says_what_is_wrong(warehouse: Warehouse) -> None:
    def elt(*arguments: str, url: str | None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
        return subprocess.run(
            [sys.executable, "-m", "elt", *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            env=env | ({"DATABASE_URL": url} if url else {}),
            check=False,
        )

    assert elt("migrate", url=None).stderr == (
        "migrate: DATABASE_URL is not set; set it to the libpq URI of the warehouse's owner\n"
    )
    nobody = elt("migrate", url="postgresql://nobody@127.0.0.1:1/none")
    assert nobody.returncode == 1
    assert "Connection refused" in nobody.stderr
    assert "Traceback" not in nobody.stderr
    assert elt("migrate", url=warehouse.url(MASTER)).stdout == "nothing to do: the schema is current\n"
    assert elt("vacuum", url=None).returncode == 2
    changed = elt("password", "recommendations_analyst", url=warehouse.url(MASTER), stdin="s3cret, and 'quoted'\n")
    assert changed.stdout == "recommendations_analyst has a new password\n"
    conn = psycopg2.connect(warehouse.url(MASTER), user="recommendations_analyst", password="s3cret, and 'quoted'")
    conn.close()
    assert elt("password", "recommendations_analyst", url=warehouse.url(MASTER), stdin="\n").returncode == 1


def test_the_master_is_no_superuser_as_on_rds(warehouse: Warehouse) -> None:
    assert warehouse.rows(
        "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user", role=MASTER
    ) == [(False, True, True)]


ALLOWED = {
    "recommendations_pipeline": [
        "SELECT 1 FROM staging.loads",
        "DELETE FROM marts.recommendations",
        "DELETE FROM models.candidates",
        "CREATE TEMPORARY TABLE t (n int)",
    ],
    "recommendations_api": [
        "SELECT 1 FROM marts.recommendations",
        "SELECT 1 FROM marts.top_ctr",
        "SELECT 1 FROM marts.publications",
        "SELECT 1 FROM marts.model_agreement",
    ],
    "recommendations_analyst": [
        "SELECT 1 FROM marts.recommendations",
        "SELECT 1 FROM marts.list_changes",
        "SELECT 1 FROM staging.product_daily",
        "SELECT 1 FROM staging.rejected_lines",
    ],
}
FORBIDDEN = {
    "recommendations_pipeline": [
        "CREATE TABLE marts.t (n int)",
        "DROP TABLE marts.recommendations",
        "CREATE SCHEMA s",
        "CREATE TABLE public.t (n int)",
        "TRUNCATE marts.recommendations",
        "SELECT 1 FROM migrations._yoyo_migration",
        "CREATE ROLE r",
    ],
    "recommendations_api": [
        "DELETE FROM marts.recommendations",
        "INSERT INTO marts.active_advertisers VALUES (now(), 'a')",
        "SELECT 1 FROM staging.product_daily",
        "SELECT 1 FROM models.candidates",
        "CREATE TEMPORARY TABLE t (n int)",
        "CREATE TABLE public.t (n int)",
    ],
    "recommendations_analyst": [
        "DELETE FROM marts.recommendations",
        "SELECT 1 FROM models.candidates",
        "SET default_transaction_read_only = off; DELETE FROM marts.recommendations",
        "CREATE TABLE public.t (n int)",
        "UPDATE staging.product_daily SET views = 0",
    ],
}


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_can_do_its_work_and_nothing_else(warehouse: Warehouse, role: str) -> None:
    for statement in ALLOWED[role]:
        warehouse.rows(statement, role=role)
    for statement in FORBIDDEN[role]:
        with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)):
            warehouse.rows(statement, role=role)


def test_public_can_do_nothing(warehouse: Warehouse) -> None:
    """A role that nobody granted anything can not even connect."""
    warehouse.rows(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stranger') "
        "THEN CREATE ROLE stranger LOGIN; END IF; END $$",
        role=MASTER,
    )
    warehouse.postgres.let_log_in("stranger")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        warehouse.rows("SELECT 1", role="stranger")


LIMITS = "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout')"
LARGE_OBJECT = "SET default_transaction_read_only = off; SELECT lo_create(0)"


def test_an_analyst_does_not_keep_the_server_busy_by_oversight(warehouse: Warehouse) -> None:
    assert warehouse.rows(LIMITS, role="recommendations_analyst") == [("5min", "5min")]
    assert warehouse.rows(LIMITS, role="recommendations_api")[0][1] == "10s"


def test_a_superuser_who_migrates_takes_more_from_the_roles(postgres: Postgres) -> None:
    """Large objects and temporary files without end; the owner of the tests, as on RDS, can not."""
    postgres.provision("superuser_migrates")
    migrate(postgres.url("postgres", "superuser_migrates"))
    postgres.let_log_in("recommendations_analyst")
    with closing(psycopg2.connect(postgres.url("recommendations_analyst", "superuser_migrates"))) as conn:
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute("SHOW temp_file_limit")
            assert cursor.fetchone() == ("5GB",)
            for statement in ("SET temp_file_limit = -1", LARGE_OBJECT):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(statement)


def test_a_persons_own_login_has_the_rights_and_limits_of_its_role_and_not_its_password(warehouse: Warehouse) -> None:
    def give(secret: str) -> str:
        set_password(warehouse.url(MASTER), "anna", secret, "recommendations_analyst")
        return warehouse.url("anna").replace(f":{quote(warehouse.postgres.password)}@", f":{secret}@")

    give("first")
    with closing(psycopg2.connect(give("second"))) as conn, conn.cursor() as cursor:
        cursor.execute(LIMITS)
        assert cursor.fetchone() == ("5min", "5min")
        cursor.execute("SELECT count(*) FROM marts.recommendations")
        conn.rollback()
        for statement in (
            "ALTER ROLE recommendations_analyst PASSWORD 'mine'",
            "ALTER ROLE recommendations_analyst SET statement_timeout = 0",
            "SELECT count(*) FROM models.candidates",
        ):
            cursor.execute("SET TRANSACTION READ WRITE")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            conn.rollback()
    with pytest.raises(PipelineError, match="there is a role master, which is no member of recommendations_analyst"):
        set_password(warehouse.url(MASTER), MASTER, "x", "recommendations_analyst")
    with pytest.raises(PipelineError, match=r"anna is not one of recommendations_pipeline, .*--member-of"):
        set_password(warehouse.url(MASTER), "anna", "x")


def test_ids_sort_in_byte_order_whatever_the_databases_collation_is(night: Night) -> None:
    """On RDS the default collation is en_US; every id column says for itself that it is "C"."""
    conn = night.warehouse.connect()
    with conn.cursor() as cursor:
        for table in ("advertiser_ids", "product_views", "ads_views", "active_advertisers", "event_counts"):
            cursor.execute(sql.read(f"landing/{table}"))
        cursor.execute("""
            SELECT a.attrelid::regclass::text, a.attname
            FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v')
            WHERE a.attname IN ('advertiser_id', 'product_id') AND a.attnum > 0
                AND c.relname NOT IN ('top_ctr', 'top_product')
        """)
        assert len(cursor.fetchall()) > 15
        cursor.execute("""
            SELECT a.attrelid::regclass::text, a.attname
            FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v')
            WHERE a.attname IN ('advertiser_id', 'product_id') AND a.attnum > 0
                AND a.attcollation <> '"C"'::regcollation
            UNION ALL
            SELECT a.attrelid::regclass::text, a.attname
            FROM pg_attribute AS a
            WHERE a.attrelid = 'pg_temp.event_counts'::regclass AND a.attname = 'products'
                AND a.attcollation <> '"C"'::regcollation
        """)
        assert cursor.fetchall() == []
    conn.close()


def test_a_model_that_changes_its_columns_must_be_a_new_one(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sql.SQL, tmp_path / "sql")
    file = tmp_path / "sql" / "models" / "top_product.sql"
    text = file.read_text()
    monkeypatch.setattr(sql, "SQL", tmp_path / "sql")
    file.write_text(text.replace("    ranked.views\nFROM", "    ranked.views::numeric AS views\nFROM"))
    with pytest.raises(PipelineError, match=r"retypes some. Make it a new model: top_product_v2.sql"):
        migrate(warehouse.url(MASTER))
    file.write_text(text.replace("    ranked.views\nFROM", "    ranked.views,\n    1 AS more\nFROM"))
    assert migrate(warehouse.url(MASTER)) == ["made the view marts.top_product of sql/models/top_product.sql"]
    assert migrate(warehouse.url(MASTER)) == []
    file.write_text("-- TopProduct: no figures\nSELECT 'a' AS advertiser_id, 1 AS rank, 'p' AS product_id, 1 AS score")
    warehouse.rows("DROP VIEW marts.top_product", role=MASTER)
    assert migrate(warehouse.url(MASTER)) == ["made the view marts.top_product of sql/models/top_product.sql"]


def test_the_view_of_a_model_has_the_figures_with_their_types(delivered: Night) -> None:
    delivered.run()
    assert delivered.warehouse.rows(
        "SELECT pg_typeof(ctr)::text, pg_typeof(clicks)::text, pg_typeof(impressions)::text, rank, ctr, clicks "
        "FROM marts.top_ctr WHERE date = %s AND advertiser_id = 'ACME' ORDER BY rank LIMIT 1",
        DAY,
    ) == [("double precision", "bigint", "bigint", 1, 0.4, 4)]
