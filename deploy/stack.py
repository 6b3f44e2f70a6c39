"""The stack on AWS, from a person's machine: `python -m deploy.stack COMMAND STACK`, as the Makefile calls it.

Needs AWS credentials in the SDK's own ways (environment, ~/.aws) with the rights of deploy/deployer.json, a region, git
and for images Docker. Prices are in docs/deploy.md.
"""

import argparse
import ipaddress
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from pydantic import ValidationError

from deploy import express, formation, release
from deploy.formation import Refused, described, existing, outputs, parameters, region, say, usable
from elt.settings import Settings

IMAGE = "/aws/service/debian/release/12/latest/amd64"
"""The parameter in which Debian publishes its newest image."""
LONGEST_WAIT = 3600.0
"""Seconds that something may take to stop or start; a database that is backed up is waited for."""
LONGEST_NAME = 28
"""Characters of a stack. A role has 64 at most, STACK-ApiInfrastructureRole-RANDOM: of longer ones CloudFormation
takes letters away, so that deploy/deployer.json no longer fits."""
LOG_DAYS = 30
"""Days that the logs are kept which RDS and App Runner write; those of the template's groups are kept as long."""

INSTALL = """\
at=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest
token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $at/api/token) || exit
curl -sSf -H "X-aws-ec2-metadata-token: $token" -o /run/user-data $at/user-data || exit
bash /run/user-data && echo "the machine runs the release" """
"""The user data as they are now, not as they were when the machine was made. Waits for a run that is under way."""

RUNNING = "timeout 300 sh -c 'until systemctl is-active airflow-api-server airflow-scheduler; do sleep 5; done'"


def deploy(stack: str, given: dict[str, str], revision: str) -> None:
    """Brings stack, machine and API to the revision: the first time from nothing, later as upgrade or rollback.

    The machine comes before the API: it migrates, and the API's code may ask for what only the new schema has.
    """
    revision = release.commit(revision)
    say(f"deploying {revision[:12]} as stack {stack} in {region()}, account {_account()}")
    say("cost: about 45 to 80 US dollars a month (docs/deploy.md); `make pause` stops most of it")
    found = usable(stack) if formation.find(stack) else {}
    held = parameters(found)
    if held.get("Paused") == "true":
        raise Refused(f"{stack} is paused; make resume STACK={stack} first")
    _refuse_impossible(stack, held, given)
    if (instance := outputs(found).get("MachineId")) and not _machine_state(instance):
        raise Refused(f"the machine {instance} is lost: make machine STACK={stack} makes a new one; then again")
    made_of = _carried_over(found) if instance else _newest_machine()
    if not found:
        release.demand("docker", "builds the API's image")
        _prepare_account()
        say("the ground: network, bucket, database (the longest: 10 to 15 minutes), secrets, alarms")
        formation.apply(stack, _zones(given) | given)
    known = existing(stack)
    release.upload(known["BucketName"], revision)
    release.image(known["ImagesUri"], revision)
    say("the machine: it installs the release, and migrates the database")
    anew = _made_anew(held, given)
    formation.apply(stack, made_of | {k: v for k, v in given.items() if k not in anew} | {"Revision": revision})
    _start_machine(existing(stack)["MachineId"])  # somebody may have stopped it
    formation.run_on(existing(stack)["MachineId"], INSTALL)
    if (theirs := parameters(described(stack))["Revision"]) != revision:
        raise Refused(f"somebody deployed {theirs[:12]} meanwhile; the API is theirs. make status STACK={stack}")
    say("the API")
    if anew:
        say("from or to the VPC only it is removed and made anew, under another address")
        formation.apply(stack, anew)
    express.settle(existing(stack), parameters(described(stack)))
    formation.apply(stack, {"ApiRevision": revision})
    _finish(stack)
    say(f"deployed. Next: make status STACK={stack}")


def image(stack: str) -> None:
    """Builds the image of what is checked out and pushes it to the stack's repository; once."""
    release.image(outputs(usable(stack))["ImagesUri"], release.commit())


