"""The stack on AWS, from a person's machine: `python -m deploy.stack COMMAND STACK`, as the Makefile calls it.

Needs AWS credentials in the SDK's own ways (environment, ~/.aws), a region, git, and for images Docker. Prices are in
docs/deploy.md.
"""

import argparse
import base64
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

RELEASE = Path(__file__).resolve().parent.parent
CA = RELEASE / "deploy" / "ca" / "rds.pem"
CA_URL = "https://truststore.pki.rds.amazonaws.com/{region}/{region}-bundle.pem"
LOOK_EVERY = 5.0
"""Seconds between two looks at what AWS is doing."""


class Refused(Exception):
    """What was asked for cannot be done; the message says why and what would be right."""


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def deploy(stack: str, parameters: dict[str, str], revision: str) -> None:
    """Brings stack, machine and API to the revision: the first time from nothing, later as upgrade or rollback."""
    revision = _full(revision) if revision else _clean_head()
    say(f"deploying {revision[:12]} as stack {stack} in {_region()}, account {_account()}")
    say("cost: about 40 to 75 US dollars a month (docs/deploy.md); `make pause` stops most of it")
    found = _stack(stack)
    if found and found["StackStatus"] == "ROLLBACK_COMPLETE":
        raise Refused(f"{stack} could not be created, and AWS lets it only be deleted: make teardown STACK={stack}")
    if found is None:
        say("the ground: network, bucket, database (the longest: 10 to 15 minutes), secrets, alarms")
        _apply(stack, parameters)
    elif _parameters(found).get("Paused") == "true":
        raise Refused(f"{stack} is paused; make resume STACK={stack} first")
    known = _existing(stack)
    before = known.get("MachineId")
    _upload_release(known["BucketName"], revision)
    image(stack, revision)
    say("the machine and the API")
    _apply(stack, parameters | {"Revision": revision})
    known = _existing(stack)
    if known["MachineId"] == before:
        say("the machine installs the revision")
        _run_on(known["MachineId"], "recommendations-install")
    else:
        say("the machine installs itself now: about 6 minutes; then the next night runs by itself")
    say(f"the API: {known.get('ApiUrl')}/docs")
    say(f"next: make status STACK={stack}")


def image(stack: str, revision: str) -> None:
    """Builds the API's image and pushes it to the stack's repository, tagged with the revision; once."""
    known = outputs(stack)
    if known is None:
        raise Refused(f"there is no stack {stack} yet; make deploy STACK={stack} makes it, and the image")
    repository = known["ImagesUri"].partition("/")[2]
    ecr = boto3.client("ecr")
    with suppress(ecr.exceptions.ImageNotFoundException):
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": revision}])
        say(f"the image {revision[:12]} is in ECR")
        return
    if _head() != revision:
        raise Refused(
            f"there is no image of {revision[:12]} in ECR, and it is not what is checked out: git checkout it"
        )
    if not shutil.which("docker"):
        raise Refused("building the image needs Docker on this machine; nothing was changed on the API")
    _fetch_ca()
    tag = f"{known['ImagesUri']}:{revision}"
    say(f"building and pushing {tag}")
    _call("docker", "build", "--platform", "linux/amd64", "--tag", tag, str(RELEASE))
    token = ecr.get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(token["authorizationToken"]).decode().partition(":")
    registry = known["ImagesUri"].partition("/")[0]
    _call("docker", "login", "--username", user, "--password-stdin", registry, given=password)
    _call("docker", "push", tag)


