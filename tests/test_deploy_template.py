"""The template, as far as it can be checked without an account."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import cloud
import psycopg2
import pytest
from moto import mock_aws

from deploy import machine
from elt.settings import PROJECT
from local.postgres import MASTER, Postgres

pytestmark = pytest.mark.model_blind

TEMPLATE = cloud.template()
RESOURCES = TEMPLATE["Resources"]
UNITS = sorted((PROJECT / "deploy" / "systemd").glob("*.service"))


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: item["Properties"] for name, item in RESOURCES.items() if item["Type"] == kind}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def test_cfn_lint_finds_nothing_and_no_rule_is_suppressed() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), cloud.TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "cfn-lint" not in cloud.TEMPLATE.read_text()
    assert "cfn-lint" not in TEMPLATE.get("Metadata", {})
    assert not list(PROJECT.glob(".cfnlintrc*"))


def test_it_fits_into_one_request() -> None:
    assert len(cloud.TEMPLATE.read_bytes()) < 51_200, "AWS takes a larger template from a bucket only"


@pytest.mark.parametrize("hosting", ["ECSExpress", "AppRunner"])
@pytest.mark.filterwarnings("ignore:Tried to parse")
def test_moto_creates_it_but_for_what_is_listed(aws: None, hosting: str) -> None:
    made = cloud.create_stack("ads", hosting, cloud.make_secrets())
    others = {"ECSExpress": ("OnAppRunner",), "AppRunner": ("OnExpress",)}[hosting]
    wanted = {name for name, item in RESOURCES.items() if item.get("Condition") not in others}
    assert wanted - set(made) == set(cloud.NOT_IN_MOTO) & wanted
    assert not set(cloud.NOT_IN_MOTO) & set(made)
    machine = boto3.client("ec2").describe_instances(InstanceIds=[made["Machine"]])["Reservations"][0]["Instances"][0]
    assert machine["InstanceType"] == "t3.small"
    assert machine["SubnetId"] == made["PublicSubnetA"]
    encryption = boto3.client("s3").get_bucket_encryption(Bucket=made["Bucket"])["ServerSideEncryptionConfiguration"]
    assert encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_the_bucket_is_private_and_forgets() -> None:
    """moto does not take these over from CloudFormation."""
    bucket = RESOURCES["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert {rule["Prefix"] for name, rule in rules.items() if "ExpirationInDays" in rule} == {
        "raw/",
        "intermediate/",
        "airflow-logs/",
    }
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


@pytest.mark.filterwarnings("ignore:Tried to parse")
def test_without_a_revision_it_is_the_ground_only(aws: None) -> None:
    made = cloud.create_stack("ads", "ECSExpress", cloud.make_secrets(), Revision="")
    assert not {"Machine", "ApiExecutionRole"} & set(made)
    assert {"Network", "Bucket", "Images", "MachineSettings"} <= set(made)


def test_nobody_may_do_anything_to_everything() -> None:
    """Own policies name their resources and actions. AWS's managed ones are used where AWS knows no resource."""
    managed = set()
    for name, item in RESOURCES.items():
        properties = item.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for statement in (s for document in documents for s in document["Statement"] if s["Effect"] == "Allow"):
            for action in as_list(statement["Action"]):
                assert "*" not in action, (name, action)
            for resource in as_list(statement["Resource"]):
                text = json.dumps(resource)
                assert re.fullmatch(r'\{"Fn::Sub": "\$\{Bucket\.Arn\}/[a-z-]+/\*"\}', text) or "*" not in text, name
        for policy in properties.get("ManagedPolicyArns", []):
            if "Fn::Sub" in policy:
                managed.add(policy["Fn::Sub"].rpartition("/")[2])
    assert managed == {
        "AmazonSSMManagedInstanceCore",  # sessions: ssmmessages:* and ec2messages:* know no resource
        "AWSAppRunnerServicePolicyForECRAccess",  # ecr:GetAuthorizationToken knows no resource
        "AmazonECSTaskExecutionRolePolicy",  # likewise
        "AmazonECSInfrastructureRoleforExpressGatewayServices",  # what Express Mode makes is not named beforehand
    }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_only_airflow_and_the_api_reach_the_database_and_nobody_reaches_airflow() -> None:
    groups = of_type("AWS::EC2::SecurityGroup")
    sources = [rule["SourceSecurityGroupId"]["Ref"] for rule in groups["DatabaseGroup"]["SecurityGroupIngress"]]
    assert sources == ["AirflowGroup", "ApiGroup"]
    assert "SecurityGroupIngress" not in groups["AirflowGroup"]
    assert not of_type("AWS::EC2::SecurityGroupIngress")
    assert RESOURCES["Machine"]["Properties"]["SecurityGroupIds"] == [{"Ref": "AirflowGroup"}]
    database = RESOURCES["Database"]["Properties"]
    assert database["PubliclyAccessible"] is False
    private = {item["SubnetId"]["Ref"] for item in of_type("AWS::EC2::SubnetRouteTableAssociation").values()
               if item["RouteTableId"] == {"Ref": "PrivateRoutes"}}  # fmt: skip
    assert {subnet["Ref"] for subnet in RESOURCES["DatabaseSubnets"]["Properties"]["SubnetIds"]} == private
    assert not [
        route for route in of_type("AWS::EC2::Route").values() if route["RouteTableId"] == {"Ref": "PrivateRoutes"}
    ]