def machine(stack: str) -> None:
    """Replaces the machine, or makes it anew when it is lost: of the newest Debian image and SSM agent."""
    held = parameters(usable(stack))
    revision = held.get("Revision") or held.get("ApiRevision")
    if not revision or held.get("Paused") == "true":
        raise Refused(f"{stack} has no machine to replace: " + ("it is paused" if revision else "make deploy makes it"))
    if "ApiRevision" not in held:
        raise Refused(f"{stack} is of an older template: make deploy STACK={stack} brings it here first")
    say(
        "a new machine. It holds nothing that is not elsewhere; the API answers meanwhile, a night that runs is retried"
    )
    made_of = _newest_machine()
    formation.apply(stack, {"Revision": ""}, as_it_is=True)
    formation.apply(stack, made_of | {"Revision": revision}, as_it_is=True)
    formation.run_on(existing(stack)["MachineId"], INSTALL)
    say(f"the machine runs {revision[:12]}")


def status(stack: str) -> None:
    """Prints what runs, what it serves, and which alarms ring. Changes nothing, costs nothing."""
    found = described(stack)
    known, held, state = outputs(found), parameters(found), found["StackStatus"]
    paused = ", paused" if held.get("Paused") == "true" else ""
    print(f"stack      {stack}, {state}{paused}, revision {held.get('Revision') or 'none'}")
    if held.get("ApiRevision", "") != held.get("Revision", ""):
        print(f"           the API has {held.get('ApiRevision') or 'none'}: the last make deploy did not end; again")
    if state in formation.WAYS_OUT:
        print(f"           {formation.WAYS_OUT[state].format(stack=stack)}")
    print(f"bucket     {known.get('BucketName', 'none')}")
    if instance := known.get("MachineId"):
        print(f"machine    {instance} {_machine_state(instance) or f'is lost: make machine STACK={stack}'}")
    if identifier := known.get("DatabaseId"):
        print(f"database   {identifier} {_database_state(identifier, held) or 'is lost: docs/runbook.md'}")
    if arn := known.get("AppRunnerArn"):
        runner = boto3.client("apprunner")
        with suppress(runner.exceptions.ResourceNotFoundException):
            print(f"API        {runner.describe_service(ServiceArn=arn)['Service']['Status']}")
    print(f"           {known.get('ApiUrl', 'no API')}")
    print(f"published  {_newest_publication(stack)}")
    for alarm in boto3.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack}-")["MetricAlarms"]:
        # Of ads, not of ads-restored: what follows is the template's name, which begins with a capital.
        if alarm["AlarmName"][len(stack) + 1].isupper():
            print(f"alarm      {alarm['StateValue']:17} {alarm['AlarmDescription']}")
    if instance:
        print(
            f"pages      aws ssm start-session --target {instance} --document-name AWS-StartPortForwardingSession "
            "--parameters portNumber=8080,localPortNumber=8080\n"
            f"           then http://127.0.0.1:8080, login: aws secretsmanager get-secret-value --secret-id "
            f"{known['LoginSecretName']} --query SecretString --output text"
        )


def pause(stack: str) -> None:
    """Stops what bills by the hour, and waits until it has stopped; data, bucket and secrets stay. Safe to repeat."""
    held = parameters(usable(stack))
    say("pausing: the API, the machine and the database stop")
    if held.get("ApiHosting") == "ECSExpress":
        say("Express Mode cannot be stopped, so the API is removed; it comes back under a new address")
    formation.apply(stack, {"Paused": "true"}, as_it_is=True)
    known = existing(stack)
    if (instance := known.get("MachineId")) and _machine_state(instance):
        boto3.client("ec2").stop_instances(InstanceIds=[instance])
    if arn := known.get("AppRunnerArn"):
        _bring_api(arn, "PAUSED")
    _bring_database(known["DatabaseId"], "stopped")
    if instance and _machine_state(instance):
        boto3.client("ec2").get_waiter("instance_stopped").wait(InstanceIds=[instance])
    say("paused. Still billed, about 9 US dollars a month: disks, backups, secrets, the bucket, images, alarms")
    say("AWS starts a stopped database again after 7 days: make pause again then")
    say(f"make resume STACK={stack} starts everything")


