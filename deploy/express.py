"""What Express Mode makes for the API and CloudFormation cannot say: who comes in, under which name, what undoes it.

AWS's documentation: what is changed directly in these resources stays until an update of the service asks for it anew.
So every deployment says it again.
"""

from typing import Any

import boto3

from deploy.formation import say

ANYBODY = {"0.0.0.0/0", "::/0"}
OF_AN_ALARM = {
    *("AlarmName", "AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "InsufficientDataActions"),
    *("Metrics", "EvaluationPeriods", "DatapointsToAlarm", "ComparisonOperator", "TreatMissingData"),
}
"""What one is described by and put_metric_alarm takes, when it is made of several metrics."""


def settle(outputs: dict[str, str], parameters: dict[str, str]) -> None:
    """Brings the service's resources to what the stack's parameters say. Does nothing without Express Mode."""
    if "ExpressGroups" not in outputs:
        return
    if networks := parameters.get("ApiNetworks"):
        for group in outputs["ExpressGroups"].split(","):
            admit(group.rpartition("/")[2], set(networks.split(",")))
    if domain := parameters.get("ApiDomain"):
        answer_to(outputs["ExpressRule"], domain)
    watch_5xx(outputs)


def admit(group: str, networks: set[str]) -> None:
    """Lets the networks reach port 443 behind the security group, and nobody else."""
    ec2 = boto3.client("ec2")
    wanted = networks | (ANYBODY if networks & ANYBODY else set())
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    rules = [rule for rule in rules if not rule["IsEgress"]]
    of = {rule["SecurityGroupRuleId"]: rule.get("CidrIpv4") or rule.get("CidrIpv6") for rule in rules}
    # First out, then in: nobody is let in by mistake between the two.
    if foreign := [rule for rule, network in of.items() if network not in wanted]:
        ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=foreign)
    for network in sorted(networks - set(of.values())):
        where: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": network}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[where])
        say(f"the API may be reached from {network}")


def answer_to(rule: str, domain: str) -> None:
    """Has the load balancer's rule take requests for the domain, too."""
    balancer = boto3.client("elbv2")
    conditions = balancer.describe_rules(RuleArns=[rule])["Rules"][0]["Conditions"]
    of = {
        item["Field"]: list(item.get("HostHeaderConfig", item)["Values"])
        for item in conditions
        if "host" in item["Field"]
    }
    if domain in of.get("host-header", []):
        return
    others = [
        {key: value for key, value in item.items() if key != "Values"}
        for item in conditions
        if "host" not in item["Field"]
    ]
    hosts = {"Field": "host-header", "HostHeaderConfig": {"Values": [*of.get("host-header", []), domain]}}
    balancer.modify_rule(RuleArn=rule, Conditions=[*others, hosts])
    say(f"the API answers to {domain}; its CNAME points to the address above")


def watch_5xx(outputs: dict[str, str]) -> None:
    """Has Express Mode undo a deployment for 5xx only.

    Its alarm adds 4xx, more than 1 % of the answers: advertisers who are not in the lists could block every deployment.
    """
    if not (names := [arn.rpartition(":")[2] for arn in outputs.get("ExpressAlarms", "").split(",") if arn]):
        return
    cloudwatch = boto3.client("cloudwatch")
    for alarm in cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]:
        counting = [item for item in alarm.get("Metrics", []) if "4XX" in str(item.get("MetricStat"))]
        if counting:
            for item in counting:
                metric = item["MetricStat"]["Metric"]
                metric["MetricName"] = metric["MetricName"].replace("4XX", "5XX")
            # 5xx are counted twice now.
            changed = {key: value for key, value in alarm.items() if key in OF_AN_ALARM}
            cloudwatch.put_metric_alarm(**changed, Threshold=2 * alarm["Threshold"])
            say(f"{alarm['AlarmName']} undoes a deployment for 5xx, no longer for 4xx")
