"""`make deploy` and its companions, against moto; without an account nobody has seen them on AWS.

moto creates the template as far as it goes (tests/cloud.py). Where it does not answer as AWS does, `Aws.answers` does:
states that last, services that it lacks, failures. Docker, which the build machines lack, is a script that writes down
how it was called; the machine's command and git are noted, and tested by themselves below.
"""

import ast
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import cfnlint
import cloud
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from deploy import express, formation, release, stack
from deploy.formation import Refused
from elt.settings import PROJECT

pytestmark = [pytest.mark.model_blind, pytest.mark.filterwarnings("ignore:Tried to parse")]
HEAD, OLD = "c" * 40, "d" * 40
ARN = "arn:aws:apprunner:us-east-1:123456789012:service/ads-api/0123"


class Aws(SimpleNamespace):
    """The account as the tests see it: `calls` of every operation, `told` of Docker, `run` on the machine."""

    calls: list[tuple[str, dict[str, Any]]]
    told: Path
    run: list[str]
    overrides: dict[str, list[Any]]

    def answers(self, operation: str, *values: Any) -> None:
        """What AWS answers to `Service.Operation`: the values in turn, the last for ever; exceptions are raised."""
        self.overrides[operation] = list(values)

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == operation]


def refusal(operation: str, code: str, message: str = "no") -> ClientError:
    """An error as the client of the service raises it."""
    service, _, name = operation.partition(".")
    client = boto3.client({"apprunner": "apprunner"}.get(service, service))
    return client.exceptions.from_code(code)({"Error": {"Code": code, "Message": message}}, name)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Aws]:
    """An empty account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(formation, "LOOK_EVERY", 0)
    found = Aws(calls=[], run=[], told=tmp_path / "docker.calls", overrides={})
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\necho "$BUILDX_NO_DEFAULT_ATTESTATIONS $*" >>{found.told}\ncat >>{found.told}.$1\nexit 0\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    monkeypatch.setattr(release, "commit", lambda revision="": revision or HEAD)
    monkeypatch.setattr(release, "pack", lambda revision, target, ca: target.write_bytes(revision.encode() + ca))
    monkeypatch.setattr(release, "fetched", lambda url: b"3.3.1\n" if url.endswith("VERSION") else url.encode())
    # AWS alone can sign as AWS; what the function says of a key that is there is tested below.
    monkeypatch.setattr(release, "unsigned", lambda body, signature, key: "")
    monkeypatch.setattr(formation, "run_on", lambda machine, command: found.run.append(command))
    with mock_aws():
        asked = BaseClient._make_api_call

        def answered(self: Any, operation: str, arguments: dict[str, Any]) -> Any:
            name = f"{self.meta.service_model.service_name}.{operation}"
            found.calls.append((name, arguments))
            if arguments.get("UsePreviousTemplate"):
                # moto looks at no condition of the template that it has: see for_moto.
                arguments = {k: v for k, v in arguments.items() if k != "UsePreviousTemplate"}
                arguments |= {"TemplateBody": formation.template()}
            if not (values := found.overrides.get(name)):
                return asked(self, operation, arguments)
            value = values.pop(0) if len(values) > 1 else values[0]
            if isinstance(value, Exception):
                raise value
            return value(arguments) if callable(value) else value

        monkeypatch.setattr(BaseClient, "_make_api_call", answered)
        image = cloud.image()
        found.answers("ssm.GetParameter", {"Parameter": {"Value": image}})
        found.answers("ce.UpdateCostAllocationTagsStatus", {"Errors": []})
        secrets = cloud.make_secrets()
        boto3.client("rds").create_db_instance(
            DBInstanceIdentifier="ads-db", DBInstanceClass="db.t4g.micro", Engine="postgres", DeletionProtection=True
        )
        apply = formation.apply

        def apply_in_moto(name: str, changes: dict[str, str], **how: bool) -> None:
            wanted = formation.parameters(formation.find(name) or {}) | changes
            stand_ins = secrets | {"Database": "ads-db"}
            known = set(cloud.template()["Parameters"])
            text = cloud.for_moto(stand_ins, **{key: value for key, value in wanted.items() if key in known})
            monkeypatch.setattr(formation, "template", lambda: text)
            apply(name, changes, **how)
            found.run.append("apply " + " ".join(f"{key}={value[:7]}" for key, value in sorted(changes.items())))

        monkeypatch.setattr(formation, "apply", apply_in_moto)
        yield found


def held(name: str = "ads") -> dict[str, str]:
    return formation.parameters(formation.described(name))


def having(**values: str) -> Callable[[str], dict[str, Any]]:
    """Describes any stack as one with these parameters only."""
    return lambda name: {"Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()]}


def state_of_the_machine() -> str:
    found = boto3.client("ec2").describe_instances()["Reservations"][0]["Instances"][0]
    return found["State"]["Name"]


def database(status: str) -> dict[str, Any]:
    return {
        "DBInstances": [
            {"DBInstanceStatus": status, "DeletionProtection": True, "DBInstanceClass": "db.t4g.micro"},
        ]
    }


def state_of_the_database() -> str:
    return boto3.client("rds").describe_db_instances()["DBInstances"][0]["DBInstanceStatus"]


def push(tag: str) -> None:
    repository = formation.existing("ads")["ImagesUri"].partition("/")[2]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"})
    boto3.client("ecr").put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)


def test_from_an_empty_account_to_the_machine_and_the_image(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    stack.deploy("ads", {"NoticeEmail": "me@example.com"}, "")
    known = formation.existing("ads")
    calls = aws.told.read_text().splitlines()
    assert calls[0].startswith("1 build --platform linux/amd64"), "without attestations, which would count as images"
    assert calls[1].startswith("1 login --username AWS --password-stdin")
    assert calls[2] == f"1 push {known['ImagesUri']}:{HEAD}"
    keys = boto3.client("s3").list_objects_v2(Bucket=known["BucketName"])["Contents"]
    assert [item["Key"] for item in keys] == [f"releases/{HEAD}.tar.gz"]
    assert held()["Revision"] == held()["ApiRevision"] == HEAD
    assert state_of_the_machine() == "running"
    told = capsys.readouterr().out
    assert "US dollars a month" in told
    given = Path(f"{aws.told}.login").read_text()
    assert given not in told + aws.told.read_text()
    assert aws.asked("iam.CreateServiceLinkedRole") == [{"AWSServiceName": "ecs.amazonaws.com"}]
    assert [set(map(str, tags)) for tags in map(dict.values, aws.asked("cloudformation.CreateStack")[0]["Tags"])] == [
        {"recommendations", "ads"}
    ]


def test_the_machine_migrates_before_the_new_api_is_started(aws: Aws) -> None:
    stack.deploy("ads", {}, "")
    push(HEAD)
    aws.run.clear()
    stack.deploy("ads", {}, OLD)
    assert aws.run == [f"apply Revision={OLD[:7]}", stack.INSTALL, f"apply ApiRevision={OLD[:7]}"]


def test_an_api_whose_machine_could_not_migrate_stays_as_it_is(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stack.deploy("ads", {}, "")
    push(HEAD)

    def fails(machine: str, command: str) -> None:
        raise Refused("bash on i-1: Failed. Its last words:\nduplicate key")

    monkeypatch.setattr(formation, "run_on", fails)
    with pytest.raises(Refused, match="duplicate key"):
        stack.deploy("ads", {}, OLD)
    assert (held()["Revision"], held()["ApiRevision"]) == (OLD, HEAD)
    stack.status("ads")
    assert f"the API has {HEAD}: the last make deploy did not end" in capsys.readouterr().out


def test_the_first_creation_leaves_the_database_unprotected_so_that_it_can_roll_back(aws: Aws) -> None:
    conditions, protected = cloud.template()["Conditions"], cloud.template()["Resources"]["Database"]["Properties"]
    assert protected["DeletionProtection"] == {"Fn::If": ["Protected", True, False]}
    stack.deploy("ads", {}, "")
    first, second, _ = (
        {item["ParameterKey"]: item["ParameterValue"] for item in arguments["Parameters"]}
        for name, arguments in aws.calls
        if name in ("cloudformation.CreateStack", "cloudformation.UpdateStack")
    )
    defaults = {name: item["Default"] for name, item in cloud.template()["Parameters"].items()}
    assert not cloud.holds("Protected", conditions, defaults | first)
    assert cloud.holds("Protected", conditions, defaults | second)
    assert cloud.holds("Protected", conditions, defaults | held() | {"Revision": ""}), "while the machine is replaced"


@pytest.mark.parametrize(
    ("state", "way_out"),
    {
        "ROLLBACK_COMPLETE": "make teardown STACK=ads",
        "ROLLBACK_FAILED": "make teardown STACK=ads",
        "CREATE_FAILED": "make teardown STACK=ads",
        "DELETE_FAILED": "make teardown STACK=ads tries again",
        "UPDATE_FAILED": "aws cloudformation rollback-stack --stack-name ads",
        "UPDATE_ROLLBACK_FAILED": "aws cloudformation continue-update-rollback --stack-name ads",
        "IMPORT_ROLLBACK_FAILED": "make teardown STACK=ads",
        "UPDATE_IN_PROGRESS": "again when make status says COMPLETE",
    }.items(),
)
def test_every_state_that_takes_no_change_has_a_way_out(aws: Aws, state: str, way_out: str, capsys: Any) -> None:
    """As AWS describes one whose creation failed: without outputs, so that nothing may be looked for in them."""
    described = {"StackName": "ads", "StackId": "arn:ads", "StackStatus": state, "Parameters": []}
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [described]})
    for command in (lambda: stack.deploy("ads", {}, ""), lambda: stack.pause("ads"), lambda: stack.machine("ads")):
        with pytest.raises(Refused, match=f"ads is {state}.*{way_out}"):
            command()
    stack.status("ads")
    assert state in capsys.readouterr().out


def test_a_stack_that_is_half_deleted_says_what_there_is(aws: Aws, capsys: Any) -> None:
    stack.deploy("ads", {}, "")
    described = formation.described("ads") | {"StackStatus": "DELETE_FAILED"}
    arn = {"OutputKey": "AppRunnerArn", "OutputValue": ARN}
    described["Outputs"] = [*described["Outputs"], {"OutputKey": "DatabaseId", "OutputValue": "gone"}, arn]
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [described]})
    aws.answers("apprunner.DescribeService", refusal("apprunner.DescribeService", "ResourceNotFoundException"))
    stack.status("ads")
    told = capsys.readouterr().out
    assert "database   gone is lost" in told
    assert "make teardown STACK=ads tries again" in told
    with pytest.raises(Refused, match="DELETE_FAILED"):
        stack.image("ads")


def test_there_is_no_state_of_a_stack_that_is_not_thought_of() -> None:
    states = boto3.client("cloudformation", region_name="us-east-1").meta.service_model.shape_for("StackStatus").enum
    left = {state for state in states if not state.endswith("_IN_PROGRESS")} - set(formation.WAYS_OUT)
    assert left == {
        *("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"),
        *("IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"),
        "DELETE_COMPLETE",  # not found by its name any more
    }


def test_teardown_finds_the_database_of_a_stack_that_has_no_outputs(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"StackName": "ads", "StackId": "arn:ads", "StackStatus": "ROLLBACK_FAILED"}
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [described]})
    made = {"LogicalResourceId": "Database", "PhysicalResourceId": "ads-db", "ResourceStatus": "DELETE_FAILED"}
    never = {"LogicalResourceId": "Machine", "ResourceStatus": "CREATE_FAILED"}
    aws.answers("cloudformation.DescribeStackResources", {"StackResources": [made, never]})
    deleted: list[str] = []
    monkeypatch.setattr(formation, "delete", deleted.append)
    stack.teardown("ads", ask=lambda _: "ads")
    assert deleted == ["ads"]
    assert boto3.client("rds").describe_db_instances()["DBInstances"][0]["DeletionProtection"] is False


def test_a_failure_is_told_with_its_reason_and_what_to_do(aws: Aws) -> None:
    stack.deploy("ads", {}, "")
    reason = "Resource handler returned message: Unable to assume the service linked role"
    failed = {
        "EventId": "1",
        "LogicalResourceId": "ApiOnExpress",
        "ResourceStatus": "CREATE_FAILED",
        "ResourceStatusReason": reason,
        "Timestamp": datetime.now(UTC),
    }
    aws.answers("cloudformation.DescribeStackEvents", {"StackEvents": [failed]})
    state = dict(formation.described("ads"))
    rolled_back = {"Stacks": [state | {"StackStatus": "UPDATE_ROLLBACK_FAILED"}]}
    aws.answers(
        "cloudformation.DescribeStacks", {"Stacks": [state]}, {"Stacks": [state]}, {"Stacks": [state]}, rolled_back
    )
    with pytest.raises(Refused, match=f"ApiOnExpress: {reason}\n.*continue-update-rollback --stack-name ads"):
        formation.apply("ads", {"ApiMost": "3"})


def test_an_old_revision_rolls_back_and_what_is_in_ecr_is_not_built_again(aws: Aws) -> None:
    stack.deploy("ads", {"NoticeEmail": "me@example.com"}, "")
    push(HEAD)
    stack.deploy("ads", {}, OLD)
    assert held()["NoticeEmail"] == "me@example.com"
    before = aws.told.read_text()
    stack.deploy("ads", {}, HEAD)
    assert held()["Revision"] == held()["ApiRevision"] == HEAD
    assert aws.told.read_text() == before
    assert aws.run.count(stack.INSTALL) == 3


def test_a_newer_debian_replaces_the_machine_only_when_that_is_asked_for(aws: Aws) -> None:
    """As AWS had it with the image as a parameter of SSM: replaced by any update, pausing included, and left dead."""
    stack.deploy("ads", {}, "")
    of_the_first = {name: held()[name] for name in ("AirflowImage", "AgentVersion", "AgentSha256")}
    agent = "https://s3.us-east-1.amazonaws.com/amazon-ssm-us-east-1/3.3.1/debian_amd64/amazon-ssm-agent.deb"
    assert of_the_first["AgentVersion"] == "3.3.1"
    assert of_the_first["AgentSha256"] == hashlib.sha256(agent.encode()).hexdigest()
    assert cloud.template()["Parameters"]["AirflowImage"]["Type"] == "String"
    newer = [image["ImageId"] for image in boto3.client("ec2").describe_images(Owners=["amazon"])["Images"]][-1]
    aws.answers("ssm.GetParameter", {"Parameter": {"Value": newer}})
    stack.pause("ads")
    stack.resume("ads")
    stack.deploy("ads", {}, "")
    assert held()["AirflowImage"] == of_the_first["AirflowImage"]
    aws.run.clear()
    stack.machine("ads")
    assert held()["AirflowImage"] == newer
    assert state_of_the_machine() == "terminated", "moto takes the old one for the new; AWS makes another"
    without, with_one, installed = aws.run
    assert without == "apply Revision="
    assert with_one.endswith(f" AirflowImage={newer[:7]} Revision={HEAD[:7]}")
    assert installed == stack.INSTALL
    assert held()["Revision"] == held()["ApiRevision"] == HEAD


def test_nothing_is_deleted_for_a_new_machine_whose_agent_is_not_signed(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deploy("ads", {}, "")
    monkeypatch.setattr(release, "unsigned", lambda body, signature, key: "no public key")
    aws.run.clear()
    with pytest.raises(Refused, match=r"agent.deb is not signed by the key in deploy/ca/.*no public key\n.*to be put"):
        stack.machine("ads")
    assert aws.run == []
    with pytest.raises(Refused, match="is not signed"):
        stack.deploy("other", {}, "")
    assert aws.run == [], "nor made"


def test_pausing_and_a_new_machine_change_nothing_else_whatever_is_checked_out(aws: Aws) -> None:
    """The checkout may be older or newer than the stack: only make deploy brings its template there."""
    stack.deploy("ads", {}, "")
    assert all("TemplateBody" in item for item in aws.asked("cloudformation.UpdateStack"))
    for command, updates in ((stack.pause, 1), (stack.resume, 1), (stack.machine, 2)):
        aws.calls.clear()
        command("ads")
        asked = aws.asked("cloudformation.UpdateStack")
        assert [(item.get("UsePreviousTemplate"), "TemplateBody" in item) for item in asked] == [
            (True, False)
        ] * updates


def test_a_stack_of_an_older_template_keeps_its_api_and_its_machine(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """From before ApiRevision, when the API had the machine's, and the image was a parameter of Systems Manager."""
    stack.deploy("ads", {}, "")
    now = formation.described("ads")
    image = {"ParameterKey": "AirflowImage", "ParameterValue": "/aws/service/debian", "ResolvedValue": cloud.image()}
    older = now | {"Parameters": [image, {"ParameterKey": "Revision", "ParameterValue": HEAD}]}
    applied: list[dict[str, str]] = []
    monkeypatch.setattr(formation, "apply", lambda name, changes, **_: applied.append(changes))
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [older]}, {"Stacks": [older]}, {"Stacks": [now]})
    monkeypatch.setattr(stack, "described", having(Revision=OLD))
    stack.deploy("ads", {}, OLD)
    assert applied[0] == {"AirflowImage": cloud.image(), "ApiRevision": HEAD, "Revision": OLD}
    assert applied[-1] == {"ApiRevision": OLD}
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [older]})
    with pytest.raises(Refused, match="is of an older template: make deploy STACK=ads"):
        stack.machine("ads")