def resume(stack: str) -> None:
    """Starts what `pause` stopped; readers find the lists that were published, the next night runs by itself."""
    found = usable(stack)
    known, held = outputs(found), parameters(found)
    say("resuming: the database (about 5 minutes), the machine, the API. Full cost from now on")
    _bring_database(known["DatabaseId"], "available")
    if there := (instance := known.get("MachineId", "")) and _machine_state(instance):
        _start_machine(instance)
    if arn := known.get("AppRunnerArn"):
        _bring_api(arn, "RUNNING")
    formation.apply(stack, {"Paused": "false"}, as_it_is=True)
    _finish(stack)
    if there:
        formation.run_on(instance, RUNNING)
        say("resumed. Nights missed: docs/runbook.md, replay days")
    else:
        makes = "machine" if held.get("Revision") or held.get("ApiRevision") else "deploy"
        say(f"no machine: make {makes} STACK={stack}")


def teardown(stack: str, ask: Callable[[str], str] = input) -> None:
    """Deletes the stack after asking, whatever its state. The bucket stays, and of the database a last snapshot."""
    state = described(stack)["StackStatus"]
    if state.startswith("UPDATE_") and state.endswith("_IN_PROGRESS"):
        raise Refused(
            f"{stack} is {state}: AWS deletes none that is just changed; again when make status says COMPLETE"
        )
    made = formation.resources(stack)
    print(
        f"This deletes the stack {stack} in {region()}: machine, API, images, secrets, alarms, logs, the database.\n"
        f"It keeps the bucket {made.get('Bucket', '(none)')} with the logs, and a snapshot of the database;\n"
        f"both cost cents a month until you delete them. Nothing else goes on billing."
    )
    if ask("Type the stack's name to go on: ").strip() != stack:
        raise Refused("nothing was deleted")
    if identifier := made.get("Database"):
        _unprotect(identifier)
    groups = list(_log_groups(formation.resources(stack, deleted=True)))
    formation.delete(stack)
    for group in groups:
        boto3.client("logs").delete_log_group(logGroupName=group)
    say(f"deleted. Left: the bucket (aws s3 rb --force s3://{made.get('Bucket')}), and the snapshot, from which")
    say("make deploy PARAMETERS=DatabaseSnapshot=NAME makes a new stack: aws rds describe-db-snapshots names it")


def _unprotect(identifier: str) -> None:
    """Lets the database be deleted with a last snapshot, if there is one."""
    rds = boto3.client("rds")
    with suppress(rds.exceptions.DBInstanceNotFoundFault):
        found = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]
        if found["DBInstanceStatus"] in ("stopped", "stopping"):
            say("the database is stopped: it is started for its last snapshot, about 5 minutes")
            _bring_database(identifier, "available")
        if found["DeletionProtection"]:
            rds.modify_db_instance(DBInstanceIdentifier=identifier, DeletionProtection=False, ApplyImmediately=True)