def test_the_database_is_encrypted_takes_tls_only_and_survives_the_stack() -> None:
    database = RESOURCES["Database"]
    assert database["Properties"]["StorageEncrypted"] is True
    assert database["DeletionPolicy"] == database["UpdateReplacePolicy"] == "Snapshot"
    assert RESOURCES["DatabaseParameters"]["Properties"]["Parameters"] == {"rds.force_ssl": "1"}
    assert RESOURCES["Bucket"]["DeletionPolicy"] == "Retain"


def test_the_defaults_are_those_of_the_free_plan() -> None:
    defaults = {name: item.get("Default") for name, item in TEMPLATE["Parameters"].items()}
    assert (defaults["AirflowInstanceType"], defaults["DatabaseInstanceClass"]) == ("t3.small", "db.t4g.micro")
    assert (defaults["DatabaseStorage"], defaults["PostgresVersion"], defaults["DeletionProtection"]) == (
        20,
        "17",
        "true",
    )
    assert None not in defaults.values(), "make deploy needs a stack's name and nothing else"


def test_every_password_is_generated_and_none_is_shown() -> None:
    """By the template itself; that none arrives in logs is seen on the machine (test_deploy_machine.py)."""
    for name, secret in of_type("AWS::SecretsManager::Secret").items():
        assert "SecretString" not in secret, name
        assert secret["GenerateSecretString"]["PasswordLength"] == 43
    assert RESOURCES["Database"]["Properties"]["ManageMasterUserPassword"] is True
    assert "resolve:secretsmanager" not in cloud.TEMPLATE.read_text()
    assert not [name for name in TEMPLATE["Parameters"] if "password" in name.lower()]
    variables = express_variables()
    assert "PGPASSWORD" not in variables
    assert {item["Name"] for item in container()["Secrets"]} == {"PGPASSWORD"}


def container() -> dict[str, Any]:
    return RESOURCES["ApiOnExpress"]["Properties"]["PrimaryContainer"]


def express_variables() -> dict[str, Any]:
    return {item["Name"]: item["Value"] for item in container()["Environment"]}


def test_both_hostings_run_the_same_image_in_the_same_way() -> None:
    repository = RESOURCES["ApiOnAppRunner"]["Properties"]["SourceConfiguration"]["ImageRepository"]
    configuration = repository["ImageConfiguration"]
    assert repository["ImageIdentifier"] == container()["Image"]
    assert configuration["Port"] == str(container()["ContainerPort"])
    assert {item["Name"]: item["Value"] for item in configuration["RuntimeEnvironmentVariables"]} == express_variables()
    path = RESOURCES["ApiOnAppRunner"]["Properties"]["HealthCheckConfiguration"]["Path"]
    # Not ready: with the database away the API goes on serving what it has, and must not be restarted.
    assert path == RESOURCES["ApiOnExpress"]["Properties"]["HealthCheckPath"] == "/health/live"


def test_every_alarm_and_the_budget_tell_the_topic() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    assert set(alarms) == {"NoPublicationToday", "DatabaseIsFull", "AppRunnerErrors", "ExpressErrors"}
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [{"Ref": "Notices"}]
    assert alarms["NoPublicationToday"]["TreatMissingData"] == "breaching"
    metric = RESOURCES["PublicationAge"]["Properties"]["MetricTransformations"][0]
    for name in ("Namespace", "MetricName"):
        assert metric[f"Metric{name.removeprefix('Metric')}"] == alarms["NoPublicationToday"][name]
    for notice in RESOURCES["Budget"]["Properties"]["NotificationsWithSubscribers"]:
        assert notice["Subscribers"] == [{"SubscriptionType": "SNS", "Address": {"Ref": "Notices"}}]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_units_are_what_systemd_understands(unit: Path) -> None:
    text = unit.read_text()
    (started,) = re.findall(r"^ExecStart=(.+)", text, re.M)
    command = started.split()
    assert command[0] == "/bin/sh" or command[0].startswith("/opt/recommendations/current/.venv/bin/")
    verify = shutil.which("systemd-analyze")
    if verify:
        said = subprocess.run([verify, "verify", unit], capture_output=True, text=True, check=False).stderr
        # That the commands are not on this machine is no fault of the units.
        wrong = [line for line in said.splitlines() if unit.name in line and "is not executable" not in line]
        assert [line for line in wrong if "not found" not in line] == []
    if unit.name in ("airflow-api-server.service", "airflow-scheduler.service", "airflow-dag-processor.service"):
        assert "\nRestart=always\n" in text
        assert "\nMemoryMax=" in text
        assert "\nUser=airflow\n" in text


def test_airflow_is_configured_as_specified() -> None:
    lines = (PROJECT / "deploy" / "airflow.env").read_text().splitlines()
    config = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert config["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert config["AIRFLOW__CORE__PARALLELISM"] == "2"
    assert config["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert config["AIRFLOW__API__WORKERS"] == "1"
    assert config["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert config["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"


def test_the_metadata_database_is_made_by_a_master_who_is_no_superuser(postgres: Postgres) -> None:
    """On PostgreSQL 16 and newer, as RDS has it, who makes a role is not yet a member of it; 15: the rehearsal."""
    postgres.provision("recommendations_of_the_stack")
    url = postgres.url(MASTER, "recommendations_of_the_stack")
    for password in ("first", "second"):
        machine._make_metadata_database(url, password)
    with closing(psycopg2.connect(f"postgresql://airflow:second@127.0.0.1:{postgres.port}/airflow")) as conn:
        with conn.cursor() as cursor:
            cursor.execute("CREATE TABLE public.made_by_airflow ()")
            cursor.execute("SELECT has_database_privilege('public', 'airflow', 'CONNECT')")
            assert cursor.fetchone() == (False,)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(f"postgresql://airflow:first@127.0.0.1:{postgres.port}/airflow")