def status(stack: str) -> None:
    """Prints what runs, what it serves, and which alarms ring. Changes nothing, costs nothing."""
    found = _described(stack)
    known, parameters = _outputs(found), _parameters(found)
    paused = ", paused" if parameters.get("Paused") == "true" else ""
    print(f"stack      {stack}, {found['StackStatus']}{paused}, revision {parameters.get('Revision') or 'none'}")
    print(f"bucket     {known['BucketName']}")
    if machine := known.get("MachineId"):
        instance = boto3.client("ec2").describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]
        print(f"machine    {machine} {instance['InstanceType']}, {instance['State']['Name']}")
    database = boto3.client("rds").describe_db_instances(DBInstanceIdentifier=known["DatabaseId"])["DBInstances"][0]
    print(f"database   {known['DatabaseId']} {database['DBInstanceClass']}, {database['DBInstanceStatus']}")
    if arn := known.get("AppRunnerArn"):
        print(f"API        {boto3.client('apprunner').describe_service(ServiceArn=arn)['Service']['Status']}")
    print(f"           {known.get('ApiUrl', 'no API')}")
    print(f"published  {_newest_publication(stack)}")
    alarms = boto3.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack}-")["MetricAlarms"]
    for alarm in alarms:
        print(f"alarm      {alarm['StateValue']:17} {alarm['AlarmDescription']}")
    if machine:
        print(
            f"pages      aws ssm start-session --target {machine} --document-name AWS-StartPortForwardingSession "
            "--parameters portNumber=8080,localPortNumber=8080\n"
            f"           then http://127.0.0.1:8080, login: aws secretsmanager get-secret-value --secret-id "
            f"{known['LoginSecretName']} --query SecretString --output text"
        )


def pause(stack: str) -> None:
    """Stops what bills by the hour; data, addresses of the bucket and secrets stay."""
    hosting = _parameters(_described(stack))["ApiHosting"]
    say("pausing: the API, the machine and the database stop. About 8 US dollars a month go on for disks and secrets")
    if hosting == "ECSExpress":
        say("Express Mode cannot be stopped, so the API is removed; it comes back under a new address")
    say("AWS starts a stopped database again after 7 days: pause again then")
    _apply(stack, {"Paused": "true"})
    known = _existing(stack)
    if arn := known.get("AppRunnerArn"):
        boto3.client("apprunner").pause_service(ServiceArn=arn)
    if machine := known.get("MachineId"):
        boto3.client("ec2").stop_instances(InstanceIds=[machine])
    with _if_not_in_state("RDS"):
        boto3.client("rds").stop_db_instance(DBInstanceIdentifier=known["DatabaseId"])
    say(f"paused. make resume STACK={stack} starts it again")


def resume(stack: str) -> None:
    """Starts what `pause` stopped; readers find the lists that were published, the next night runs by itself."""
    known = _existing(stack)
    say("resuming: the database (about 5 minutes), the machine, the API. Full cost from now on")
    rds = boto3.client("rds")
    with _if_not_in_state("RDS"):
        rds.start_db_instance(DBInstanceIdentifier=known["DatabaseId"])
    rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=known["DatabaseId"])
    if machine := known.get("MachineId"):
        boto3.client("ec2").start_instances(InstanceIds=[machine])
    if arn := known.get("AppRunnerArn"):
        boto3.client("apprunner").resume_service(ServiceArn=arn)
    _apply(stack, {"Paused": "false"})
    say(f"resumed: {_existing(stack).get('ApiUrl', 'no API')}. Nights missed: docs/deploy.md, replay days")


def teardown(stack: str, ask: Callable[[str], str] = input) -> None:
    """Deletes the stack after asking. The bucket stays, and of the database a last snapshot."""
    known = _existing(stack)
    print(
        f"This deletes the stack {stack} in {_region()}: machine, API, images, secrets, alarms, and the database.\n"
        f"It keeps the bucket {known.get('BucketName', '(none)')} with the logs, and a snapshot of the database;\n"
        f"both cost cents a month until you delete them. Nothing else goes on billing."
    )
    if ask("Type the stack's name to go on: ").strip() != stack:
        raise Refused("nothing was deleted")
    rds = boto3.client("rds")
    if database := known.get("DatabaseId"):
        rds.modify_db_instance(DBInstanceIdentifier=database, DeletionProtection=False, ApplyImmediately=True)
    _delete(stack)
    say("deleted. Left: the bucket (aws s3 rb --force s3://...), the snapshot (aws rds describe-db-snapshots)")


def outputs(stack: str) -> dict[str, str] | None:
    """The stack's outputs; None when there is no such stack."""
    found = _stack(stack)
    return None if found is None else _outputs(found)


def template() -> str:
    return (RELEASE / "deploy" / "template.yaml").read_text()