def _refuse_impossible(stack: str, held: dict[str, str], given: dict[str, str]) -> None:
    """What CloudFormation would find out late, or do wrong."""
    if own := sorted({"Revision", "ApiRevision", "Paused"} & set(given)):
        raise Refused(f"{', '.join(own)}: these are set by make deploy REVISION=.., make pause and make resume")
    known = formation.constraints()
    if unknown := sorted(set(given) - set(known)):
        raise Refused(f"no parameter {', '.join(unknown)}; the parameters are {', '.join(sorted(known))}")
    for name, value in given.items():
        if known[name] and value not in known[name]:
            raise Refused(f"{name} is one of {', '.join(known[name])}, not {value!r}")
    if not held and len(stack) > LONGEST_NAME:
        raise Refused(f"a stack's name has at most {LONGEST_NAME} characters, {stack} has {len(stack)}")
    wanted = held | given
    hosting, networks = wanted.get("ApiHosting", "ECSExpress"), wanted.get("ApiNetworks", "0.0.0.0/0")
    if hosting == "AppRunner":
        if region() not in (there := boto3.Session().get_available_regions("apprunner")):
            raise Refused(
                f"App Runner is not in {region()}, but in {', '.join(there)}; elsewhere ApiHosting=ECSExpress"
            )
        if networks != "0.0.0.0/0" or wanted.get("ApiDomain"):
            raise Refused(
                "ApiNetworks and ApiDomain need ApiHosting=ECSExpress: App Runner has no security group of its own to "
                "name networks in, and wants its domain's records from whoever has the domain"
            )
    if bool(wanted.get("ApiDomain")) != bool(wanted.get("ApiCertificate")):
        raise Refused("ApiDomain and ApiCertificate belong together: the name, and its certificate's ARN in ACM")
    for name in ("DatabaseStorage", "DatabaseStorageMost", "PostgresVersion"):
        if not wanted.get(name, "0").isdecimal():
            raise Refused(f"{name} is a whole number, not {wanted[name]!r}")
    first, most = int(wanted.get("DatabaseStorage", 20)), int(wanted.get("DatabaseStorageMost", 100))
    if 10 * most < 11 * first:
        raise Refused(f"DatabaseStorageMost is at least a tenth more than DatabaseStorage, as RDS wants it, not {most}")
    if int(wanted.get("PostgresVersion", 17)) < int(held.get("PostgresVersion", 17)):
        raise Refused(f"PostgreSQL goes forward only; {stack} has {held['PostgresVersion']}")
    for name in ("DatabaseSnapshot", "Zones"):
        if held and given.get(name, held.get(name, "")) != held.get(name, ""):
            raise Refused(f"{name} is for a new stack: it would replace what {stack} has. make deploy STACK=another")
    _refuse_settings(given.get("MoreSettings", ""))
    _refuse_database(held, given)
    for network in filter(None, networks.split(",")):
        try:
            ipaddress.IPv4Network(network)
        except ValueError as error:
            raise Refused(f"ApiNetworks has networks like 192.0.2.0/24, not {network}: {error}") from None
        if "/" not in network:
            raise Refused(f"ApiNetworks has networks like 192.0.2.0/24, not {network}: one address is {network}/32")


OF_THE_TEMPLATE = {
    *("database_url", "git_revision", "advertisers_uri", "product_views_uri", "ads_views_uri", "intermediate_uri"),
    *("log_date_format", "keep_days"),
}
"""Settings of the pipeline that the template gives."""


def _refuse_settings(text: str) -> None:
    """Refuses what elt/settings.py would refuse on the machine, when the night needs it."""
    more = dict(item.partition("=")[::2] for item in text.split(",") if item)
    free = sorted(name.upper() for name in set(Settings.model_fields) - OF_THE_TEMPLATE)
    if unknown := sorted(set(more) - set(free)):
        raise Refused(f"MoreSettings has NAME=value, of {', '.join(free)}, not {', '.join(unknown)}")
    given: dict[str, Any] = {name: "s3://bucket/key" for name in OF_THE_TEMPLATE if name.endswith("_uri")}
    given |= {name.lower(): value for name, value in more.items()}
    try:
        Settings(**given)
    except ValidationError as error:
        told = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        raise Refused(f"MoreSettings: {told}") from None


def _refuse_database(held: dict[str, str], given: dict[str, str]) -> None:
    """What would be found out when everything else of a new stack is made, and is then undone."""
    rds = boto3.client("rds")
    if (snapshot := given.get("DatabaseSnapshot")) and not held:
        try:
            rds.describe_db_snapshots(DBSnapshotIdentifier=snapshot)
        except rds.exceptions.DBSnapshotNotFoundFault:
            raise Refused(
                f"there is no snapshot {snapshot} in {region()}; aws rds describe-db-snapshots names what there is"
            ) from None
    if kind := given.get("DatabaseInstanceClass"):
        offered = rds.describe_orderable_db_instance_options(Engine="postgres", DBInstanceClass=kind, MaxRecords=20)
        if not offered["OrderableDBInstanceOptions"]:
            raise Refused(f"RDS offers no PostgreSQL on {kind} in {region()}; it is called like db.t4g.small")
    if (zones := given.get("Zones")) and len(set(zones.split(","))) != 2:
        raise Refused(f"Zones is two of {region()}, like {region()}a,{region()}b, not {zones}")


