"""Telling people about a task that failed."""

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from airflow.sdk import BaseNotifier

SUBJECT = "{{ dag.dag_id }} {{ ds }}: {{ ti.task_id }} failed"
MESSAGE = (
    "Day: {{ ds }}\nTask: {{ ti.task_id }}, try {{ ti.try_number }}\n\n{{ exception }}\n\n"
    "Log: {{ ti.log_url }}\nReaders have the lists that they had, if it does not say that the day is published."
)


class _NowhereElse(HTTPRedirectHandler):
    """A web hook that answers with another place was not told: what asks there is a GET, without the message."""

    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = build_opener(_NowhereElse)


def on_failure() -> list[Any]:
    """Airflow callbacks: a message to the SNS topic NOTICES_TOPIC_ARN, and to the web hook NOTICE_WEBHOOK_URL.

    Of those that are set. A task that will be retried is not told, nor are those that it kept from running.
    """
    callbacks: list[Any] = []
    if topic := os.environ.get("NOTICES_TOPIC_ARN"):
        from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

        callbacks.append(SnsNotifier(target_arn=topic, subject=SUBJECT, message=MESSAGE))
    if os.environ.get("NOTICE_WEBHOOK_URL"):
        callbacks.append(WebhookNotifier(text=f"{SUBJECT}\n{MESSAGE}"))
    return callbacks


class WebhookNotifier(BaseNotifier):
    """POSTs `{"text": ...}` to NOTICE_WEBHOOK_URL, as Slack, Mattermost and others take it.

    The URL is a secret: it is read when it is needed, and neither it nor what an error says of it is logged. A web hook
    that fails is logged, and fails nothing.
    """

    template_fields = ("text",)

    def __init__(self, *, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        try:
            request = Request(
                os.environ["NOTICE_WEBHOOK_URL"],
                data=json.dumps({"text": self.text}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with OPENER.open(request, timeout=10):
                self.log.info("the web hook was told")
        except Exception as error:
            # Not the error's text, which may name the URL.
            why = f"HTTP {error.code}" if isinstance(error, HTTPError) else type(error).__name__
            self.log.error("the web hook was not told (%s); check NOTICE_WEBHOOK_URL", why)
