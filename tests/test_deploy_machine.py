"""The Airflow machine, from nothing: Debian booted here, the template's own user data, RDS played by a PostgreSQL that
takes TLS only, AWS by moto. `make rehearse` runs it, and prints the memory that the night takes.
"""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import chaos
import cloud
import httpx
import psutil
import psycopg2
import pytest
import rehearsal
from conftest import MODELS, as_csv

from deploy import release
from deploy.stack import INSTALL
from local import postgres, s3, sample
from local.airflow import free_port

DEBIANS = Path("/usr/lib/postgresql/15/bin")
RDS = "database.rehearsal.example"
HOSTS = {RDS: "127.0.0.1", "s3.us-east-1.amazonaws.com": "127.0.0.1"}
"""The SSM agent is not to be had here: refused at once, and nothing outside is asked."""

EVENTS = int(os.environ.get("EVENTS", "0"))
"""Of the night, both logs together."""
PRODUCTS = int(os.environ.get("PRODUCTS", "20000"))
"""Of all its advertisers, a hundred."""
YESTERDAY, DAY_BEFORE, BAD_DAY = (str(datetime.now(UTC).date() - timedelta(n)) for n in (1, 2, 5))
UI = "http://127.0.0.1:8080"
SERVICES = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor")
LATER = "b" * 40

