"""The stack of deploy/template.yaml in moto, as far as it goes."""

import json
import re
from functools import lru_cache
from typing import Any

import boto3
from cfnlint.decode import cfn_yaml

from elt.settings import PROJECT

TEMPLATE = PROJECT / "deploy" / "template.yaml"
REVISION = "a" * 40

SECRETS = ("PipelineSecret", "ApiSecret", "AnalystSecret", "MetadataSecret", "LoginSecret", "FernetSecret")

NOT_IN_MOTO = {
    "Database": "moto manages no master password in CloudFormation, and fails on the reference to a parameter group",
    "BucketPolicy": "moto's CloudFormation knows no AWS::S3::BucketPolicy",
    "NoticesPolicy": "moto's CloudFormation knows no AWS::SNS::TopicPolicy",
    "NoticesEmail": "moto's CloudFormation knows no AWS::SNS::Subscription",
    "PublicationAge": "moto's CloudFormation knows no AWS::Logs::MetricFilter",
    "NoPublicationToday": "moto's CloudFormation knows no AWS::CloudWatch::Alarm",
    "DatabaseIsFull": "likewise",
    "AppRunnerErrors": "likewise",
    "ExpressErrors": "likewise",
    "Budget": "moto's CloudFormation knows no AWS::Budgets::Budget",
    "ApiConnector": "moto knows no AWS::AppRunner::VpcConnector",
    "ApiOnAppRunner": "moto knows no AWS::AppRunner::Service",
    "ApiOnExpress": "moto knows no AWS::ECS::ExpressGatewayService",
} | dict.fromkeys(SECRETS, "moto's CloudFormation knows no AWS::SecretsManager::Secret; make_secrets makes them")
"""Resources that moto does not create, and why."""


@lru_cache
def _text() -> str:
    return json.dumps(cfn_yaml.load(str(TEMPLATE)))


def template() -> dict[str, Any]:
    """The template with every function in its long form."""
    return json.loads(_text())


def create_stack(name: str, hosting: str, stand_ins: dict[str, str], **parameters: str) -> dict[str, str]:
    """Creates in moto what it can; returns the physical ids. `stand_ins` are values of what the others would have."""
    cloud = boto3.client("cloudformation")
    parameters = {"Revision": REVISION, "ApiHosting": hosting, "NoticeEmail": "someone@example.com"} | parameters
    cloud.create_stack(
        StackName=name,
        TemplateBody=for_moto(stand_ins, **parameters),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    resources = cloud.list_stack_resources(StackName=name)["StackResourceSummaries"]
    return {item["LogicalResourceId"]: item.get("PhysicalResourceId", "") for item in resources}


def for_moto(stand_ins: dict[str, str], **parameters: str) -> str:
    """The template without what moto does not make, and with an image that moto has.

    What the parameters' conditions leave out is taken out: moto looks at conditions when it creates, not at an update.
    """
    text = template()
    given = {name: item["Default"] for name, item in text["Parameters"].items()} | parameters
    deployed, awake = given["Revision"] != "", given["Revision"] != "" and given["Paused"] == "false"
    holds = {
        "Deployed": deployed,
        "Awake": awake,
        "OnAppRunner": deployed and given["ApiHosting"] == "AppRunner",
        "OnExpress": awake and given["ApiHosting"] == "ECSExpress",
        "HasApi": awake,
        "HasEmail": given["NoticeEmail"] != "",
    }
    for part in ("Resources", "Outputs"):
        for name, item in list(text[part].items()):
            if name in NOT_IN_MOTO or not holds.get(item.get("Condition"), True) or name.endswith("Arn"):
                text[part].pop(name)
    text["Parameters"]["AirflowImage"] = {"Type": "String", "Default": _image()}
    return json.dumps(_without(text, stand_ins))


@lru_cache
def _image() -> str:
    """One of the images that moto always has; to list them takes seconds."""
    return boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]


def make_secrets() -> dict[str, str]:
    """Makes the template's secrets as it says they are generated; returns their ARNs by name."""
    manager, made, resources = boto3.client("secretsmanager"), {}, template()["Resources"]
    for name in SECRETS:
        how = resources[name]["Properties"]["GenerateSecretString"]
        password = manager.get_random_password(
            PasswordLength=how["PasswordLength"], ExcludePunctuation=how["ExcludePunctuation"]
        )["RandomPassword"]
        value = json.loads(how["SecretStringTemplate"]) | {how["GenerateStringKey"]: password}
        made[name] = manager.create_secret(Name=name, SecretString=json.dumps(value))["ARN"]
    return made


def _without(part: Any, stand_ins: dict[str, str]) -> Any:
    """Puts the stand-ins where the template refers to a resource that is not made."""
    match part:
        case {"Ref": str(name)} if name in NOT_IN_MOTO:
            return _stand_in(stand_ins, name)
        case {"Fn::GetAtt": [str(name), *attributes]} if name in NOT_IN_MOTO:
            return _stand_in(stand_ins, ".".join([name, *attributes]))
        case {"Fn::Sub": str(text)}:
            made = re.compile(rf"\$\{{((?:{'|'.join(NOT_IN_MOTO)})\b[\w.]*)\}}")
            return {"Fn::Sub": made.sub(lambda found: _stand_in(stand_ins, found[1]), text)}
        case dict():
            return {key: _without(value, stand_ins) for key, value in part.items()}
        case list():
            return [_without(value, stand_ins) for value in part]
    return part


def _stand_in(stand_ins: dict[str, str], reference: str) -> str:
    return stand_ins.get(reference, f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{reference}")
