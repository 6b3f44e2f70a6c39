"""Telling people about a task that failed."""

import os
from typing import Any


def on_failure() -> list[Any]:
    """Airflow callbacks: a message to the SNS topic NOTICES_TOPIC_ARN, none where that is not set.

    A task that will be retried is not told, nor are those that it kept from running.
    """
    topic = os.environ.get("NOTICES_TOPIC_ARN")
    if not topic:
        return []
    from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

    return [
        SnsNotifier(
            target_arn=topic,
            subject="{{ dag.dag_id }} {{ ds }}: {{ ti.task_id }} failed",
            message="Day: {{ ds }}\nTask: {{ ti.task_id }}, try {{ ti.try_number }}\n\n{{ exception }}\n\n"
            "Log: {{ ti.log_url }}\nReaders have the lists that they had.",
        )
    ]