missing = "" if EVENTS else "five minutes, as root: make rehearse runs it"
missing = missing or rehearsal.what_is_missing()
missing = missing or ("" if DEBIANS.exists() else "not installed: postgresql-15, which speaks TLS")
pytestmark = [pytest.mark.skipif(bool(missing), reason=missing), pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def world(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """AWS, the database, the stack, last night's logs, and the machine once its user data has run."""
    folder = tmp_path_factory.mktemp("rehearsal")
    keys = s3.environment(s3_url) | {"AWS_ENDPOINT_URL": s3_url}
    with ExitStack() as parts:
        patch = parts.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(postgres, "BIN", DEBIANS)
        for name, value in keys.items():
            patch.setenv(name, value)
        # As RDS has it on a db.t4g.micro.
        memory = {"shared_buffers": "256MB", "work_mem": "4MB", "maintenance_work_mem": "64MB", "max_wal_size": "2GB"}
        server = parts.enter_context(postgres.Postgres(folder / "postgres", free_port(), **memory))
        confined = parts.enter_context(rehearsal.confined(server.pid))
        ca = take_tls_only(server, folder)
        server.provision("recommendations")
        arns = cloud.make_secrets()
        master = json.dumps({"username": postgres.MASTER, "password": server.password})
        boto3.client("secretsmanager").put_secret_value(SecretId=arns["MasterSecret"], SecretString=master)
        stand_ins = arns | {
            "Database.Endpoint.Address": RDS,
            "Database.Endpoint.Port": str(server.port),
        }
        made = cloud.create_stack("rehearsal", "ECSExpress", stand_ins)
        release.pack("HEAD", folder / "release.tar.gz", ca.read_bytes())
        store = boto3.client("s3")
        for revision in (cloud.REVISION, LATER):
            store.upload_file(str(folder / "release.tar.gz"), made["Bucket"], f"releases/{revision}.tar.gz")
        deliver(folder, made["Bucket"])
        queue = boto3.client("sqs").create_queue(QueueName="notices")["QueueUrl"]
        arn = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        boto3.client("sns").subscribe(TopicArn=made["Notices"], Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
        user_data = boto3.client("ec2").describe_instance_attribute(InstanceId=made["Machine"], Attribute="userData")
        user_data = base64.b64decode(user_data["UserData"]["Value"]).decode()
        assert not psutil_listens(8080), "port 8080 is in use; the machine's Airflow needs it"
        began = time.monotonic()
        machine = parts.enter_context(rehearsal.booted(folder, user_data, HOSTS, keys))
        chaos.figures.append(f"a machine installed from nothing in {time.monotonic() - began:.0f} s")
        values = [json.loads(secret_text(arn)) for arn in arns.values()]
        passwords = {value["username"]: value["password"] for value in values}
        world = SimpleNamespace(
            machine=machine,
            confined=confined,
            server=server,
            made=made,
            queue=queue,
            passwords=passwords,
            user_data=user_data,
            login=json.loads(secret_text(arns["LoginSecret"])),
            secrets=[value["password"] for value in values],
        )
        served = parts.enter_context(rehearsal.metadata_service(lambda: world.user_data))
        patch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", served)
        yield world


def secret_text(arn: str) -> str:
    return boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]


def take_tls_only(server: postgres.Postgres, folder: Path) -> Path:
    """As RDS with rds.force_ssl: refuses what is not encrypted. Returns the authority of its certificate."""
    for name in ("server.crt", "server.key"):
        (server.folder / name).touch(0o600)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={RDS}"]
    command += ["-addext", f"subjectAltName=DNS:{RDS}", "-keyout", str(server.folder / "server.key")]
    subprocess.run([*command, "-out", str(server.folder / "server.crt")], check=True, capture_output=True)
    assert server.user, "root's server runs as a user of its own"
    for name in ("server.crt", "server.key"):
        shutil.chown(server.folder / name, server.user)
    (server.folder / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    with closing(psycopg2.connect(server.url("postgres", "postgres"))) as conn:
        conn.autocommit = True
        with conn.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET ssl = on")
            cursor.execute("SELECT pg_reload_conf()")
    wait_for(lambda: refused(server.url("postgres", "postgres") + "?sslmode=disable"), 20)
    return server.folder / "server.crt"


def refused(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError as error:
        return "no encryption" in str(error)
    return False


def deliver(folder: Path, bucket: str) -> None:
    """Last night's logs; of an earlier day, logs with a header that nobody can use."""
    deliver_day(folder, bucket, YESTERDAY, EVENTS // 2)
    store = boto3.client("s3")
    store.put_object(Bucket=bucket, Key=f"raw/{BAD_DAY}/advertiser_ids", Body=b"advertiser_id\nACME\n")
    store.put_object(Bucket=bucket, Key=f"raw/{BAD_DAY}/product_views", Body=b"who,what\nACME,p1\n")
    ads = as_csv(("advertiser_id", "product_id", "type", "date"), [("ACME", "p1", "click", BAD_DAY)])
    store.put_object(Bucket=bucket, Key=f"raw/{BAD_DAY}/ads_views", Body=ads.encode())


def deliver_day(folder: Path, bucket: str, day: str, events: int) -> None:
    world = sample.make_world(advertisers=100, products=PRODUCTS // 100)
    sample.write(world, folder / "logs", [date.fromisoformat(day)], events)
    for log in sample.LOGS:
        file = folder / "logs" / day / log
        boto3.client("s3").upload_file(str(file), bucket, f"raw/{day}/{log}")
        file.unlink()


def eventually(seconds: float) -> Iterator[None]:
    """Tries until the caller stops, or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.3)


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    for _ in eventually(seconds):
        if found := condition():
            return found
    pytest.fail(f"not within {seconds} s")


def psutil_listens(port: int) -> set[str]:
    """The addresses of this machine that listen on the port."""
    return {c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"}


def rows(world: SimpleNamespace, query: str) -> list[tuple[Any, ...]]:
    conn = psycopg2.connect(world.server.url(postgres.MASTER, "recommendations"))
    try:
        with conn, conn.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    finally:
        conn.close()


def signed_in(world: SimpleNamespace) -> httpx.Client:
    client = httpx.Client(base_url=UI, timeout=30)
    token = client.post("/auth/token", json=world.login).raise_for_status().json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def running(world: SimpleNamespace) -> bool:
    states = world.machine.run("systemctl", "is-active", *SERVICES, check=False).split()
    try:
        return states == ["active"] * 3 and httpx.get(f"{UI}/api/v2/version", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_night_runs_by_itself_on_the_new_machine(world: SimpleNamespace) -> None:
    """Nobody asks for it: the schedule does. The peak of the services' proportional memory is printed."""
    peak, of_database = rehearsal.Peak(world.machine.limit, "airflow"), rehearsal.Peak(world.confined)
    peak.start()
    of_database.start()
    found = wait_for(
        lambda: rows(world, "SELECT date::text, model, git_revision FROM marts.publications ORDER BY model"), 900
    )
    figure = peak.finish()
    assert found == [(YESTERDAY, model, cloud.REVISION) for model in sorted(MODELS)]
    most = int((world.machine.limit / "memory.max_usage_in_bytes").read_text()) / 2**20
    killed = (world.machine.limit / "memory.failcnt").read_text().strip()
    chaos.figures.append(
        f"a night of {EVENTS:,} events on a machine of 2 GiB: proportional memory at the peak {figure}; the whole "
        f"machine with its file cache {most:.0f} MiB, {killed} times at the limit"
    )
    ((files, size),) = rows(
        world, "SELECT temp_files, temp_bytes FROM pg_stat_database WHERE datname = current_database()"
    )
    run = wait_for(lambda: ended(signed_in(world).get("/api/v2/dags/recommendations/dagRuns").json()["dag_runs"]))
    began, end = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    of_database.finish()
    limits = (world.confined / "memory.failcnt").read_text().strip()
    chaos.figures.append(
        f"PostgreSQL in 1 GiB, {PRODUCTS:,} products: the night took {(end - began).total_seconds():.0f} s; {files} "
        f"temporary files, {size / 1e9:.1f} GB; proportional memory at the peak "
        f"{sum(of_database.highest.values()) / 2**20:.0f} MiB, with its file cache {limits} times at the limit"
    )
    assert sum(peak.highest.values()) < 1.2 * 2**30, figure


def ended(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((run for run in runs if run["end_date"]), None)


def test_nobody_reads_the_pages_without_the_login(world: SimpleNamespace) -> None:
    wait_for(lambda: running(world))
    assert psutil_listens(8080) == {"127.0.0.1"}
    for path in ("/api/v2/dags", "/api/v2/connections", "/api/v2/config"):
        assert httpx.get(UI + path).status_code == 401, path
    assert httpx.get(f"{UI}/auth/token").status_code in (401, 403, 405)
    wrong = httpx.post(f"{UI}/auth/token", json=world.login | {"password": "wrong"})
    assert wrong.status_code == 401
    assert signed_in(world).get("/api/v2/dags/recommendations").json()["is_paused"] is False


def test_the_logs_of_the_tasks_are_on_s3(world: SimpleNamespace) -> None:
    def log_of(task: str) -> str | None:
        answer = boto3.client("s3").list_objects_v2(Bucket=world.made["Bucket"], Prefix="airflow-logs/")
        return next((item["Key"] for item in answer.get("Contents", []) if f"task_id={task}" in item["Key"]), None)

    for task in ("FiltrarDatos", *MODELS, "DBWriting"):
        key = wait_for(partial(log_of, task))
    body = boto3.client("s3").get_object(Bucket=world.made["Bucket"], Key=key)["Body"].read().decode()
    assert f"{YESTERDAY}: published " in body
    run = signed_in(world).get("/api/v2/dags/recommendations/dagRuns").json()["dag_runs"][0]["dag_run_id"]
    shown = signed_in(world).get(f"/api/v2/dags/recommendations/dagRuns/{run}/taskInstances/DBWriting/logs/1")
    assert f"{YESTERDAY}: published " in shown.text


def test_a_failure_is_told_with_the_day_the_task_the_message_and_the_link(world: SimpleNamespace) -> None:
    asked = signed_in(world).post("/api/v2/dags/recommendations/dagRuns", json={"logical_date": f"{BAD_DAY}T00:00:00Z"})
    assert asked.status_code == 200, asked.text
    sqs = boto3.client("sqs")
    message = wait_for(lambda: sqs.receive_message(QueueUrl=world.queue).get("Messages"))[0]
    notice = json.loads(message["Body"])
    assert notice["Subject"] == f"recommendations {BAD_DAY}: FiltrarDatos failed"
    assert "no column 'advertiser_id'" in notice["Message"]
    link = next(line for line in notice["Message"].splitlines() if line.startswith("Log: ")).removeprefix("Log: ")
    assert link.startswith(f"{UI}/dags/recommendations/runs/manual__")
    assert "FiltrarDatos" in link
    assert "Messages" not in sqs.receive_message(QueueUrl=world.queue), "one failure, one notice"


def test_the_machine_reports_its_journal_and_the_age_of_the_publication(world: SimpleNamespace) -> None:
    world.machine.run("systemctl", "start", "recommendations-report.service")
    logs = boto3.client("logs")
    (stream,) = logs.describe_log_streams(logGroupName=world.made["MachineLogs"])["logStreams"]
    events = logs.get_log_events(
        logGroupName=world.made["MachineLogs"], logStreamName=stream["logStreamName"], startFromHead=True
    )["events"]
    texts = [event["message"] for event in events]
    assert any(text.startswith("cloud-final: ") and "done:" in text for text in texts)
    figures = [json.loads(text) for text in texts if text.startswith('{"disk_used_percent"')]
    ages = [figure for figure in figures if "hours_since_published_day" in figure]
    assert 0 < figures[-1]["disk_used_percent"] < 100
    midnight = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
    assert ages[-1]["newest"] == YESTERDAY
    assert ages[-1]["hours_since_published_day"] == pytest.approx(
        (datetime.now(UTC) - midnight).total_seconds() / 3600, abs=0.1
    )
    world.machine.run("systemctl", "start", "recommendations-report.service")
    again = logs.get_log_events(
        logGroupName=world.made["MachineLogs"], logStreamName=stream["logStreamName"], startFromHead=True
    )["events"]
    assert not Counter(texts) - Counter(event["message"] for event in again), "lines got lost"
    assert len([event for event in again if "done: /opt/recommendations" in event["message"]]) == 1


def runs_of(world: SimpleNamespace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = signed_in(world).get("/api/v2/dags/recommendations/dagRuns").json()["dag_runs"]
    return found


def test_every_command_of_the_runbook_for_the_machine_works(world: SimpleNamespace, tmp_path: Path) -> None:
    """As root, so without sudo; of two days that are delivered. The restart and the installer run elsewhere, too."""
    deliver_day(tmp_path, world.made["Bucket"], DAY_BEFORE, 5_000)
    text = (release.PROJECT / "docs" / "runbook.md").read_text()
    commands = re.findall(r"^ +sudo (.+)$", text, re.M)
    assert len(commands) > 15
    for command in commands:
        for of_the_docs, day in (("2024-11-29", DAY_BEFORE), ("2024-11-30", YESTERDAY)):
            command = command.replace(of_the_docs, day)
        world.machine.run("bash", "-c", command)
        if "backfill create" in command:  # its runs publish, too
            wait_for(lambda: running(world) and all(run["end_date"] for run in runs_of(world)), 300)
    wait_for(lambda: running(world))
    assert rows(world, "SELECT count(*) FROM marts.publications") == [(2 * len(MODELS),)]
    assert rows(world, "SELECT count(*), count(restored_at) FROM marts.withdrawals") == [(1, 1)]


def test_a_service_that_is_killed_comes_back(world: SimpleNamespace) -> None:
    def main_pid() -> str:
        return world.machine.run("systemctl", "show", "--property=MainPID", "--value", SERVICES[1]).strip()

    before = main_pid()
    world.machine.run("bash", "-c", f"kill -9 {before}")
    wait_for(lambda: main_pid() not in (before, "0") and running(world))


def test_upgrade_and_rollback_are_one_command_each(world: SimpleNamespace) -> None:
    """With the user data as they are now. The rollback also brings a password that was rotated meanwhile."""
    world.user_data = world.user_data.replace("export DEBIAN_FRONTEND", "touch /run/changed; export DEBIAN_FRONTEND")
    parameters = boto3.client("ssm")
    settings = parameters.get_parameter(Name="/recommendations/rehearsal/settings")["Parameter"]["Value"]

    def switch_to(revision: str) -> None:
        text = settings.replace(cloud.REVISION, revision)
        parameters.put_parameter(Name="/recommendations/rehearsal/settings", Value=text, Overwrite=True)
        world.machine.run("sh", "-c", INSTALL)
        assert world.machine.run("readlink", "/opt/recommendations/current").strip().endswith(f"/{revision}")
        wait_for(lambda: running(world))

    began = time.monotonic()
    switch_to(LATER)
    world.machine.run("test", "-e", "/run/changed")
    chaos.figures.append(f"upgrade on the machine with the same pins in {time.monotonic() - began:.0f} s")
    password = secrets.token_hex(24)
    value = json.dumps({"username": "recommendations_pipeline", "password": password})
    boto3.client("secretsmanager").put_secret_value(SecretId="PipelineSecret", SecretString=value)
    world.secrets.append(password)
    switch_to(cloud.REVISION)
    assert rows(world, "SELECT count(*) FROM marts.publications") == [(2 * len(MODELS),)]
    url = f"postgresql://recommendations_pipeline:{password}@127.0.0.1:{world.server.port}/recommendations"
    psycopg2.connect(url).close()
    world.machine.run("systemctl", "start", "recommendations-report.service")


def test_no_secret_lies_where_somebody_could_read_it(world: SimpleNamespace) -> None:
    """Not on the machine's disk, journal included; in memory only in files of root and Airflow; not in the stack."""
    world.secrets.append(world.machine.run("cat", "/run/recommendations/token_key"))
    found = subprocess.run(
        ["grep", "-rlaF", *[f"--regexp={value}" for value in world.secrets], world.machine.root],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert found == ""
    in_memory = world.machine.run("grep", "-rlF", *[f"--regexp={value}" for value in world.secrets], "/run").split()
    modes = world.machine.run("stat", "--format=%n %a %U", *sorted(in_memory)).splitlines()
    assert [line.removeprefix("/run/recommendations/") for line in modes] == [
        "logins.json 600 airflow",
        "secrets.env 600 root",
        "token_key 600 root",
    ]
    shown = (
        world.user_data
        + boto3.client("ssm").get_parameter(Name="/recommendations/rehearsal/settings")["Parameter"]["Value"]
    )
    shown += json.dumps(boto3.client("cloudformation").describe_stacks(StackName="rehearsal")["Stacks"], default=str)
    answer = boto3.client("s3").list_objects_v2(Bucket=world.made["Bucket"], Prefix="airflow-logs/")
    for item in answer["Contents"]:
        body = boto3.client("s3").get_object(Bucket=world.made["Bucket"], Key=item["Key"])["Body"].read()
        shown += body.decode()
    assert not [value for value in world.secrets if value in shown]


def test_old_metadata_are_cleaned_and_the_command_line_works(world: SimpleNamespace) -> None:
    world.machine.run("systemctl", "start", "airflow-clean.service")
    assert "recommendations" in world.machine.run("recommendations-airflow", "dags", "list")
    for command, role in ((["psql"], "recommendations_pipeline"), (["owner", "psql"], postgres.MASTER)):
        name, *program = command
        told = world.machine.run(f"recommendations-{name}", *program, "-Atc", "SELECT current_user")
        assert told.strip() == role
    timers = world.machine.run("systemctl", "list-timers", "--no-pager")
    assert "airflow-clean.timer" in timers
    assert "recommendations-report.timer" in timers
