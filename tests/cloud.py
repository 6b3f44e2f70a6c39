"""The stack of deploy/template.yaml in moto, as far as it goes."""

import json
import re
from functools import lru_cache, partial
from typing import Any

import boto3
from cfnlint.decode import cfn_yaml

from elt.settings import PROJECT

TEMPLATE = PROJECT / "deploy" / "template.yaml"
REVISION = "a" * 40

SECRETS = (
    "MasterSecret",
    "PipelineSecret",
    "ApiSecret",
    "AnalystSecret",
    "MetadataSecret",
    "LoginSecret",
    "FernetSecret",
)


@lru_cache
def _text() -> str:
    return json.dumps(cfn_yaml.load(str(TEMPLATE)))


def template() -> dict[str, Any]:
    """The template with every function in its long form."""
    return json.loads(_text())


NOT_IN_MOTO = (
    {
        "Database": "moto fails on the reference to a parameter group",
        "BucketPolicy": "moto's CloudFormation knows no AWS::S3::BucketPolicy",
        "NoticesPolicy": "moto's CloudFormation knows no AWS::SNS::TopicPolicy",
        "NoticesEmail": "moto's CloudFormation knows no AWS::SNS::Subscription",
        "PublicationAge": "moto's CloudFormation knows no AWS::Logs::MetricFilter",
        "MachineDisk": "likewise",
        "Budget": "moto's CloudFormation knows no AWS::Budgets::Budget",
        "ApiConnector": "moto knows no AWS::AppRunner::VpcConnector",
        "ApiOnAppRunner": "moto knows no AWS::AppRunner::Service",
        "ApiOnExpress": "moto knows no AWS::ECS::ExpressGatewayService",
        "ApiScaling": "moto knows no AWS::AppRunner::AutoScalingConfiguration",
        "ApiDomainCertificate": "moto knows no AWS::ElasticLoadBalancingV2::ListenerCertificate",
    }
    | dict.fromkeys(
        [name for name, item in template()["Resources"].items() if item["Type"] == "AWS::CloudWatch::Alarm"],
        "moto's CloudFormation knows no AWS::CloudWatch::Alarm",
    )
    | dict.fromkeys(SECRETS, "moto's CloudFormation knows no AWS::SecretsManager::Secret; make_secrets makes them")
)
"""Resources that moto does not create, and why."""


def create_stack(name: str, hosting: str, stand_ins: dict[str, str], **parameters: str) -> dict[str, str]:
    """Creates in moto what it can; returns the physical ids. `stand_ins` are values of what the others would have."""
    cloud = boto3.client("cloudformation")
    parameters = {"ApiRevision": parameters.get("Revision", REVISION)} | parameters
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
    for part in ("Resources", "Outputs"):
        for name, item in list(text[part].items()):
            left_out = name in NOT_IN_MOTO or name.startswith("Express") or name.endswith("Arn")
            if left_out or not holds(item.get("Condition"), text["Conditions"], given):
                text[part].pop(name)
    text["Parameters"]["AirflowImage"] = {"Type": "String", "Default": image()}
    return json.dumps(_without(text, stand_ins))


def holds(condition: Any, conditions: dict[str, Any], given: dict[str, str], region: str = "us-east-1") -> Any:
    """What a condition, or a part of one, comes to. None always holds."""
    of = partial(holds, conditions=conditions, given=given, region=region)
    match condition:
        case None:
            return True
        case {"Condition": name}:
            return of(conditions[name])
        case {"Fn::Equals": [left, right]}:
            return of({"Value": left}) == of({"Value": right})
        case {"Fn::Not": [part]}:
            return not of(part)
        case {"Fn::And": parts}:
            return all(map(of, parts))
        case {"Fn::Or": parts}:
            return any(map(of, parts))
        case {"Value": {"Ref": "AWS::Region"}}:
            return region
        case {"Value": {"Ref": name}}:
            return given[name]
        case {"Value": {"Fn::Join": [_, {"Ref": name}]}}:
            return given[name].replace(",", "")
        case {"Value": value}:
            return value
    return of(conditions[condition])


@lru_cache
def image() -> str:
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
        case {"Fn::Sub": [str(text), dict(values)]}:
            return {"Fn::Sub": [_without({"Fn::Sub": text}, stand_ins)["Fn::Sub"], _without(values, stand_ins)]}
        case {"Fn::Sub": str(text)}:
            made = re.compile(rf"\$\{{((?:{'|'.join(NOT_IN_MOTO)})\b[\w.]*)\}}")
            return {"Fn::Sub": made.sub(lambda found: _stand_in(stand_ins, found[1]), text)}
        case dict():
            return {key: _without(value, stand_ins) for key, value in part.items()}
        case list():
            return [_without(value, stand_ins) for value in part]
    return part


def _stand_in(stand_ins: dict[str, str], reference: str) -> str:
    what = "elasticloadbalancing" if reference.endswith("LoadBalancerArn") else "secretsmanager"
    kind = "loadbalancer/app" if what == "elasticloadbalancing" else "secret"
    return stand_ins.get(reference, f"arn:aws:{what}:us-east-1:123456789012:{kind}/{reference}")
