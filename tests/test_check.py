"""`python -m elt check`: what would keep a night from its work is said in seconds, before it begins."""

import json
import os
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from conftest import DAY, MODELS, Night, ordinary_logs

from elt.errors import PipelineError
from elt.settings import PROJECT
from local.airflow import free_port
from local.postgres import MASTER

pytestmark = pytest.mark.model_blind


def check(night: Night, s3_url: str, **changed: str) -> tuple[int, list[str]]:
    """Exit status, and the lines that say what is wrong."""
    env = {name: value for name, value in (os.environ | night.environment(s3_url) | changed).items() if value}
    command = [sys.executable, "-m", "elt", "check"]
    done = subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert not done.stderr
    return done.returncode, [line.removeprefix("WRONG  ") for line in done.stdout.splitlines() if line[:5] == "WRONG"]


def test_a_night_that_can_begin_is_told_so_and_nothing_is_left(delivered: Night, s3_url: str) -> None:
    assert check(delivered, s3_url) == (0, [])
    assert "Uploads" not in delivered.s3.list_multipart_uploads(Bucket=delivered.bucket)
    keys = [item["Key"] for item in delivered.s3.list_objects_v2(Bucket=delivered.bucket)["Contents"]]
    assert sorted(keys) == ["ads_views", "advertiser_ids", "product_views"]


def test_logs_that_are_not_there_yet_are_no_fault(night: Night, s3_url: str) -> None:
    assert check(night, s3_url) == (0, [])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ADS_VIEWS_URI": "s3://no-such-bucket/ads"}, ["ads_views: s3://no-such-bucket/ads: ", "no-such-bucket"]),
        ({"INTERMEDIATE_URI": "s3://no-such-bucket/i"}, ["outputs: ", "NoSuchBucket", "bucket of INTERMEDIATE_URI"]),
        ({"PRODUCT_VIEWS_URI": ""}, ["environment: PRODUCT_VIEWS_URI: Field required"]),
        ({"MAX_REJECTED_SHARE": "2"}, ["environment: MAX_REJECTED_SHARE: "]),
        ({"DATABASE_URL": ""}, ["DATABASE_URL is not set; "]),
        ({"DATABASE_URL": "mysql:secret%"}, ["DATABASE_URL can not be read; it is postgresql://"]),
        ({"LANDING_URLS": "mysql:secret%"}, ["LANDING_URLS, 1: LANDING_URLS can not be read; it is postgresql://"]),
        (
            {"LANDING_URLS": "postgresql://you:secret@127.0.0.1:1/w"},
            ["LANDING_URLS, 1: ", "port 1 failed", "check host"],
        ),
    ],
)
def test_one_thing_that_is_wrong_is_one_finding(
    delivered: Night, s3_url: str, changed: dict[str, str], expected: list[str]
) -> None:
    status, wrong = check(delivered, s3_url, **changed)
    assert (status, len(wrong)) == (1, 1), wrong
    assert all(part in wrong[0] for part in expected), wrong
    assert wrong[0].startswith(expected[0])
    assert "secret" not in wrong[0]


