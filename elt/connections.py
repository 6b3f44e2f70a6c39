"""Opening the warehouse and S3 as a task does: by Airflow's connections where they exist, else the environment."""

from typing import Any, cast

import psycopg2
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from psycopg2.extensions import connection as Connection

from elt import s3 as objects
from elt.errors import PipelineError
from elt.settings import Settings
from elt.warehouse import CONNECT, Connect, opens


class WarehouseHook(PostgresHook):
    """The provider's hook (TLS, IAM tokens, extras) over psycopg2; by itself it would open psycopg 3."""

    def _create_connection(self, conn_args: dict[str, Any]) -> Connection:
        conn: Connection = psycopg2.connect(**CONNECT | conn_args)
        return conn


def warehouse(settings: Settings) -> Connect:
    """How to open the warehouse: connection `recommendations_db`, or DATABASE_URL."""
    if _exists("recommendations_db"):
        return lambda: cast(Connection, WarehouseHook("recommendations_db").get_conn())
    if settings.database_url is None:
        raise PipelineError("no warehouse: set DATABASE_URL, or make the Airflow connection recommendations_db")
    return opens(settings.database_url.get_secret_value())


def s3() -> Any:
    """An S3 client: connection `aws_default`, or the SDK's own environment and roles."""
    if _exists("aws_default"):
        return AwsBaseHook("aws_default", client_type="s3").get_client_type()
    return objects.client()


def _exists(conn_id: str) -> bool:
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return False
    return True
