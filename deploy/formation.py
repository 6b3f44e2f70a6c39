"""One CloudFormation stack: what it is, and bringing it to what deploy/template.yaml says."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

TEMPLATE = Path(__file__).resolve().parent / "template.yaml"
TAG = "recommendations"
"""Of everything in a stack, with its name; the budget counts by it."""
LOOK_EVERY = 5.0
"""Seconds between two looks at what AWS is doing."""

WAYS_OUT = {
    "ROLLBACK_COMPLETE": "it could not be created, and AWS lets it only be deleted: make teardown STACK={stack}",
    "ROLLBACK_FAILED": "it could not be created, nor be undone: make teardown STACK={stack}",
    "CREATE_FAILED": "it could not be created: make teardown STACK={stack}",
    "REVIEW_IN_PROGRESS": "somebody made a change set of it and nothing else: make teardown STACK={stack}",
    "DELETE_FAILED": "it is half deleted: make teardown STACK={stack} tries again, and says what AWS would not delete",
    "IMPORT_ROLLBACK_FAILED": "somebody's import into it could not be undone: make teardown STACK={stack}",
    "UPDATE_FAILED": "its last change stopped half way: aws cloudformation rollback-stack --stack-name {stack}",
    "UPDATE_ROLLBACK_FAILED": "its last change could not be undone: mend what `make status` shows, then "
    "aws cloudformation continue-update-rollback --stack-name {stack}, then again",
}
"""Of the states in which a stack takes no change."""


class Refused(Exception):
    """What was asked for cannot be done; the message says why and what would be right."""


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def region() -> str:
    found: str | None = boto3.Session().region_name
    if found is None:
        raise Refused("no region: export AWS_DEFAULT_REGION=us-east-1, or aws configure")
    return found


def find(stack: str) -> dict[str, Any] | None:
    """The stack as CloudFormation describes it; None when there is no such stack."""
    try:
        found: dict[str, Any] = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return found


def described(stack: str) -> dict[str, Any]:
    """The same of a stack that must be there. Raises Refused when it is not, or has gone meanwhile."""
    found = find(stack)
    if found is None:
        raise Refused(f"there is no stack {stack} in {region()}; make deploy STACK={stack} makes one")
    return found


def usable(stack: str) -> dict[str, Any]:
    """The same of a stack that takes changes. Raises Refused with the way out of the state that it is in."""
    found = described(stack)
    state = found["StackStatus"]
    if state in WAYS_OUT:
        raise Refused(f"{stack} is {state}: {WAYS_OUT[state].format(stack=stack)}")
    if state.endswith("_IN_PROGRESS"):
        raise Refused(f"{stack} is {state}: somebody changes it just now; again when make status says COMPLETE")
    return found


def outputs(found: dict[str, Any]) -> dict[str, str]:
    return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}


def existing(stack: str) -> dict[str, str]:
    """The outputs of a stack that must be there."""
    return outputs(described(stack))


def parameters(found: dict[str, Any]) -> dict[str, str]:
    return {item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", [])}


def resources(stack: str, deleted: bool = False) -> dict[str, str]:
    """Physical ids by logical ids: also of a stack that failed, which has no outputs; and of what is deleted."""
    found = boto3.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return {
        item["LogicalResourceId"]: item["PhysicalResourceId"]
        for item in found
        if item.get("PhysicalResourceId") and (deleted or item["ResourceStatus"] != "DELETE_COMPLETE")
    }


def template() -> str:
    return TEMPLATE.read_text()


def constraints() -> dict[str, list[str]]:
    """The template's parameters, each with its values when it has but some."""
    found = boto3.client("cloudformation").get_template_summary(TemplateBody=template())["Parameters"]
    return {item["ParameterKey"]: item.get("ParameterConstraints", {}).get("AllowedValues", []) for item in found}


def apply(stack: str, changes: dict[str, str], *, as_it_is: bool = False) -> None:
    """Creates or updates the stack with the parameters; those not named keep their values. Prints what AWS does.

    `as_it_is`: nothing but these parameters, whatever template is checked out here. Raises Refused when a parameter is
    not the template's, when the stack takes no changes, and when the change fails.
    """
    cloud = boto3.client("cloudformation")
    found = usable(stack) if find(stack) else None
    known = set(parameters(found or {})) if as_it_is else constraints()
    if wrong := sorted(set(changes) - set(known)):
        raise Refused(f"no parameter {', '.join(wrong)}; the parameters are {', '.join(sorted(known))}")
    given = {name: value for name, value in (parameters(found or {}) | changes).items() if name in known}
    arguments: dict[str, Any] = {
        "StackName": stack,
        **({"UsePreviousTemplate": True} if as_it_is else {"TemplateBody": template()}),
        "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        "Tags": [{"Key": TAG, "Value": stack}],
    }
    try:
        done = cloud.update_stack(**arguments) if found else cloud.create_stack(**arguments)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            say("the stack is what it should be")
            return
        raise
    _follow(done["StackId"], "UPDATE" if found else "CREATE")


def delete(stack: str) -> None:
    stack_id = described(stack)["StackId"]
    boto3.client("cloudformation").delete_stack(StackName=stack)
    _follow(stack_id, "DELETE")


def _follow(stack_id: str, doing: str) -> None:
    """Prints the stack's events until it is done. Raises Refused with a failure's first reason, and the way out."""
    cloud, told, began = boto3.client("cloudformation"), set(), datetime.now(UTC) - timedelta(seconds=30)
    reason = ""
    while True:
        found = cloud.describe_stacks(StackName=stack_id)["Stacks"][0]
        state = found["StackStatus"]
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
            way_out = WAYS_OUT.get(state, "nothing was changed; mend that and try again").format(
                stack=found["StackName"]
            )
            raise Refused(f"{doing.lower()} of the stack ended as {state}: {reason}\n{way_out}")
        time.sleep(LOOK_EVERY)


def run_on(machine: str, command: str, online_within: float = 900) -> None:
    """Runs the command on the machine, by its SSM agent, which may take a while to come online (seconds).

    Raises Refused with the command's last words when it fails; with the machine's when its agent does not come.
    """
    ssm, deadline = boto3.client("ssm"), time.monotonic() + online_within
    while True:
        try:
            sent = ssm.send_command(
                InstanceIds=[machine],
                DocumentName="AWS-RunShellScript",
                Parameters={"commands": command.splitlines(), "executionTimeout": ["1800"]},
            )["Command"]["CommandId"]
            break
        except ssm.exceptions.InvalidInstanceId:
            if time.monotonic() > deadline:
                raise Refused(
                    f"the SSM agent of {machine} did not come online in {online_within / 60:.0f} minutes; "
                    f"make machine makes a new one. The machine's last words:\n{_console(machine)}"
                ) from None
        time.sleep(LOOK_EVERY)
    while True:
        time.sleep(LOOK_EVERY)
        with suppress(ssm.exceptions.InvocationDoesNotExist):
            found = ssm.get_command_invocation(CommandId=sent, InstanceId=machine)
            if found["Status"] == "Success":
                return
            if found["Status"] not in ("Pending", "InProgress", "Delayed"):
                words = "".join(found.get(f"Standard{of}Content") or "" for of in ("Output", "Error"))
                name = command.splitlines()[-1]
                raise Refused(f"{name} on {machine}: {found['Status']}. Its last words:\n{words[-2000:]}")


def _console(machine: str) -> str:
    """The end of what the machine wrote to its console, user data's words included."""
    answer = boto3.client("ec2").get_console_output(InstanceId=machine, Latest=True)
    return "\n".join((answer.get("Output") or "(none yet)").splitlines()[-20:])