@pytest.mark.parametrize("command", [["check"], ["rebuild", "--from", DAY, "--to", DAY]])
def test_settings_of_the_sdk_that_can_not_be_are_told_and_are_no_traceback(
    night: Night, s3_url: str, command: list[str]
) -> None:
    for name, value in (("AWS_ENDPOINT_URL_S3", "nonsense"), ("AWS_PROFILE", "nobody")):
        env = os.environ | night.environment(s3_url) | {name: value}
        arguments = [sys.executable, "-m", "elt", *command]
        done = subprocess.run(arguments, env=env, cwd=PROJECT, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1
        assert f"{value}" in said
        assert "set AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION, AWS_PROFILE and their like" in said
        assert "Traceback" not in said


def test_s3_that_does_not_answer_or_gets_no_credentials(delivered: Night, s3_url: str) -> None:
    status, wrong = check(delivered, s3_url, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{free_port()}")
    assert (status, len(wrong)) == (1, 4), wrong
    assert all("Could not connect to the endpoint URL" in line for line in wrong)
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    status, wrong = check(delivered, s3_url, **nobody)
    assert (status, len(wrong)) == (1, 4), wrong
    assert all("Unable to locate credentials; AWS_ACCESS_KEY_ID and its like" in line for line in wrong)


def test_the_warehouse_away_another_role_and_an_older_schema(delivered: Night, s3_url: str) -> None:
    warehouse = delivered.warehouse
    status, (wrong,) = check(delivered, s3_url, DATABASE_URL="postgresql://someone:hidden@127.0.0.1:1/none")
    assert "Connection refused" in wrong
    assert "hidden" not in wrong
    status, (wrong,) = check(delivered, s3_url, DATABASE_URL=warehouse.url("recommendations_analyst"))
    assert wrong == "warehouse: recommendations_analyst may not write; recommendations_pipeline may"
    warehouse.rows(
        "DROP VIEW marts.latest_day, marts.audit_results; DROP TABLE staging.audit_results; "
        "ALTER TABLE marts.withdrawals DROP COLUMN why",
        role=MASTER,
    )
    status, (wrong,) = check(delivered, s3_url)
    assert wrong == (
        "warehouse: its schema is not this release's, no table staging.audit_results, no view marts.audit_results, "
        "no view marts.latest_day, no why in marts.withdrawals: `python -m elt migrate` as its owner"
    )
    empty = warehouse.postgres
    with suppress(psycopg2.errors.DuplicateDatabase):
        empty.provision("never_migrated")
    status, wrong_here = check(delivered, s3_url, DATABASE_URL=empty.url(MASTER, "never_migrated"))
    assert status == 1
    assert " and " in wrong_here[0]
    assert "more: `python -m elt migrate`" in wrong_here[0]


def test_outputs_that_can_be_written_and_not_read_are_a_finding(delivered: Night, s3_url: str) -> None:
    """A night looks at what it wrote."""
    yesterday = datetime.now(UTC).date() - timedelta(1)
    delivered.put(f"intermediate/date={yesterday}/product_views.csv.gz", "")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:HeadObject"}  # moto's name of it; S3's is s3:GetObject
    statement = denied | {"Resource": f"arn:aws:s3:::{delivered.bucket}/intermediate/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    delivered.s3.put_bucket_policy(Bucket=delivered.bucket, Policy=policy)
    status, (wrong,) = check(delivered, s3_url)
    assert status == 1
    assert wrong.startswith(f"outputs: s3://{delivered.bucket}/intermediate/date={yesterday}/product_views.csv.gz: ")
    assert "access denied; the role needs s3:GetObject and s3:ListBucket" in wrong


def test_outputs_that_can_not_be_written_are_noticed_before_anything_lands(
    delivered: Night, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elt import steps

    delivered.change(intermediate_uri="s3://no-such-bucket/intermediate")
    monkeypatch.setattr(steps, "land", lambda *_: pytest.fail("it landed the logs"))
    with pytest.raises(PipelineError, match=r"no-such-bucket.* can not be written, S3 answered NoSuchBucket"):
        delivered.load()
    assert delivered.warehouse.rows("TABLE staging.rejected_lines") == []


def test_a_bucket_that_goes_during_the_run_is_named(delivered: Night) -> None:
    delivered.load()
    delivered.change(intermediate_uri="s3://no-such-bucket/intermediate")
    with pytest.raises(PipelineError, match=r"no-such-bucket.*TopCTR.*NoSuchBucket|no-such-bucket.*NoSuchBucket"):
        delivered.rank()


def test_rebuild_goes_on_with_the_days_after_a_failure_of_any_kind(night: Night, s3_url: str) -> None:
    """As when a connection is lost: the first day's session is cut off when it takes the day's lock."""
    days = ["2024-11-18", "2024-11-19", DAY]
    logs = [ordinary_logs(day) for day in days]
    night.deliver(logs[0][0], [v for log in logs for v in log[1]], [a for log in logs for a in log[2]])
    night.warehouse.rows(
        "CREATE FUNCTION marts.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.date = '2024-11-19' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$; "
        "GRANT EXECUTE ON FUNCTION marts.fail() TO recommendations_pipeline; "
        "CREATE TRIGGER fail BEFORE INSERT ON staging.loads FOR EACH ROW EXECUTE FUNCTION marts.fail()",
        role=MASTER,
    )
    env = os.environ | night.environment(s3_url)
    command = [sys.executable, "-m", "elt", "rebuild", "--from", days[0], "--to", days[2]]
    done = subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.stderr == "1 of 3 days failed\n"
    assert "closed the connection" in done.stdout.partition("2024-11-19  FAILED: ")[2]
    assert night.warehouse.rows("SELECT DISTINCT date::text, model FROM marts.publications ORDER BY 1, 2") == [
        (day, model) for day in (days[0], days[2]) for model in sorted(MODELS)
    ]


def test_where_no_log_can_land_is_a_finding(delivered: Night, s3_url: str) -> None:
    """Else the night would tell."""
    conn = psycopg2.connect(delivered.warehouse.postgres.url("postgres", "postgres"))
    conn.autocommit = True
    with closing(conn), conn.cursor() as cursor:
        cursor.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            places = {
                "may make no temporary tables": delivered.warehouse.url("recommendations_api"),
                "its encoding is LATIN1": delivered.warehouse.postgres.url("recommendations_pipeline", "latin"),
                "read-only": delivered.warehouse.url("recommendations_pipeline")
                + "?options=-c%20default_transaction_read_only%3Don",
            }
            status, wrong = check(delivered, s3_url, LANDING_URLS=" ".join(places.values()))
        finally:
            cursor.execute("DROP DATABASE latin")
    assert status == 1
    assert len(wrong) == len(places), wrong
    for place, (reason, finding) in enumerate(zip(places, wrong, strict=True), 1):
        assert finding.startswith(f"LANDING_URLS, {place}: no log can land there: ")
        assert reason in finding