def _made_anew(held: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """What is to be applied while there is no API: from or to the VPC only it cannot be changed in place."""
    networks = held.get("ApiNetworks", ""), given.get("ApiNetworks", held.get("ApiNetworks", ""))
    if not held.get("ApiRevision") or all(networks) or not any(networks):
        return {}
    return {name: given[name] for name in ("ApiHosting", "ApiNetworks") if name in given} | {"ApiRevision": ""}


def _prepare_account() -> None:
    """What an account that never used ECS lacks; Express Mode can not be created without."""
    iam = boto3.client("iam")
    try:
        iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
        say("made ECS's service-linked role, once for this account")
    except iam.exceptions.InvalidInputException as error:
        if "has been taken" not in str(error):
            raise


def _zones(given: dict[str, str]) -> dict[str, str]:
    """Two zones that have the machine's type: not every zone of a region has every one."""
    ec2 = boto3.client("ec2")
    kind = given.get("AirflowInstanceType", "t3.small")
    offered = ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [kind]}]
    )["InstanceTypeOfferings"]
    usual = ec2.describe_availability_zones(Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])
    names = {zone["ZoneName"] for zone in usual["AvailabilityZones"] if zone["State"] == "available"}
    chosen = sorted(names & {item["Location"] for item in offered})[:2]
    if len(chosen) < 2:
        raise Refused(
            f"{region()} has {kind} in fewer than two zones: {', '.join(chosen) or 'none'}; choose another type"
        )
    return {"Zones": ",".join(chosen)}


def _newest_machine() -> dict[str, str]:
    """What a new machine is made of. Kept in the parameters, so that nothing but a new machine changes it."""
    found = boto3.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]
    version, digest = release.agent()
    say(f"Debian image {found}, SSM agent {version}, signed by AWS")
    return {"AirflowImage": found, "AgentVersion": version, "AgentSha256": digest}


def _carried_over(found: dict[str, Any]) -> dict[str, str]:
    """What a stack of an older template has under another name: without it API and machine would be made anew."""
    held = parameters(found)
    resolved = {i["ParameterKey"]: i["ResolvedValue"] for i in found.get("Parameters", []) if "ResolvedValue" in i}
    return resolved | ({} if "ApiRevision" in held else {"ApiRevision": held["Revision"]})


def _finish(stack: str) -> None:
    """What AWS makes beside the stack's own, brought to what the stack says."""
    known, made = existing(stack), formation.resources(stack)
    express.settle(known, parameters(described(stack)))
    for group in _log_groups(made):
        boto3.client("logs").put_retention_policy(logGroupName=group, retentionInDays=LOG_DAYS)
    _count_by_tag()
    if url := known.get("ApiUrl"):
        say(f"the API: {url}/docs")


def _count_by_tag() -> None:
    """Has AWS count costs by the stack's tag, without which the budget sees none. Says so when it may not."""
    tag = {"TagKey": formation.TAG, "Status": "Active"}
    with suppress(ClientError):
        costs = boto3.client("ce", region_name="us-east-1")
        if not costs.update_cost_allocation_tags_status(CostAllocationTagsStatus=[tag]).get("Errors"):
            return
    say(f"the budget sees nothing yet: AWS knows the tag {formation.TAG} a day after its first use. Deploy again then,")
    say("or activate it in Billing, Cost allocation tags (in an organization: in its management account)")


def _log_groups(made: dict[str, str]) -> Iterator[str]:
    """The log groups that RDS and App Runner make for themselves, and keep for ever."""
    prefixes = [f"/aws/rds/instance/{made['Database']}/"] if "Database" in made else []
    prefixes += [f"/aws/apprunner/{made['ApiOnAppRunner'].split('/')[1]}/"] if "ApiOnAppRunner" in made else []
    logs = boto3.client("logs")
    for prefix in prefixes:
        for group in logs.describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]:
            yield group["logGroupName"]


def _machine_state(instance: str) -> str:
    """Its type and state; empty when it is lost."""
    try:
        found = boto3.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
            raise
        return ""
    state = found["State"]["Name"]
    return "" if state in ("terminated", "shutting-down") else f"{found['InstanceType']}, {state}"


def _database_state(identifier: str, held: dict[str, str]) -> str:
    """Its class, storage and state; empty when it is lost, as half way through a teardown."""
    rds = boto3.client("rds")
    with suppress(rds.exceptions.DBInstanceNotFoundFault):
        found = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]
        storage = f"{found.get('AllocatedStorage')} of at most {held.get('DatabaseStorageMost')} GB"
        return f"{found['DBInstanceClass']}, {storage}, {found['DBInstanceStatus']}"
    return ""


