"""`make deploy` and its companions, against moto; without an account nobody has seen them on AWS.

moto creates the template as far as it goes (tests/cloud.py); Docker, which the build machines lack, is a script that
writes down how it was called.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cloud
import pytest
from moto import mock_aws

from deploy import stack
from elt.settings import PROJECT

pytestmark = [pytest.mark.model_blind, pytest.mark.filterwarnings("ignore:Tried to parse")]
HEAD = "c" * 40


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty account; yields the file of Docker's calls."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(stack, "LOOK_EVERY", 0)
    monkeypatch.setattr(stack, "_head", lambda: HEAD)
    monkeypatch.setattr(stack, "_clean_head", lambda: HEAD)
    monkeypatch.setattr(stack, "_full", lambda revision: revision)
    monkeypatch.setattr(stack, "CA", tmp_path / "rds.pem")
    (tmp_path / "rds.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    docker, calls = tmp_path / "bin" / "docker", tmp_path / "docker.calls"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$*" >>{calls}\n[ "$1" = login ] && cat >>{calls}.given\nexit 0\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    with mock_aws():
        secrets = cloud.make_secrets()
        boto3.client("rds").create_db_instance(
            DBInstanceIdentifier="ads-db", DBInstanceClass="db.t4g.micro", Engine="postgres", DeletionProtection=True
        )
        apply = stack._apply

        def apply_in_moto(name: str, changes: dict[str, str]) -> None:
            wanted = stack._parameters(stack._stack(name) or {}) | changes
            stand_ins = secrets | {"Database": "ads-db"}
            monkeypatch.setattr(stack, "template", lambda: cloud.for_moto(stand_ins, **wanted))
            apply(name, changes)

        monkeypatch.setattr(stack, "_apply", apply_in_moto)
        yield calls


def state_of_the_machine() -> str:
    found = boto3.client("ec2").describe_instances()["Reservations"][0]["Instances"][0]
    return found["State"]["Name"]


def state_of_the_database() -> str:
    return boto3.client("rds").describe_db_instances()["DBInstances"][0]["DBInstanceStatus"]


def test_from_an_empty_account_to_the_machine_and_the_image(aws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack.deploy("ads", {"NoticeEmail": "me@example.com"}, "")
    known = stack.outputs("ads")
    assert known
    calls = aws.read_text().splitlines()
    assert calls[0].startswith("build --platform linux/amd64")
    assert calls[1].startswith("login --username AWS --password-stdin")
    assert calls[2] == f"push {known['ImagesUri']}:{HEAD}"
    keys = boto3.client("s3").list_objects_v2(Bucket=known["BucketName"])["Contents"]
    assert [item["Key"] for item in keys] == [f"releases/{HEAD}.tar.gz"]
    assert stack._parameters(stack._described("ads"))["Revision"] == HEAD
    assert state_of_the_machine() == "running"
    told = capsys.readouterr().out
    assert "cost: about 40 to 75 US dollars a month" in told
    given = Path(f"{aws}.given").read_text()
    assert given not in told + aws.read_text()


def test_deploying_again_upgrades_the_machine_and_an_old_revision_rolls_back(
    aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deploy("ads", {"NoticeEmail": "me@example.com"}, "")
    run: list[str] = []
    monkeypatch.setattr(stack, "_run_on", lambda machine, command: run.append(command))
    push(stack.outputs("ads"), HEAD)
    monkeypatch.setattr(stack, "_head", lambda: "d" * 40)
    monkeypatch.setattr(stack, "_clean_head", lambda: "d" * 40)
    stack.deploy("ads", {}, "")
    assert stack._parameters(stack._described("ads"))["Revision"] == "d" * 40
    assert stack._parameters(stack._described("ads"))["NoticeEmail"] == "me@example.com"
    before = aws.read_text()
    stack.deploy("ads", {}, HEAD)
    assert stack._parameters(stack._described("ads"))["Revision"] == HEAD
    assert aws.read_text() == before, "what is in ECR is not built again"
    assert run == ["recommendations-install"] * 2


def push(known: dict[str, str] | None, tag: str) -> None:
    assert known
    repository = known["ImagesUri"].partition("/")[2]
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"})
    boto3.client("ecr").put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)


def test_pause_stops_what_bills_by_the_hour_and_resume_starts_it(aws: Path, capsys: Any) -> None:
    stack.deploy("ads", {}, "")
    stack.pause("ads")
    stack.pause("ads")
    assert (state_of_the_machine(), state_of_the_database()) == ("stopped", "stopped")
    made = {
        item["LogicalResourceId"]
        for item in boto3.client("cloudformation").list_stack_resources(StackName="ads")["StackResourceSummaries"]
    }
    assert "ApiExecutionRole" not in made
    assert {"Machine", "Bucket"} <= made
    with pytest.raises(stack.Refused, match="make resume STACK=ads"):
        stack.deploy("ads", {}, "")
    stack.status("ads")
    assert "paused" in capsys.readouterr().out
    stack.resume("ads")
    assert (state_of_the_machine(), state_of_the_database()) == ("running", "available")


def test_teardown_asks_and_says_what_it_keeps(
    aws: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto cannot delete a network that it made, so the deletion itself is only noted."""
    deleted: list[str] = []
    monkeypatch.setattr(stack, "_delete", deleted.append)
    stack.deploy("ads", {}, "")
    bucket = (stack.outputs("ads") or {})["BucketName"]
    with pytest.raises(stack.Refused, match="nothing was deleted"):
        stack.teardown("ads", ask=lambda _: "yes")
    assert deleted == []
    stack.teardown("ads", ask=lambda _: "ads")
    told = capsys.readouterr().out
    assert f"keeps the bucket {bucket}" in told
    assert deleted == ["ads"]
    assert boto3.client("rds").describe_db_instances()["DBInstances"][0]["DeletionProtection"] is False


def test_a_stack_that_another_deletes_while_one_is_asked_is_refused(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.deploy("ads", {}, "")
    look = stack._stack
    answers = iter([look("ads"), None])
    monkeypatch.setattr(stack, "_stack", lambda _: next(answers))
    with pytest.raises(stack.Refused, match="there is no stack ads"):
        stack.teardown("ads", ask=lambda _: "ads")


def test_mistakes_are_answered_with_what_would_be_right(
    aws: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for arguments, words in {
        ("status", "ads"): "there is no stack ads in us-east-1; make deploy STACK=ads makes one",
        ("status", "Ads_1"): "a stack is named like ads-prod",
        ("deploy", "ads", "NoticeEmail"): "not NAME=VALUE: NoticeEmail",
    }.items():
        monkeypatch.setattr("sys.argv", ["deploy.stack", *arguments])
        try:
            code: Any = stack.main()
        except SystemExit as wrong:
            code = wrong.code
        assert code == (1 if words.startswith("there") else 2)
        assert words in capsys.readouterr().err
    stack.deploy("ads", {}, "")
    monkeypatch.setattr(stack, "_head", lambda: "e" * 40)
    with pytest.raises(stack.Refused, match="git checkout it"):
        stack.deploy("ads", {}, "f" * 40)
    keys = boto3.client("s3").list_objects_v2(Bucket=(stack.outputs("ads") or {})["BucketName"])["Contents"]
    assert [item["Key"] for item in keys] == [f"releases/{HEAD}.tar.gz"], "what is checked out is not that revision"


def test_every_target_of_the_makefile_reaches_its_command() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in ("deploy", "image", "status", "pause", "resume", "teardown"):
        assert f"\n{target}: setup ## " in makefile