def test_of_two_deployments_at_once_the_first_leaves_the_api_to_the_second(aws: Aws) -> None:
    """Between its steps the stack takes changes; the machine's installer waits for the other's."""
    stack.deploy("ads", {}, "")

    class Machine(list[str]):
        def append(self, command: str) -> None:
            super().append(command)
            if command == stack.INSTALL:
                formation.apply("ads", {"Revision": "e" * 40})

    aws.run = Machine()
    with pytest.raises(Refused, match=r"somebody deployed e{12} meanwhile; the API is theirs"):
        stack.deploy("ads", {}, OLD)
    assert held()["ApiRevision"] == HEAD


@pytest.mark.parametrize("phase", ["upload", "image", "INSTALL", "settle"])
def test_a_deployment_that_is_stopped_goes_on_where_it_was(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    def ctrl_c(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["deploy.stack", "deploy", "ads", "--revision", HEAD])
    with monkeypatch.context() as stopped:
        of = {"upload": release, "image": release, "INSTALL": formation, "settle": express}[phase]
        stopped.setattr(of, {"INSTALL": "run_on"}.get(phase, phase), ctrl_c)
        assert stack.main() == 130
    assert stack.main() == 0
    assert held()["Revision"] == held()["ApiRevision"] == HEAD
    assert len(aws.asked("cloudformation.CreateStack")) == 1
    assert len(boto3.client("ec2").describe_instances()["Reservations"]) == 1


def test_a_machine_that_is_lost_is_told_and_made_anew(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    stack.deploy("ads", {}, "")
    lost = formation.existing("ads")["MachineId"]
    boto3.client("ec2").terminate_instances(InstanceIds=[lost])
    stack.status("ads")
    assert f"{lost} is lost: make machine STACK=ads" in capsys.readouterr().out
    with pytest.raises(Refused, match="is lost: make machine STACK=ads"):
        stack.deploy("ads", {}, "")
    stack.pause("ads")
    stack.resume("ads")
    assert "no machine: make machine STACK=ads" in capsys.readouterr().out
    aws.run.clear()
    stack.machine("ads")
    assert aws.run[0] == "apply Revision="
    assert aws.run[-1] == stack.INSTALL


def test_pause_stops_what_bills_by_the_hour_and_resume_starts_it(aws: Aws, capsys: Any) -> None:
    stack.deploy("ads", {}, "")
    stack.pause("ads")
    stack.pause("ads")
    assert (state_of_the_machine(), state_of_the_database()) == ("stopped", "stopped")
    made = formation.resources("ads")
    assert "ApiExecutionRole" not in made
    assert {"Machine", "Bucket"} <= set(made)
    with pytest.raises(Refused, match="make resume STACK=ads"):
        stack.deploy("ads", {}, "")
    told = capsys.readouterr().out
    assert "Still billed" in told
    stack.status("ads")
    assert "paused" in capsys.readouterr().out
    stack.resume("ads")
    assert (state_of_the_machine(), state_of_the_database()) == ("running", "available")
    assert aws.run[-1] == stack.RUNNING, "what the machine itself says"


def test_a_database_that_is_backing_up_is_paused_when_it_has_done(aws: Aws) -> None:
    stack.deploy("ads", {}, "")
    states = ["backing-up", "backing-up", "available", "backing-up", "available", "stopping", "stopped"]
    aws.answers("rds.DescribeDBInstances", *map(database, states))
    aws.answers("rds.StopDBInstance", refusal("rds.StopDBInstance", "InvalidDBInstanceState"), {})
    stack.pause("ads")
    assert len(aws.asked("rds.StopDBInstance")) == 2, "refused while it backs up, asked again"
    assert len(aws.asked("rds.DescribeDBInstances")) == len(states)


def test_a_database_that_does_not_stop_is_told(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.deploy("ads", {}, "")
    monkeypatch.setattr(stack, "LONGEST_WAIT", 0.05)
    aws.answers("rds.DescribeDBInstances", database("backing-up"))
    with pytest.raises(Refused, match="the database ads-db is not stopped after"):
        stack.pause("ads")
    aws.answers("rds.DescribeDBInstances", database("storage-full"))
    with pytest.raises(Refused, match=r"storage-full: docs/runbook.md"):
        stack.pause("ads")


def test_an_app_runner_service_that_is_paused_already_does_not_keep_the_database_running(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deploy("ads", {"ApiHosting": "AppRunner"}, "")
    there = formation.existing
    monkeypatch.setattr(stack, "existing", lambda name: there(name) | {"AppRunnerArn": ARN})
    monkeypatch.setattr(stack, "outputs", lambda found: formation.outputs(found) | {"AppRunnerArn": ARN})
    invalid = refusal("apprunner.PauseService", "InvalidStateException")

    def service(*states: str) -> list[dict[str, Any]]:
        return [{"Service": {"Status": state}} for state in states]

    aws.answers("apprunner.DescribeService", *service("PAUSED"))
    aws.answers("apprunner.PauseService", invalid)
    stack.pause("ads")
    assert (state_of_the_machine(), state_of_the_database()) == ("stopped", "stopped")
    assert not aws.asked("apprunner.PauseService")
    aws.answers("apprunner.DescribeService", *service("PAUSED", "OPERATION_IN_PROGRESS", "RUNNING"))
    aws.answers("apprunner.ResumeService", {})
    stack.resume("ads")
    aws.answers("apprunner.DescribeService", *service("RUNNING", "OPERATION_IN_PROGRESS", "PAUSED"))
    aws.answers("apprunner.PauseService", {})
    stack.pause("ads")
    assert len(aws.asked("apprunner.PauseService")) == 1


def test_teardown_asks_and_says_what_it_keeps(
    aws: Aws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto cannot delete a network that it made, so the deletion itself is only noted."""
    deleted: list[str] = []
    monkeypatch.setattr(formation, "delete", deleted.append)
    monkeypatch.setattr(formation, "resources", lambda name, deleted=False: {"Bucket": "logs", "Database": "ads-db"})
    stack.deploy("ads", {}, "")
    with pytest.raises(Refused, match="nothing was deleted"):
        stack.teardown("ads", ask=lambda _: "yes")
    assert deleted == []
    boto3.client("logs").create_log_group(logGroupName="/aws/rds/instance/ads-db/postgresql")
    stack.pause("ads")
    stack.teardown("ads", ask=lambda _: "ads")
    told = capsys.readouterr().out
    assert "keeps the bucket logs" in told
    assert "it is started for its last snapshot" in told, "a stopped one leaves none"
    assert "DatabaseSnapshot=NAME" in told
    assert deleted == ["ads"]
    assert boto3.client("rds").describe_db_instances()["DBInstances"][0]["DeletionProtection"] is False
    groups = boto3.client("logs").describe_log_groups(logGroupNamePrefix="/aws/rds")["logGroups"]
    assert groups == [], "it would outlive the stack"


def test_what_rds_logs_is_not_kept_for_ever(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    group = "/aws/rds/instance/ads-db/postgresql"
    boto3.client("logs").create_log_group(logGroupName=group)
    monkeypatch.setattr(formation, "resources", lambda name, deleted=False: {"Database": "ads-db"})
    stack.deploy("ads", {}, "")
    (found,) = boto3.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found["retentionInDays"] == 30


def test_a_stack_that_another_deletes_while_one_is_asked_is_refused(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.deploy("ads", {}, "")
    look = formation.find
    answers = iter([look("ads"), None])
    monkeypatch.setattr(formation, "find", lambda _: next(answers))
    with pytest.raises(Refused, match="there is no stack ads"):
        stack.teardown("ads", ask=lambda _: "ads")


@pytest.mark.parametrize(
    ("before", "given", "words"),
    [
        ({}, {"ApiHosting": "AppRunner", "ApiNetworks": ""}, "need ApiHosting=ECSExpress"),
        ({}, {"ApiDomain": "ads.example"}, "ApiDomain and ApiCertificate belong together"),
        ({}, {"DatabaseStorage": "100"}, "as RDS wants it, not 100"),
        ({}, {"Paused": "true"}, "Paused: these are set by"),
        ({}, {"Backups": "7"}, "no parameter Backups; the parameters are .*BackupDays"),
        ({"PostgresVersion": "18"}, {"PostgresVersion": "17"}, "PostgreSQL goes forward only; ads has 18"),
        ({"NoticeEmail": ""}, {"DatabaseSnapshot": "last"}, "DatabaseSnapshot is for a new stack"),
        ({"NoticeEmail": ""}, {"Zones": "us-east-1c,us-east-1d"}, "Zones is for a new stack"),
        ({}, {"ApiNetworks": "192.0.2.1"}, "ApiNetworks has networks like 192.0.2.0/24"),
        ({}, {"ApiNetworks": "192.0.2.0/24,198.51.100.7/24"}, "not 198.51.100.7/24: .*host bits"),
        ({}, {"DatabaseStorage": ""}, "DatabaseStorage is a whole number, not ''"),
        ({}, {"MoreSettings": "LATE_DAY=5"}, "of .*LATE_DAYS.*, not LATE_DAY$"),
        ({}, {"MoreSettings": "KEEP_DAYS=90"}, "not KEEP_DAYS$"),
        ({}, {"MoreSettings": "COMPLETE_MARKER=_SUCCESS,LATE_DAYS=many"}, "MoreSettings: LATE_DAYS: .*integer"),
        ({}, {"DatabaseSnapshot": "nonsense"}, "there is no snapshot nonsense in us-east-1; aws rds describe-db-snap"),
        ({}, {"DatabaseInstanceClass": "db.t4g.mikro"}, "RDS offers no PostgreSQL on db.t4g.mikro in us-east-1"),
        ({}, {"Zones": "us-east-1a"}, "Zones is two of us-east-1"),
        ({}, {"MultiAz": "yes"}, "MultiAz is one of true, false, not 'yes'"),
        ({}, {"ApiHosting": "AppRunner", "ApiDomain": "ads.example"}, "App Runner has no security group"),
    ],
)
def test_what_aws_would_find_out_late_is_refused_at_once(
    aws: Aws, before: dict[str, str], given: dict[str, str], words: str
) -> None:
    if before:
        stack.deploy("ads", before, "")
    aws.run.clear()
    aws.calls.clear()
    with pytest.raises(Refused, match=words):
        stack.deploy("ads", given, "")
    assert aws.run == []
    read = ("Get", "Describe", "List")
    assert not [name for name, _ in aws.calls if not name.partition(".")[2].startswith(read)], "nothing was made"


def test_a_first_deployment_without_docker_makes_nothing(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="lacks docker, which builds the API's image"):
        stack.deploy("ads", {}, "")
    assert aws.run == []


def test_no_name_of_a_stack_is_too_long_for_what_is_called_after_it(aws: Aws) -> None:
    """CloudFormation makes STACK-RESOURCE-RANDOM of it, 13 letters of its own at most, and shortens what is longer."""
    longest = {"AWS::IAM::Role": 64, "AWS::RDS::DBInstance": 63, "AWS::S3::Bucket": 63, "AWS::Events::Rule": 64}
    for name, item in cloud.template()["Resources"].items():
        most = longest.get(item["Type"], 128)
        assert stack.LONGEST_NAME + 1 + len(name) + 1 + 13 <= most, name
    with pytest.raises(Refused, match=r"at most 28 characters, a{29} has 29"):
        stack.deploy("a" * 29, {}, "")
    assert aws.run == []


def test_the_api_goes_into_the_vpc_and_out_by_being_made_anew_after_the_machine_has_migrated(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto cannot make the endpoints in an update, so the changes are only noted."""
    stack.deploy("ads", {}, "")
    done: list[Any] = aws.run
    monkeypatch.setattr(formation, "apply", lambda name, changes, **_: done.append(changes))
    monkeypatch.setattr(stack, "described", having(Revision=OLD))
    done.clear()
    stack.deploy("ads", {"ApiNetworks": "", "BackupDays": "7"}, OLD)
    assert done == [
        {"BackupDays": "7", "Revision": OLD},
        stack.INSTALL,
        {"ApiNetworks": "", "ApiRevision": ""},
        {"ApiRevision": OLD},
    ], "the API is as it was until the machine has migrated"
    inside = {"ApiRevision": OLD, "ApiNetworks": ""}
    assert stack._made_anew(inside, {"ApiNetworks": "0.0.0.0/0"}) == {"ApiNetworks": "0.0.0.0/0", "ApiRevision": ""}
    assert stack._made_anew(inside, {"BackupDays": "7"}) == {}


def test_the_alarms_of_a_stack_whose_name_goes_on_are_not_told(aws: Aws, capsys: Any) -> None:
    """`ads-restored` beside `ads`, as the runbook has it."""
    stack.deploy("ads", {}, "")
    alarms = [
        {"AlarmName": name, "StateValue": "ALARM", "AlarmDescription": f"of {name}"}
        for name in ("ads-DatabaseIsFull-1ABC", "ads-restored-DatabaseIsFull-2DEF")
    ]
    aws.answers("cloudwatch.DescribeAlarms", {"MetricAlarms": alarms})
    stack.status("ads")
    told = capsys.readouterr().out
    assert "of ads-DatabaseIsFull-1ABC" in told
    assert "ads-restored" not in told


def test_a_stack_that_has_no_machine_yet_is_resumed_to_be_deployed(aws: Aws, capsys: Any) -> None:
    formation.apply("ads", stack._zones({}))
    stack.pause("ads")
    stack.resume("ads")
    told = capsys.readouterr().out
    assert "no machine: make deploy STACK=ads" in told
    assert "None" not in told


def test_a_machine_that_somebody_stopped_is_started_for_the_installer(aws: Aws) -> None:
    stack.deploy("ads", {}, "")
    boto3.client("ec2").stop_instances(InstanceIds=[formation.existing("ads")["MachineId"]])
    stack.deploy("ads", {}, OLD)
    assert state_of_the_machine() == "running"


def test_a_machine_that_is_still_stopping_is_started_when_it_has(aws: Aws) -> None:
    """As a `make pause` that was interrupted leaves it."""
    stack.deploy("ads", {}, "")
    before = len(aws.asked("ec2.StartInstances"))
    aws.answers("ec2.StartInstances", refusal("ec2.StartInstances", "IncorrectInstanceState"), {})
    stack.resume("ads")
    assert len(aws.asked("ec2.StartInstances")) == before + 2


def test_the_second_teardown_deletes_the_logs_of_what_the_first_deleted(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = {"StackName": "ads", "StackId": "arn:ads", "StackStatus": "DELETE_FAILED"}
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [described]})
    gone = {"LogicalResourceId": "Database", "PhysicalResourceId": "ads-gone", "ResourceStatus": "DELETE_COMPLETE"}
    aws.answers("cloudformation.DescribeStackResources", {"StackResources": [gone]})
    boto3.client("logs").create_log_group(logGroupName="/aws/rds/instance/ads-gone/postgresql")
    monkeypatch.setattr(formation, "delete", lambda name: None)
    stack.teardown("ads", ask=lambda _: "ads")
    assert boto3.client("logs").describe_log_groups(logGroupNamePrefix="/aws/rds")["logGroups"] == []


@pytest.mark.parametrize("state", ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"])
def test_teardown_takes_no_protection_away_while_the_stack_is_changed(aws: Aws, state: str) -> None:
    described = {"StackName": "ads", "StackId": "arn:ads", "StackStatus": state}
    aws.answers("cloudformation.DescribeStacks", {"Stacks": [described]})
    made = {"LogicalResourceId": "Database", "PhysicalResourceId": "ads-db", "ResourceStatus": "CREATE_COMPLETE"}
    aws.answers("cloudformation.DescribeStackResources", {"StackResources": [made]})
    with pytest.raises(Refused, match=f"ads is {state}"):
        stack.teardown("ads", ask=lambda _: "ads")
    assert boto3.client("rds").describe_db_instances()["DBInstances"][0]["DeletionProtection"] is True


def test_a_deployer_reaches_no_other_systems_machines_nor_logs() -> None:
    of = {
        action: [s for s in POLICY["Statement"] if action in s["Action"]]
        for action in ("ssm:SendCommand", "ssm:StartSession", "logs:DeleteLogGroup")
    }
    for action in ("ssm:SendCommand", "ssm:StartSession"):
        on_machines = [s for s in of[action] if "arn:aws:ec2:*:*:instance/*" in s["Resource"]]
        assert [s["Condition"] for s in on_machines] == [{"StringEquals": {"ssm:resourceTag/recommendations": "STACK"}}]
    (logs,) = of["logs:DeleteLogGroup"]
    other, own = "arn:aws:logs:us-east-1:1:log-group:/aws/lambda/x", "log-group:/aws/rds/instance/STACK-database-1/x"
    assert not any(fnmatchcase(other, pattern) for pattern in logs["Resource"])
    assert any(fnmatchcase(f"arn:aws:logs:us-east-1:1:{own}", pattern) for pattern in logs["Resource"])


def test_a_class_that_rds_has_is_taken(aws: Aws) -> None:
    """moto has few of them."""
    aws.answers("rds.DescribeOrderableDBInstanceOptions", {"OrderableDBInstanceOptions": [{"Engine": "postgres"}]})
    stack._refuse_database({}, {"DatabaseInstanceClass": "db.t4g.small", "Zones": "us-east-1a,us-east-1b"})
    stack._refuse_database({"DatabaseSnapshot": "gone"}, {"DatabaseSnapshot": "gone"})


def test_app_runner_is_refused_where_it_is_not(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    with pytest.raises(Refused, match=r"App Runner is not in eu-north-1, but in ap-northeast-1, .*us-west-2"):
        stack.deploy("ads", {"ApiHosting": "AppRunner"}, "")


def test_the_zones_are_two_that_have_the_machine(aws: Aws) -> None:
    """us-east-1 has a zone without any t3: the first two by the alphabet are not always right."""
    offers = [{"InstanceType": "t3.small", "Location": f"us-east-1{zone}"} for zone in "fbd"]
    aws.answers("ec2.DescribeInstanceTypeOfferings", {"InstanceTypeOfferings": offers})
    assert stack._zones({}) == {"Zones": "us-east-1b,us-east-1d"}
    aws.answers("ec2.DescribeInstanceTypeOfferings", {"InstanceTypeOfferings": offers[:1]})
    with pytest.raises(Refused, match=r"us-east-1 has t3.small in fewer than two zones: us-east-1f"):
        stack._zones({})


def test_an_account_that_has_the_role_of_ecs_needs_no_other(aws: Aws) -> None:
    taken = "Service role name AWSServiceRoleForECS has been taken in this account, please try a different suffix."
    aws.answers("iam.CreateServiceLinkedRole", refusal("iam.CreateServiceLinkedRole", "InvalidInput", taken))
    stack._prepare_account()
    aws.answers("iam.CreateServiceLinkedRole", refusal("iam.CreateServiceLinkedRole", "AccessDenied"))
    with pytest.raises(ClientError, match="AccessDenied"):
        stack._prepare_account()


def test_a_budget_that_sees_nothing_is_told(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    stack._count_by_tag()
    assert capsys.readouterr().out == ""
    errors = {"Errors": [{"TagKey": "recommendations", "Code": "TagKeysNotFoundException", "Message": "no"}]}
    aws.answers("ce.UpdateCostAllocationTagsStatus", errors)
    stack._count_by_tag()
    assert "the budget sees nothing yet" in capsys.readouterr().out
    aws.answers("ce.UpdateCostAllocationTagsStatus", refusal("ce.X", "AccessDeniedException"))
    stack._count_by_tag()
    assert "in its management account" in capsys.readouterr().out


def words_of(status: str, output: str = "", error: str = "") -> dict[str, str]:
    return {"Status": status, "StandardOutputContent": output, "StandardErrorContent": error}


@pytest.fixture
def run_on(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., None]:
    """The real one; the account's fixture only notes what would be run."""
    real = formation.run_on
    request.getfixturevalue("aws")
    return real


def test_the_machine_is_waited_for_and_speaks_for_itself(run_on: Callable[..., None], aws: Aws) -> None:
    offline = refusal("ssm.SendCommand", "InvalidInstanceId")
    aws.answers("ssm.SendCommand", offline, offline, {"Command": {"CommandId": "1"}})
    unknown = refusal("ssm.GetCommandInvocation", "InvocationDoesNotExist")
    aws.answers("ssm.GetCommandInvocation", unknown, words_of("InProgress"), words_of("Success"))
    run_on("i-1", stack.INSTALL)
    lines = aws.asked("ssm.SendCommand")[0]["Parameters"]["commands"]
    assert lines == stack.INSTALL.splitlines()
    aws.answers("ssm.SendCommand", {"Command": {"CommandId": "1"}})
    aws.answers(
        "ssm.GetCommandInvocation", words_of("Failed", "settings, databases\n", "deploy.machine: no space left\n")
    )
    with pytest.raises(
        Refused, match=r"on i-1: Failed. Its last words:\nsettings, databases\ndeploy.machine: no space"
    ):
        run_on("i-1", stack.INSTALL)


def test_a_machine_whose_agent_never_comes_is_told_with_its_console(run_on: Callable[..., None], aws: Aws) -> None:
    aws.answers("ssm.SendCommand", refusal("ssm.SendCommand", "InvalidInstanceId"))
    aws.answers("ec2.GetConsoleOutput", {"Output": "\n".join(map(str, range(50))) + "\nno SSM agent: tried https://s3"})
    with pytest.raises(Refused, match="did not come online") as raised:
        run_on("i-1", stack.INSTALL, online_within=0)
    assert "\n40\n" in str(raised.value)
    assert str(raised.value).endswith("no SSM agent: tried https://s3")
    assert "make machine" in str(raised.value)


def test_the_machine_is_upgraded_by_the_user_data_as_they_are_now(tmp_path: Path) -> None:
    """As the agent's shell runs it; the metadata service is played by a curl that knows its two requests."""
    curl = tmp_path / "curl"
    curl.write_text(
        '#!/bin/sh\ncase "$*" in *"-X PUT"*/latest/api/token) echo token;;\n'
        '*"X-aws-ec2-metadata-token: token"*/latest/user-data) echo "echo new; exit $STATUS" >/run/user-data;;\n'
        "*) exit 7;; esac\n"
    )
    curl.chmod(0o755)
    script = stack.INSTALL.replace("/run/user-data", str(tmp_path / "user-data"))
    curl.write_text(curl.read_text().replace("/run/user-data", str(tmp_path / "user-data")))

    def run(status: int) -> subprocess.CompletedProcess[str]:
        given = {"PATH": f"{tmp_path}:/usr/bin:/bin", "STATUS": str(status)}
        return subprocess.run(["sh", "-c", script], env=given, capture_output=True, text=True, check=False)

    assert run(0).stdout == "new\nthe machine runs the release\n"
    assert run(3).returncode == 3
    curl.write_text("#!/bin/sh\nexit 7\n")
    assert run(0).returncode == 7, "without the metadata service nothing old is run"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and a change on top that is not committed."""
    for command in (["init", "-q"], ["config", "user.email", "a@b.c"], ["config", "user.name", "a"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    (tmp_path / "api.py").write_text("committed\n")
    for command in (["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    (tmp_path / "api.py").write_text("not committed\n")
    (tmp_path / "secret.env").write_text("not committed\n")
    monkeypatch.setattr(release, "PROJECT", tmp_path)
    return tmp_path


def test_a_revision_is_shipped_as_it_was_committed_whatever_lies_in_the_tree(project: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"commit or stash first:\n.*api.py"):
        release.commit()
    head = release.commit("HEAD")
    assert len(head) == 40
    with pytest.raises(Refused, match="git knows no revision 'nonsense'"):
        release.commit("nonsense")
    (project / "deploy").mkdir(exist_ok=True)
    (project / "deploy" / "template.yaml").write_text("mine")
    with pytest.raises(Refused, match=r"commit or stash first:\n.*deploy/"):
        release.commit("HEAD")  # its template would be what lies here
    (project / "deploy" / "template.yaml").unlink()
    release.pack(head, tmp_path / "x.tar.gz", b"authorities")
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        found = {item.name: archive.extractfile(item) for item in archive if item.isreg()}
        assert {name: file.read() for name, file in found.items() if file} == {
            "api.py": b"committed\n",
            "deploy/ca/rds.pem": b"authorities",
        }
        assert {(item.uid, item.gid, item.mode & 0o444) for item in archive} == {(0, 0, 0o444)}


def test_a_second_region_gets_its_own_authorities(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    boto3.client("s3").create_bucket(Bucket="of-the-stack")
    for region in ("us-east-1", "eu-west-1"):
        monkeypatch.setattr(release, "region", lambda region=region: region)
        release.upload("of-the-stack", region)
        body = (
            boto3.client("s3")
            .get_object(Bucket="of-the-stack", Key=f"releases/{region}.tar.gz")["Body"]
            .read()
            .decode()
        )
        assert body.endswith(f"truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem")


def test_what_aws_does_not_give_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b"body"))
    assert release.fetched("https://a") == b"body"

    def fails(url: str, timeout: float) -> None:
        raise OSError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", fails)
    with pytest.raises(Refused, match="https://a is not to be had from here: timed out"):
        release.fetched("https://a")


@pytest.mark.skipif(not shutil.which("gpgv") or not shutil.which("gpg"), reason="needs gpg and gpgv")
def test_a_package_counts_as_signed_by_the_key_that_is_kept_and_by_no_other(tmp_path: Path) -> None:
    """With keys made here: AWS's own signs only what AWS has."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)

    def gpg(*arguments: str, given: bytes = b"") -> bytes:
        command = [
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        return subprocess.run([*command, *arguments], input=given, capture_output=True, check=True).stdout

    def key_of(name: str) -> Path:
        file = tmp_path / f"{name}.asc"
        file.write_bytes(gpg("--armor", "--export", name))
        return file

    try:
        for name, when in (("own", ()), ("other", ()), ("expired", ("--faked-system-time", "20200101T000000"))):
            gpg(*when, "--quick-generate-key", name, "ed25519", "sign", "1m" if when else "never")
        own, other = key_of("own"), key_of("other")
        signature = gpg("--local-user", "own", "--detach-sign", given=b"the package")
        late = ("--faked-system-time", "20200102T000000", "--local-user", "expired", "--detach-sign")
        of_the_expired = gpg(*late, given=b"the package")
        assert release.unsigned(b"the package", signature, own) == ""
        assert "BAD signature" in release.unsigned(b"another", signature, own)
        assert "No public key" in release.unsigned(b"the package", signature, other)
        assert "expired" in release.unsigned(b"the package", of_the_expired, key_of("expired"))
        assert release.unsigned(b"the package", b"", own) != ""
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


@pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg")
def test_the_key_that_is_kept_is_the_one_of_the_docs(tmp_path: Path) -> None:
    command = ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys", str(release.AGENT_KEY)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ((fingerprint, owner),) = zip(
        re.findall(r"^fpr:+(\w+):", shown, re.M), re.findall(r"^uid:.*<(.+?)>", shown, re.M), strict=True
    )
    assert owner == "ssm-agent-signer@amazon.com"
    assert fingerprint in (PROJECT / "docs" / "deploy.md").read_text().replace(" ", "")


def test_the_api_admits_the_networks_that_are_named_and_nobody_else(aws: Aws) -> None:
    ec2 = boto3.client("ec2")
    network = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="balancer", Description="of Express Mode", VpcId=network)["GroupId"]
    everyone = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[everyone])

    def admitted() -> set[str]:
        (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        return {item["CidrIp"] for rule in found["IpPermissions"] for item in rule["IpRanges"]}

    arn = f"arn:aws:ec2:us-east-1:123456789012:security-group/{group}"
    for networks in ("0.0.0.0/0", "192.0.2.0/24,198.51.100.7/32", "198.51.100.7/32", "0.0.0.0/0"):
        for _ in range(2):
            express.settle({"ExpressGroups": arn}, {"ApiNetworks": networks})
            assert admitted() == set(networks.split(","))
    express.settle({"ExpressGroups": arn}, {"ApiNetworks": ""})
    assert admitted() == {"0.0.0.0/0"}, "in the VPC the load balancer has no public address"
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert len(found["IpPermissionsEgress"]) == 1, "what it sends is not touched"


def test_a_deployment_is_undone_for_5xx_only(aws: Aws) -> None:
    """The alarm as AWS documents it: 4xx and 5xx over 1 % at 2 of 3 minutes. Its exact form was not seen."""

    def counted(name: str, identifier: str) -> dict[str, Any]:
        where = [{"Name": "LoadBalancer", "Value": "app/ecs-express/1"}]
        metric = {"Namespace": "AWS/ApplicationELB", "MetricName": name, "Dimensions": where}
        return {"Id": identifier, "ReturnData": False, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}

    names = ("HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count", "RequestCount")
    share = {"Id": "share", "Expression": "100 * (m0 + m1) / m2", "ReturnData": True, "Label": "share"}
    cloudwatch = boto3.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="express-rollback",
        Metrics=[*(counted(name, f"m{n}") for n, name in enumerate(names)), share],
        EvaluationPeriods=3,
        DatapointsToAlarm=2,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:express-rollback"
    for _ in range(2):
        express.watch_5xx({"ExpressAlarms": arn})
        (alarm,) = cloudwatch.describe_alarms(AlarmNames=["express-rollback"])["MetricAlarms"]
        watched = [item["MetricStat"]["Metric"]["MetricName"] for item in alarm["Metrics"] if "MetricStat" in item]
        assert Counter(watched) == {"HTTPCode_Target_5XX_Count": 2, "RequestCount": 1}
        assert (alarm["Threshold"], alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (2, 2, 3)
    express.watch_5xx({})


def test_the_load_balancer_answers_to_the_domain_too(aws: Aws) -> None:
    rule = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener-rule/app/x/1/2/3"
    host = {"Field": "host-header", "Values": ["x.ecs.aws"], "HostHeaderConfig": {"Values": ["x.ecs.aws"]}}
    path = {"Field": "path-pattern", "Values": ["/*"], "PathPatternConfig": {"Values": ["/*"]}}
    aws.answers("elbv2.DescribeRules", {"Rules": [{"Conditions": [host, path]}]})
    aws.answers("elbv2.ModifyRule", {})
    # moto's fixture names the service by its endpoint.
    for name in ("DescribeRules", "ModifyRule"):
        aws.overrides[f"elasticloadbalancingv2.{name}"] = aws.overrides[f"elbv2.{name}"]
    express.answer_to(rule, "ads.example")
    ((_, changed),) = [call for call in aws.calls if call[0].endswith(".ModifyRule")]
    assert {"Field": "host-header", "HostHeaderConfig": {"Values": ["x.ecs.aws", "ads.example"]}} in changed[
        "Conditions"
    ]
    assert {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}} in changed["Conditions"]


POLICY = json.loads((PROJECT / "deploy" / "deployer.json").read_text())
NOT_USED = [
    "*:*Analytics*",
    "*:*BucketAbac",
    "*:*BucketAcl",
    "*:*BucketC[oO][rR][sS]",
    "*:*BucketLogging",
    "*:*BucketMetadata*",
    "*:*BucketNotification",
    "*:*BucketObjectLock*",
    "*:*BucketOwnershipControls",
    "*:*BucketReplication",
    "*:*BucketWebsite",
    "*:*DataProtectionPolicy",
    "*:*Index[PI]*",
    "*:*IntelligentTiering*",
    "*:*InventoryConf*",
    "*:*KmsKey",
    "*:*LogDelivery",
    "*:*MetricsConf*",
    "*:*ObjectLock*",
    "*:*PermissionsBoundary",
    "*:*ReadReplica",
    "*:*RepositoryPolicy",
    "*:*ResourcePolicy",
    "*:*RoleToDBInstance",
    "*:*RoleFromDBInstance",
    "*:*SubnetCidrBlock",
    "*:*Volume",
    "*:*VpnGateway",
    "*:*ToPointInTime",
    "*:*Replicat*",
    "*:*GroupPolicy",
    "*:*UserPolicy",
    "*:*VpcEncryption*",
    "*:ModifyPrivateDns*",
    "*:ModifyVpcTenancy",
    "*:Put*Accelerate*",
    "*:PutBearerToken*",
    "*:PutLogGroupDeletion*",
    "*:PutObjectAcl",
    "*:REST*",
    "*:RetireGrant",
    "*:*Association",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "billing:*",
    "firehose:*",
    "s3tables:*",
    "vpc-lattice:*",
    "vpce:*",
    "s3:DeleteBucket",
    "s3:DeleteBucketEncryption",
    "s3:DeleteBucketLifecycle",
    "s3:DeleteObject",
    "s3:DeleteBucketMetrics*",
]
"""Rights that CloudFormation's handlers ask for what the template does not use; nor is the bucket ever deleted."""


def allowed(action: str) -> bool:
    granted = (pattern for statement in POLICY["Statement"] for pattern in statement["Action"])
    return any(fnmatchcase(action, pattern) for pattern in granted)


def test_a_deployer_may_do_what_the_commands_do_and_hardly_more(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' own calls, and what AWS says that CloudFormation's handlers of the template's types need."""
    monkeypatch.setattr(formation, "resources", lambda name, deleted=False: {"Bucket": "b", "Database": "ads-db"})
    monkeypatch.setattr(formation, "delete", lambda name: None)
    for hosting in ("ECSExpress", "AppRunner"):
        stack.deploy("ads", {"ApiHosting": hosting}, "")
    for command in (stack.status, stack.pause, stack.resume, stack.machine):
        command("ads")
    stack.teardown("ads", ask=lambda _: "ads")
    own = {
        operation.replace("elbv2.", "elasticloadbalancing.").replace(".HeadObject", ".GetObject").replace(".", ":")
        for operation, _ in aws.calls
    }
    # Made by tests/cloud.py, or calls of Docker and of commands that stubs answer here.
    own -= {"rds:CreateDBInstance", "ec2:DescribeImages", "secretsmanager:CreateSecret"}
    assert len(own) > 20
    assert {action for action in own if not allowed(action)} == set()
    for action in ("ecr:PutImage", "ssm:SendCommand", "elasticloadbalancing:ModifyRule", "apprunner:PauseService"):
        assert allowed(action)
    schemas = Path(cfnlint.__file__).parent / "data" / "schemas"
    of_region = json.loads((schemas / "providers" / "us-east-1.json").read_text())
    needed: set[str] = set()
    for kind in {item["Type"] for item in cloud.template()["Resources"].values()}:
        handlers = json.loads((schemas / "resources" / f"{of_region[kind]}.json").read_text()).get("handlers", {})
        for name in {"create", "read", "update", "delete"} & set(handlers):
            needed |= set(handlers[name]["permissions"])
    missing = {action for action in needed if not allowed(action)}
    assert {action for action in missing if not any(fnmatchcase(action, pattern) for pattern in NOT_USED)} == set()
    compact = json.dumps(POLICY, separators=(",", ":"))
    assert len(compact) < 10_240, "a role takes no longer one"
    everything = {s["Sid"] for s in POLICY["Statement"] if s["Resource"] == "*"}
    assert everything == {
        "Look",  # reads what there is
        "NetworkAndMachine",  # what is not made yet has no name
        "EncryptedDisks",  # by AWS's own key
        "RegistryLogin",  # ecr:GetAuthorizationToken knows no resource
        "Api",  # Express Mode and App Runner name what they make
        "Watching",  # Express Mode's alarm
        "Costs",  # of the account
    }
    assert not [action for s in POLICY["Statement"] for action in s["Action"] if action.endswith(":*")]


def test_a_deployer_may_make_every_call_that_stands_in_the_commands() -> None:
    """Read from the source, also what no test comes by. A name is one of an operation wherever a service has it."""
    sources = [PROJECT / "deploy" / f"{name}.py" for name in ("stack", "formation", "release", "express")]
    trees = [ast.parse(file.read_text()) for file in sources]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    services = {
        str(call.args[0].value)
        for call in nodes
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "client"
        if isinstance(call.args[0], ast.Constant)
    }
    assert {"cloudformation", "ce", "elbv2", "iam", "ssm"} <= services
    named = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    needed = set()
    for service in sorted(services):
        client = boto3.client(service, region_name="us-east-1")
        prefix = {"elbv2": "elasticloadbalancing"}.get(service, service)
        needed |= {
            f"{prefix}:{client.meta.method_to_api_mapping[name]}"
            for name in named & set(client.meta.method_to_api_mapping)
        }
    needed = {action.replace("s3:HeadObject", "s3:GetObject") for action in needed} | {"s3:PutObject"}
    assert len(needed) > 30
    assert {action for action in needed if not allowed(action)} == set()


def test_an_instance_is_made_with_the_default_group_of_options() -> None:
    """Which is named og:default:postgres-17: AWS asks for it whenever an instance is made, restored or modified."""
    (database,) = [s for s in POLICY["Statement"] if "rds:CreateDBInstance" in s["Action"]]
    for arn in ("og:default:postgres-17", "db:STACK-database-1abc", "pg:STACK-databaseparameters-1", "snapshot:last"):
        assert any(fnmatchcase(f"arn:aws:rds:us-east-1:1:{arn}", pattern) for pattern in database["Resource"]), arn
    assert not any(fnmatchcase("arn:aws:rds:us-east-1:1:db:other", pattern) for pattern in database["Resource"])


def test_mistakes_are_answered_with_what_would_be_right(aws: Aws, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for arguments, words in {
        ("status", "ads"): "there is no stack ads in us-east-1; make deploy STACK=ads makes one",
        ("status", "Ads_1"): "a stack is named like ads-prod",
        ("deploy", "ads--x"): "a stack is named like ads-prod",
        ("deploy", "ads-"): "a stack is named like ads-prod",
        ("deploy", "ads", "NoticeEmail"): "not NAME=VALUE: NoticeEmail",
    }.items():
        monkeypatch.setattr("sys.argv", ["deploy.stack", *arguments])
        try:
            code: Any = stack.main()
        except SystemExit as wrong:
            code = wrong.code
        assert code == (1 if words.startswith("there") else 2)
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", ["deploy", "status", "pause", "teardown"])
def test_who_has_no_region_or_no_credentials_is_told_how_to_name_them(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """Without moto, which gives some: botocore looks for them in an environment and a home that have none."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(release, "commit", lambda revision="": HEAD)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr("sys.argv", ["deploy.stack", command, "ads"])
    assert stack.main() == 1
    assert "no region: export AWS_DEFAULT_REGION=us-east-1, or aws configure" in capsys.readouterr().err
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    assert stack.main() == 1
    assert "no credentials: aws configure, or export AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_every_target_of_the_makefile_reaches_its_command() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in ("deploy", "image", "machine", "status", "pause", "resume", "teardown"):
        assert f"\n{target}: setup ## " in makefile
