"""The template, as far as it can be checked without an account."""

import ast
import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import cloud
import psycopg2
import pytest
from moto import mock_aws

from api import trouble
from deploy import formation, machine, stack
from elt.settings import PROJECT, Settings
from local.postgres import MASTER, Postgres

pytestmark = pytest.mark.model_blind

TEMPLATE = cloud.template()
RESOURCES = TEMPLATE["Resources"]
UNITS = sorted((PROJECT / "deploy" / "systemd").glob("*.service"))


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: item["Properties"] for name, item in RESOURCES.items() if item["Type"] == kind}


def holds(condition: str | None, region: str = "us-east-1", **given: str) -> bool:
    defaults = {name: item["Default"] for name, item in TEMPLATE["Parameters"].items()}
    return cloud.holds(condition, TEMPLATE["Conditions"], defaults | given, region)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def test_cfn_lint_finds_nothing_and_no_rule_is_suppressed() -> None:
    """In none of AWS's commercial regions: some lack Budgets, most lack App Runner."""
    regions = boto3.Session().get_available_regions("cloudformation")
    assert len(regions) > 30
    command = [Path(sys.executable).with_name("cfn-lint"), "--regions", *regions, "--", cloud.TEMPLATE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "cfn-lint" not in cloud.TEMPLATE.read_text()
    assert "cfn-lint" not in TEMPLATE.get("Metadata", {})
    assert not list(PROJECT.glob(".cfnlintrc*"))


def test_it_fits_into_one_request() -> None:
    assert len(cloud.TEMPLATE.read_bytes()) < 51_200, "AWS takes a larger template from a bucket only"
    assert ": null" not in json.dumps(TEMPLATE), "nor does it take a null, anywhere"


@pytest.mark.parametrize("hosting", ["ECSExpress", "AppRunner"])
@pytest.mark.filterwarnings("ignore:Tried to parse")
def test_moto_creates_it_but_for_what_is_listed(aws: None, hosting: str) -> None:
    made = cloud.create_stack("ads", hosting, cloud.make_secrets())
    given = {"Revision": cloud.REVISION, "ApiRevision": cloud.REVISION, "ApiHosting": hosting, "NoticeEmail": "x"}
    wanted = {name for name, item in RESOURCES.items() if holds(item.get("Condition"), **given)}
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


WITHOUT_RESOURCE = {
    "SystemsManager": "sessions and commands: the agent's actions know no resource",
    "Alarms": "cloudwatch:DescribeAlarms knows none",
}
"""Statements about `*`, and why."""


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
                if statement.get("Sid") in WITHOUT_RESOURCE:
                    continue
                assert re.fullmatch(r'\{"Fn::Sub": "\$\{Bucket\.Arn\}/[a-z-]+/\*"\}', text) or "*" not in text, name
        for policy in properties.get("ManagedPolicyArns", []):
            if "Fn::Sub" in policy:
                managed.add(policy["Fn::Sub"].rpartition("/")[2])
    actions = {
        action
        for statement in RESOURCES["MachineRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
    }
    assert "ssm:GetParameter" in actions
    assert not {"ssm:GetParameters", "ssm:GetParametersByPath"} & actions, (
        "of the whole account, as AWS's own policy has"
    )
    assert managed == {
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
    assert (defaults["DatabaseStorage"], defaults["PostgresVersion"], defaults["MultiAz"]) == (20, "17", "false")
    assert None not in defaults.values(), "make deploy needs a stack's name and nothing else"


def test_every_password_is_generated_and_none_is_shown() -> None:
    """By the template itself; that none arrives in logs is seen on the machine (test_deploy_machine.py)."""
    for name, secret in of_type("AWS::SecretsManager::Secret").items():
        assert "SecretString" not in secret, name
        assert secret["GenerateSecretString"]["PasswordLength"] == 43
    # Not RDS's to manage: such a one is bound to its instance, and allows neither replicas nor blue/green.
    assert "ManageMasterUserPassword" not in RESOURCES["Database"]["Properties"]
    resolved = re.findall(r"\{\{resolve:secretsmanager:.*?\}\}", cloud.TEMPLATE.read_text())
    assert resolved == ["{{resolve:secretsmanager:${MasterSecret}:SecretString:password}}"]
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
    variables = {item["Name"]: item["Value"] for item in configuration["RuntimeEnvironmentVariables"]}
    proxies = "FORWARDED_ALLOW_IPS"  # or all clients would be one, and have half of the places between them
    assert variables | {proxies: ""} == express_variables() | {proxies: ""}
    assert (variables[proxies], express_variables()[proxies]) == ("*", RESOURCES["Network"]["Properties"]["CidrBlock"])
    path = RESOURCES["ApiOnAppRunner"]["Properties"]["HealthCheckConfiguration"]["Path"]
    # Not ready: with the database away the API goes on serving what it has, and must not be restarted.
    assert path == RESOURCES["ApiOnExpress"]["Properties"]["HealthCheckPath"] == "/health/live"


@pytest.mark.filterwarnings("ignore:Tried to parse")
@pytest.mark.parametrize("more", ["", "LATE_DAYS=5,COMPLETE_MARKER=_SUCCESS"])
def test_further_settings_reach_the_machine_a_line_each(aws: None, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    cloud.create_stack("ads", "ECSExpress", cloud.make_secrets(), MoreSettings=more)
    text = boto3.client("ssm").get_parameter(Name="/recommendations/ads/settings")["Parameter"]["Value"]
    assert "" not in text.splitlines(), "the installer of any release reads NAME=value"
    monkeypatch.setenv("SETTINGS", "/recommendations/ads/settings")
    found = machine.settings()
    assert list(found)[:2] == ["GIT_REVISION", "AWS_DEFAULT_REGION"]
    assert {name: found.get(name) for name in ("LATE_DAYS", "COMPLETE_MARKER")} == (
        {"LATE_DAYS": "5", "COMPLETE_MARKER": "_SUCCESS"} if more else {"LATE_DAYS": None, "COMPLETE_MARKER": None}
    )
    assert found["FERNET_SECRET"].startswith("arn:")


def test_a_setting_of_the_pipeline_is_the_templates_or_further() -> None:
    """A new one needs no change of the template: deploy/stack.py takes it by its name."""
    text = RESOURCES["MachineSettings"]["Properties"]["Value"]["Fn::Sub"][0]
    given = {line.partition("=")[0].lower() for line in text.splitlines()}
    assert given & set(Settings.model_fields) == stack.OF_THE_TEMPLATE - {"database_url"}


def test_every_alarm_and_the_budget_tell_the_topic() -> None:
    alarms = of_type("AWS::CloudWatch::Alarm")
    assert set(alarms) == {
        *(
            "NoPublicationToday",
            "MachineIsDown",
            "MachineDiskIsFull",
            "AppRunnerErrors",
            "ExpressErrors",
            "ExpressIsAway",
        ),
        *("DatabaseIsFull", "DatabaseIsBusy", "DatabaseMemoryIsShort", "DatabaseConnectionsAreMany"),
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "Notices"}]
    assert alarms["NoPublicationToday"]["TreatMissingData"] == "breaching"
    for name, of in (("PublicationAge", "NoPublicationToday"), ("MachineDisk", "MachineDiskIsFull")):
        metric = RESOURCES[name]["Properties"]["MetricTransformations"][0]
        assert (metric["MetricNamespace"], metric["MetricName"]) == (alarms[of]["Namespace"], alarms[of]["MetricName"])
    for notice in RESOURCES["Budget"]["Properties"]["NotificationsWithSubscribers"]:
        assert notice["Subscribers"] == [{"SubscriptionType": "SNS", "Address": {"Ref": "Notices"}}]


RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
THEIRS = {
    *("Access Denied", "server closed the connection", "could not connect", "password authentication failed"),
    "running it again",
}
"""What the runbook explains and libraries, or logs, say."""
OF_WHO_CHANGES_A_MODEL = {"declare", "look_back", "preview", "sql", "roles", "__main__", "connections"}
"""Modules whose messages come to whoever types a command or edits a file, and say what would be right."""


def explained() -> list[str]:
    """What stands in backticks in the first column of the runbook's tables, or before a colon in its sentences."""
    rows = re.findall(r"^\| (`.+?) \|", RUNBOOK, re.M) + re.findall(r"(?:^|\. )(`(?!make )[^`]+`):\s", RUNBOOK, re.M)
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


def parts_of(message: str) -> list[str]:
    return [part.strip() for part in re.split(r"\.\.\.|DAY", message) if part.strip()]


def said_by(file: Path) -> Iterator[tuple[int, str]]:
    """The fixed words of every error that the module makes, each with its line."""
    tree = ast.parse(file.read_text())
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    kinds = {"Broken", "PipelineError", "NotYet", "Locked", "Overtaken", "Withdrawn", "Refused", "Unavailable"}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds):
            continue
        said = node.args[0]
        if isinstance(said, ast.Name):
            said = constants.get(said.id, said)
        words = "".join(
            str(part.value) for part in ast.walk(said) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        yield node.lineno, words.replace("\n", " ")


def test_the_runbook_has_every_alarm_audit_cause_and_state() -> None:
    headings = {name for line in re.findall(r"^### (.+)", RUNBOOK, re.M) for name in line.split(", ")}
    assert set(of_type("AWS::CloudWatch::Alarm")) <= headings
    audits = {file.stem for file in PROJECT.glob("sql/audits/*/*.sql")}
    states = set(formation.WAYS_OUT)
    causes = set(trouble.CAUSES) | set(trouble.MEANS) | {"slow", "query"}
    assert {name for name in audits | states | causes if name not in explained()} == set()


@pytest.mark.parametrize("folder", ["elt", "deploy", "api"])
def test_every_failure_that_an_operator_can_meet_has_an_entry_in_the_runbook(folder: str) -> None:
    rows = [parts_of(message) for message in explained()]
    missing = [
        f"{file.name}:{line}: {words}"
        for file in sorted((PROJECT / folder).glob("*.py"))
        if folder != "elt" or file.stem not in OF_WHO_CHANGES_A_MODEL
        for line, words in said_by(file)
        if len(re.findall(r"[a-z]{2,}", words)) > 1  # else it is all of what another says
        and not any(all(part in words for part in parts) for parts in rows if parts)
    ]
    assert missing == []


def test_every_message_that_the_runbook_names_is_said_by_the_program() -> None:
    sources = [*PROJECT.glob("elt/*.py"), *PROJECT.glob("deploy/*.py"), *PROJECT.glob("api/*.py")]
    names = [file.stem for file in PROJECT.glob("sql/audits/*/*.sql")]
    said = "\n".join([*names, *("".join(literals(file)) for file in sources)])
    for message in explained():
        if message not in THEIRS:
            assert all(part in said for part in parts_of(message)), message


def literals(file: Path) -> Iterator[str]:
    """Every text of the module, those of one expression together, as they come out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)) + "\n"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value + "\n"


def test_the_commands_of_the_docs_for_aws_are_real_and_allowed_to_a_deployer() -> None:
    """Compared with botocore's models, whose names the AWS CLI takes; nobody ran them against AWS."""
    policy = json.loads((PROJECT / "deploy" / "deployer.json").read_text())
    granted = [pattern for statement in policy["Statement"] for pattern in statement["Action"]]
    of_the_cli = {("s3", "rb"), ("s3", "sync"), ("logs", "tail"), ("rds", "wait")}
    text = "".join((PROJECT / "docs" / name).read_text() for name in ("runbook.md", "deploy.md")) + "".join(
        (PROJECT / "deploy" / name).read_text() for name in ("stack.py", "formation.py")
    )
    commands = re.findall(
        r"\baws ([a-z0-9]+) ([a-z][a-z-]+[a-z])\b((?:[^`|#\n]|\\\n)*)", text.replace('" "', "").replace("\\\n", " ")
    )
    assert len(commands) > 15
    for service, command, rest in commands:
        if (service, command) in of_the_cli:
            continue
        service = service.removesuffix("api")  # s3api
        client = boto3.client(service, region_name="us-east-1")
        operation = client.meta.method_to_api_mapping[command.replace("-", "_")]
        members = client.meta.service_model.operation_model(operation).input_shape.members
        for option in re.findall(r"--([a-z][a-z-]+)", rest):
            name = option.removeprefix("no-").removeprefix("skip-").replace("-", "")
            known = {member.lower().removeprefix("skip") for member in members}
            assert name in known | {"query", "output", "since", "force", "profile"}, (service, command, option)
        action = f"{service}:{operation}".replace("s3:ListObjectVersions", "s3:ListBucketVersions")
        action = {"s3:CopyObject": "s3:PutObject"}.get(action, action)
        if (service, command) != ("iam", "put-role-policy"):  # the administrator's
            assert any(fnmatchcase(action, pattern) for pattern in granted), action
    assert any(fnmatchcase("logs:FilterLogEvents", pattern) for pattern in granted), "aws logs tail"


def test_an_alarm_that_lasts_is_told_again() -> None:
    """The loop as Step Functions would go through it; not seen on AWS."""
    rule = RESOURCES["Ringing"]["Properties"]
    assert rule["EventPattern"]["detail"]["state"] == {"value": ["ALARM"]}
    assert rule["Targets"][0]["Arn"] == {"Ref": "Repeating"}
    starts = [item["prefix"]["Fn::Sub"] for item in rule["EventPattern"]["detail"]["alarmName"]]
    starts = [start.replace("${AWS::StackName}", "ads") for start in starts]
    for name in of_type("AWS::CloudWatch::Alarm"):
        assert f"ads-{name}-1ABC".startswith(tuple(starts)), name
        assert not f"ads-restored-{name}-1ABC".startswith(tuple(starts)), "another stack's"
    states = RESOURCES["Repeating"]["Properties"]["Definition"]["States"]
    assert states["Wait"]["Seconds"] == 4 * 3600
    assert (states["Wait"]["Next"], states["Look"]["Next"], states["Tell"]["Next"]) == ("Look", "Does it last", "Wait")
    (lasts,) = states["Does it last"]["Choices"]
    assert (lasts["Variable"], lasts["IsPresent"], lasts["Next"]) == ("$.found.MetricAlarms[0]", True, "Tell")
    assert states["Look"]["Parameters"]["StateValue"] == "ALARM"
    assert states["Tell"]["Parameters"]["TopicArn"] == {"Ref": "Notices"}


def test_the_budget_is_of_this_stack_only_and_above_its_price() -> None:
    budget = RESOURCES["Budget"]["Properties"]["Budget"]
    assert budget["CostFilters"] == {"TagKeyValue": [{"Fn::Sub": "user:recommendations$${AWS::StackName}"}]}
    price = 80
    assert 0.8 * TEMPLATE["Parameters"]["MonthlyBudget"]["Default"] > price
    assert not holds("BudgetsRegion", region="eu-north-1")
    assert holds("BudgetsRegion", region="sa-east-1")


def test_the_instances_of_the_api_leave_connections_to_the_others() -> None:
    """A db.t4g.micro takes about 80; every instance of the API has 9, Airflow and its tasks 20."""
    assert RESOURCES["ApiScaling"]["Properties"]["MaxSize"] == {"Ref": "ApiMost"}
    assert RESOURCES["ApiOnExpress"]["Properties"]["ScalingTarget"]["MaxTaskCount"] == {"Ref": "ApiMost"}
    assert TEMPLATE["Parameters"]["ApiMost"]["Default"] * 2 * 9 + 20 < 80, "while two versions run"


def test_what_is_kept_fits_into_the_storage_that_may_grow() -> None:
    """39 MB a day at 800 advertisers, as docs/performance.md has it."""
    defaults = {name: item["Default"] for name, item in TEMPLATE["Parameters"].items()}
    assert defaults["KeepDays"] * 0.039 * 1.2 < defaults["DatabaseStorageMost"]
    assert RESOURCES["Database"]["Properties"]["MaxAllocatedStorage"] == {"Ref": "DatabaseStorageMost"}
    assert "KEEP_DAYS=${KeepDays}\n" in RESOURCES["MachineSettings"]["Properties"]["Value"]["Fn::Sub"][0]


def test_a_new_stack_can_start_from_a_snapshot() -> None:
    """Which brings its own names; the password is the new stack's."""
    database = RESOURCES["Database"]["Properties"]
    nothing = {"Ref": "AWS::NoValue"}
    assert database["DBSnapshotIdentifier"] == {"Fn::If": ["FromSnapshot", {"Ref": "DatabaseSnapshot"}, nothing]}
    assert database["DBName"] == {"Fn::If": ["FromSnapshot", nothing, "recommendations"]}
    assert database["MasterUsername"] == {"Fn::If": ["FromSnapshot", nothing, "recommendations_owner"]}
    assert database["MasterUserPassword"]


def test_the_next_major_version_of_postgresql_may_be_installed() -> None:
    assert RESOURCES["Database"]["Properties"]["AllowMajorVersionUpgrade"] is True
    assert RESOURCES["DatabaseParameters"]["Properties"]["Family"] == {"Fn::Sub": "postgres${PostgresVersion}"}


def test_no_name_begins_with_the_stacks_where_aws_reserves_names() -> None:
    """A parameter /awsome/settings or /ssm-ads/settings is refused."""
    assert RESOURCES["MachineSettings"]["Properties"]["Name"] == {
        "Fn::Sub": "/recommendations/${AWS::StackName}/settings"
    }


def test_the_address_has_one_scheme_whether_express_mode_gives_one_or_not() -> None:
    (_, otherwise) = TEMPLATE["Outputs"]["ApiUrl"]["Value"]["Fn::If"][1:]
    joined = otherwise["Fn::If"][2]["Fn::Join"][1]
    assert joined[0] == "https://"
    separator, parts = joined[1]["Fn::Join"]
    for endpoint in ("ads.ecs.us-east-1.on.aws", "https://ads.ecs.us-east-1.on.aws"):
        split = endpoint.split(parts["Fn::Split"][0])
        assert joined[0] + separator.join(split) == "https://ads.ecs.us-east-1.on.aws"


def test_an_api_for_the_vpc_only_is_in_private_subnets_with_what_it_needs_there() -> None:
    private = {"ApiRevision": "a", "ApiNetworks": ""}
    made = {name for name, item in RESOURCES.items() if item.get("Condition") == "ExpressInVpc"}
    assert {RESOURCES[name]["Type"] for name in made} == {"AWS::EC2::VPCEndpoint", "AWS::EC2::SecurityGroup"}
    assert holds("ExpressInVpc", **private)
    assert not holds("ExpressInVpc", ApiRevision="a")
    services = {item["ServiceName"]["Fn::Sub"].partition("}.")[2] for item in of_type("AWS::EC2::VPCEndpoint").values()}
    assert services == {"s3", "ecr.api", "ecr.dkr", "logs", "secretsmanager"}
    (condition, in_vpc, _) = RESOURCES["ApiOnExpress"]["Properties"]["NetworkConfiguration"]["Subnets"]["Fn::If"]
    assert (condition, in_vpc) == ("ExpressInVpc", [{"Ref": "PrivateSubnetA"}, {"Ref": "PrivateSubnetB"}])


@pytest.mark.filterwarnings("ignore:Tried to parse")
def test_the_agent_is_installed_first_and_only_if_it_is_what_was_seen(aws: None, tmp_path: Path) -> None:
    """The user data's own lines up to Debian's packages, in a folder; curl and dpkg are noted."""
    agent = b"the package"
    digest = hashlib.sha256(agent).hexdigest()
    made = cloud.create_stack("ads", "ECSExpress", cloud.make_secrets(), AgentVersion="3.3.1", AgentSha256=digest)
    answer = boto3.client("ec2").describe_instance_attribute(InstanceId=made["Machine"], Attribute="userData")
    script = base64.b64decode(answer["UserData"]["Value"]).decode()
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    before, _, after = script.partition("          apt() {".strip())
    assert "dpkg -i" in before
    assert "apt-get" in after
    folders = ("usr/local/sbin", "etc/recommendations", "opt/recommendations", "run", "tmp")
    before = re.sub(rf"(?<![\w./])/({'|'.join(folders)})\b", rf"{tmp_path}/\1", before)
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "user-data").write_text(before)
    for name, body in {
        "curl": f'while [ "$1" != -o ]; do shift; done; echo "$3" >>{tmp_path}/asked; cp {tmp_path}/package "$2"',
        "dpkg": f'[ "$1" = -i ] && cp "$2" {tmp_path}/installed',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def run(package: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "package").write_bytes(package)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        command = ["bash", str(tmp_path / "user-data")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert "no SSM agent" in run(b"another").stderr
    assert not (tmp_path / "installed").exists()
    assert run(agent).stderr == ""
    assert (tmp_path / "installed").read_bytes() == agent
    asked = (tmp_path / "asked").read_text().splitlines()
    url = "https://s3.us-east-1.amazonaws.com/amazon-ssm-us-east-1/3.3.1/debian_amd64/amazon-ssm-agent.deb"
    assert asked == [url, url]
    assert (tmp_path / "usr/local/sbin/recommendations-install").read_text() == before
    assert (
        (tmp_path / "etc/recommendations/machine.env")
        .read_text()
        .startswith("SETTINGS=/recommendations/ads/settings\n")
    )


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