def _start_machine(instance: str) -> None:
    """Starts the machine as soon as it can be: one that is still stopping is waited for."""
    for _ in _looks(f"the machine {instance} does not start"):
        try:
            boto3.client("ec2").start_instances(InstanceIds=[instance])
        except ClientError as error:
            if error.response["Error"]["Code"] != "IncorrectInstanceState":
                raise
        else:
            return


def _bring_database(identifier: str, wanted: str) -> None:
    """Stops or starts the database as soon as it can be, and waits until it has. `wanted`: stopped, available."""
    rds = boto3.client("rds")
    act, begins = (rds.stop_db_instance, "available") if wanted == "stopped" else (rds.start_db_instance, "stopped")
    for _ in _looks(f"the database {identifier} is not {wanted}"):
        state = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]["DBInstanceStatus"]
        if state == wanted:
            return
        if state == begins:
            # It may have begun something else meanwhile, a backup: then it is looked at again.
            with suppress(rds.exceptions.InvalidDBInstanceStateFault):
                act(DBInstanceIdentifier=identifier)
        elif state in ("failed", "storage-full", "inaccessible-encryption-credentials"):
            raise Refused(f"the database {identifier} is {state}: docs/runbook.md")


def _bring_api(arn: str, wanted: str) -> None:
    """The same of App Runner's service. `wanted`: PAUSED, RUNNING."""
    runner = boto3.client("apprunner")
    act, begins = (runner.pause_service, "RUNNING") if wanted == "PAUSED" else (runner.resume_service, "PAUSED")
    for _ in _looks(f"the API is not {wanted}"):
        state = runner.describe_service(ServiceArn=arn)["Service"]["Status"]
        if state == wanted:
            return
        if state == begins:
            with suppress(runner.exceptions.InvalidStateException):
                act(ServiceArn=arn)
        elif state != "OPERATION_IN_PROGRESS":
            raise Refused(f"the API is {state}: App Runner's page says why")


def _looks(otherwise: str) -> Iterator[None]:
    """One look after another until the caller stops. Raises Refused when it takes too long."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        yield
        time.sleep(formation.LOOK_EVERY)
    raise Refused(f"{otherwise} after {LONGEST_WAIT / 60:.0f} minutes; again")


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


def _account() -> str:
    account: str = boto3.client("sts").get_caller_identity()["Account"]
    return account


def main() -> int:
    commands: dict[str, Callable[..., None]] = {
        command.__name__: command for command in (deploy, image, machine, status, pause, resume, teardown)
    }
    parser = argparse.ArgumentParser(
        prog="python -m deploy.stack",
        epilog="Exit status: 0 done, 1 it failed (the message says why), 2 wrong arguments, 130 Ctrl-C.",
    )
    parser.add_argument("command", choices=commands)
    parser.add_argument("stack", help="its name: small letters, digits, hyphens")
    parser.add_argument(
        "parameters", nargs="*", metavar="NAME=VALUE", help="parameters of deploy/template.yaml (deploy)"
    )
    parser.add_argument("--revision", default="", help="any commit, for example one to roll back to (deploy)")
    arguments = parser.parse_args()
    if not re.fullmatch(r"(?=.{1,41}$)[a-z][a-z0-9]*(-[a-z0-9]+)*", arguments.stack):
        parser.error(
            f"a stack is named like ads-prod, not {arguments.stack!r}: make {arguments.command} STACK=ads-prod"
        )
    if wrong := [text for text in arguments.parameters if "=" not in text]:
        parser.error(f"not NAME=VALUE: {' '.join(wrong)}")
    given: list[Any] = []
    if arguments.command == "deploy":
        given = [dict(text.split("=", 1) for text in arguments.parameters), arguments.revision]
    try:
        region()
        commands[arguments.command](arguments.stack, *given)
    except KeyboardInterrupt:
        print(
            f"\n{arguments.command}: stopped; AWS ends what it has begun. The same command then does the rest",
            file=sys.stderr,
        )
        return 130
    except NoCredentialsError:
        print(f"{arguments.command}: no credentials: aws configure, or export AWS_ACCESS_KEY_ID=..", file=sys.stderr)
        return 1
    except (Refused, BotoCoreError, ClientError, OSError, EOFError, ValueError) as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