def pack(target: Path, ca: Path) -> None:
    """Writes the release of the Airflow machine: the project's tracked files, and RDS's certificate authorities."""

    def of_root_for_all(item: tarfile.TarInfo) -> tarfile.TarInfo:
        item.uid = item.gid = 0
        item.uname = item.gname = "root"
        item.mode |= 0o444
        return item

    listed = subprocess.run(["git", "-C", RELEASE, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    with tarfile.open(target, "w:gz") as archive:
        for name in filter(None, listed.split("\0")):
            archive.add(RELEASE / name, name, filter=of_root_for_all)
        archive.add(ca, "deploy/ca/rds.pem", filter=of_root_for_all)


def _upload_release(bucket: str, revision: str) -> None:
    store, key = boto3.client("s3"), f"releases/{revision}.tar.gz"
    try:
        store.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
    else:
        say(f"the release {revision[:12]} is in the bucket")
        return
    if _head() != revision:
        raise Refused(f"{revision[:12]} was never deployed, and is not what is checked out: git checkout it first")
    _fetch_ca()
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as file:
        pack(Path(file.name), CA)
        store.upload_file(file.name, bucket, key)
    say(f"uploaded s3://{bucket}/{key}")


def _fetch_ca() -> None:
    """RDS's certificate authorities, from AWS by its own certificate: once."""
    if not CA.exists():
        part = CA.with_suffix(".part")
        with urllib.request.urlopen(CA_URL.format(region=_region()), timeout=60) as answer:
            part.write_bytes(answer.read())
        part.rename(CA)


def _apply(stack: str, changes: dict[str, str]) -> None:
    """Creates or updates the stack with the parameters; those not named keep their values. Prints what AWS does."""
    cloud, existing = boto3.client("cloudformation"), _stack(stack)
    parameters = _parameters(existing or {}) | changes
    arguments: dict[str, Any] = {
        "StackName": stack,
        "TemplateBody": template(),
        "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    }
    try:
        done = cloud.update_stack(**arguments) if existing else cloud.create_stack(**arguments)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            say("the stack is what it should be")
            return
        raise
    _follow(done["StackId"], "UPDATE" if existing else "CREATE")


def _delete(stack: str) -> None:
    stack_id = _described(stack)["StackId"]
    boto3.client("cloudformation").delete_stack(StackName=stack)
    _follow(stack_id, "DELETE")


def _follow(stack_id: str, doing: str) -> None:
    """Prints the stack's events until it is done. Raises Refused with the first reason when it failed."""
    cloud, told, began = boto3.client("cloudformation"), set(), datetime.now(UTC) - timedelta(seconds=30)
    reason = ""
    while True:
        state = cloud.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"]
        events = cloud.describe_stack_events(StackName=stack_id)["StackEvents"]
        for event in reversed(events):
            name, what = event["LogicalResourceId"], event["ResourceStatus"]
            if event["EventId"] in told or event["Timestamp"] < began:
                continue
            told.add(event["EventId"])
            if what.endswith("_FAILED"):
                reason = reason or f"{name}: {event.get('ResourceStatusReason', what)}"
            if what.endswith(("_COMPLETE", "_FAILED")):
                say(f"  {what:20} {name}")
        if state == f"{doing}_COMPLETE":
            return
        if not state.endswith("_IN_PROGRESS"):
            raise Refused(f"{doing.lower()} of the stack ended as {state}: {reason}")
        time.sleep(LOOK_EVERY)


def _run_on(machine: str, command: str) -> None:
    """Runs the command on the machine, by SSM. Raises Refused with its last words when it fails."""
    ssm = boto3.client("ssm")
    sent = ssm.send_command(
        InstanceIds=[machine],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": [command], "executionTimeout": ["1800"]},
    )["Command"]["CommandId"]
    while True:
        time.sleep(LOOK_EVERY)
        with suppress(ssm.exceptions.InvocationDoesNotExist):
            found = ssm.get_command_invocation(CommandId=sent, InstanceId=machine)
            if found["Status"] == "Success":
                return
            if found["Status"] not in ("Pending", "InProgress", "Delayed"):
                words = found.get("StandardErrorContent") or found.get("StandardOutputContent") or ""
                raise Refused(f"{command} on {machine}: {found['Status']}: {words[-2000:]}")


def _newest_publication(stack: str) -> str:
    now = datetime.now(UTC)
    points = boto3.client("cloudwatch").get_metric_statistics(
        Namespace=f"recommendations/{stack}",
        MetricName="HoursSincePublishedDay",
        StartTime=now - timedelta(hours=3),
        EndTime=now,
        Period=300,
        Statistics=["Minimum"],
    )["Datapoints"]
    if not points:
        return "unknown: the machine has reported nothing for three hours, or nothing is published"
    newest = max(points, key=lambda point: point["Timestamp"])
    day = (newest["Timestamp"] - timedelta(hours=newest["Minimum"] + 12)).date()
    return f"{day}, as reported {now - newest['Timestamp']} ago".partition(".")[0]


def _if_not_in_state(service: str) -> Any:
    """What is stopped cannot be stopped again: that is no failure."""
    client = boto3.client("rds")
    return suppress(client.exceptions.InvalidDBInstanceStateFault)


def _stack(stack: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None when there is no such stack."""
    try:
        found: dict[str, Any] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return found


def _described(stack: str) -> dict[str, Any]:
    """The same of a stack that must be there. Raises Refused when it is not, or has gone meanwhile."""
    found = _stack(stack)
    if found is None:
        raise Refused(f"there is no stack {stack} in {_region()}; make deploy STACK={stack} makes one")
    return found


def _existing(stack: str) -> dict[str, str]:
    """The outputs of a stack that must be there."""
    return _outputs(_described(stack))


def _outputs(found: dict[str, Any]) -> dict[str, str]:
    return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}


def _parameters(found: dict[str, Any]) -> dict[str, str]:
    return {item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", [])}


def _region() -> str:
    region: str | None = boto3.Session().region_name
    if region is None:
        raise Refused("no region: export AWS_DEFAULT_REGION=us-east-1, or aws configure")
    return region


def _account() -> str:
    account: str = boto3.client("sts").get_caller_identity()["Account"]
    return account


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", RELEASE, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _head() -> str:
    return _git("rev-parse", "HEAD")


def _clean_head() -> str:
    if changed := _git("status", "--porcelain"):
        raise Refused(f"what is deployed is a commit; commit or stash first:\n{changed}")
    return _head()


def _full(revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise Refused(f"git knows no revision {revision!r}") from None


def _call(*command: str, given: str | None = None) -> None:
    try:
        subprocess.run(command, input=given, text=True, check=True, stdout=subprocess.DEVNULL if given else None)
    except subprocess.CalledProcessError as error:
        raise Refused(f"{' '.join(command[:2])} failed with status {error.returncode}; its message is above") from None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.stack",
        epilog="Exit status: 0 done, 1 it failed (the message says why), 2 wrong arguments.",
    )
    parser.add_argument("command", choices=["deploy", "image", "status", "pause", "resume", "teardown"])
    parser.add_argument("stack", help="its name: small letters, digits, hyphens")
    parser.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="parameters of deploy/template.yaml (deploy)"
    )
    parser.add_argument("--revision", default="", help="a commit that was deployed before: rolls back (deploy)")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", arguments.stack):
        parser.error(
            f"a stack is named like ads-prod, not {arguments.stack!r}: make {arguments.command} STACK=ads-prod"
        )
    if wrong := [text for text in arguments.parameters if "=" not in text]:
        parser.error(f"not NAME=VALUE: {' '.join(wrong)}")
    try:
        match arguments.command:
            case "deploy":
                given = dict(text.split("=", 1) for text in arguments.parameters)
                deploy(arguments.stack, given, arguments.revision)
            case "image":
                image(arguments.stack, _clean_head())
            case "status":
                status(arguments.stack)
            case "pause":
                pause(arguments.stack)
            case "resume":
                resume(arguments.stack)
            case "teardown":
                teardown(arguments.stack)
    except (Refused, BotoCoreError, ClientError, OSError, EOFError) as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
