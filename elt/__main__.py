"""`python -m elt`: what is done to the warehouse by hand or by a deployment."""

import argparse
import os
import sys
from datetime import date
from getpass import getpass
from typing import Any

import boto3
import psycopg2
from botocore.exceptions import BotoCoreError
from psycopg2 import sql as identifiers
from psycopg2.extensions import encrypt_password

from elt import warehouse
from elt.errors import PipelineError
from elt.migrate import migrate
from elt.rebuild import rebuild
from elt.settings import load_settings

ROLES = ("recommendations_pipeline", "recommendations_api", "recommendations_analyst")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m elt",
        description="Works on the warehouse that DATABASE_URL names: a libpq URI, of its owner to migrate and to give "
        "passwords, of recommendations_pipeline to rebuild.",
        epilog="Exit status: 0 done, 1 it failed (the message says why), 2 wrong arguments.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("migrate", help="bring the database to the current schema; does nothing on a current one")
    password = commands.add_parser("password", help="give a role a password, read from standard input")
    password.add_argument("role", choices=ROLES)
    days = commands.add_parser(
        "rebuild",
        help="load, rank and publish a range of days from S3, without Airflow",
        description="Loads, ranks and publishes every day of the range from the logs on S3, oldest first, a line each. "
        "Settings as for the DAG, from the environment. Days that are loaded already are not read again: one that was "
        "stopped is simply started again. Safe beside the nightly run. A day that fails does not stop the others.",
        epilog="Exit status: 0 every day is published, 1 some failed (their lines say why), 2 wrong arguments.",
    )
    day: dict[str, Any] = {"type": date.fromisoformat, "metavar": "YYYY-MM-DD", "required": True}
    days.add_argument("--from", dest="first", help="first log day", **day)
    days.add_argument("--to", dest="last", help="last log day", **day)
    days.add_argument("--reload", action="store_true", help="read the logs again even if the objects have not changed")
    arguments = parser.parse_args()
    if arguments.command == "rebuild" and arguments.first > arguments.last:
        parser.error(f"--from {arguments.first} is after --to {arguments.last}")
    url = os.environ.get("DATABASE_URL")
    if not url:
        whom = "recommendations_pipeline" if arguments.command == "rebuild" else "the warehouse's owner"
        print(f"DATABASE_URL is not set; set it to the libpq URI of {whom}", file=sys.stderr)
        return 1
    try:
        if arguments.command == "migrate":
            print("\n".join(migrate(url)) or "nothing to do: the schema is current")
        elif arguments.command == "rebuild":
            return _rebuild(url, arguments)
        else:
            _set_password(url, arguments.role)
    except (PipelineError, psycopg2.Error, BotoCoreError) as error:
        print(f"{arguments.command}: {str(error).strip()}", file=sys.stderr)
        return 1
    return 0


def _rebuild(url: str, arguments: argparse.Namespace) -> int:
    failed = rebuild(
        arguments.first,
        arguments.last,
        warehouse.opens(url),
        boto3.client("s3"),
        load_settings(),
        lambda line: print(line, flush=True),
        arguments.reload,
    )
    if failed:
        print(f"{len(failed)} of {(arguments.last - arguments.first).days + 1} days failed", file=sys.stderr)
    return 1 if failed else 0


def _set_password(url: str, role: str) -> None:
    """Sends the server a SCRAM verifier, so that the password itself reaches neither its log nor its memory."""
    secret = getpass(f"Password for {role}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not secret:
        raise PipelineError("the password is empty; nothing was changed")
    conn = psycopg2.connect(url)
    try:
        with conn, conn.cursor() as cursor:
            verifier = encrypt_password(secret, role, conn, "scram-sha-256")
            cursor.execute(
                identifiers.SQL("ALTER ROLE {} PASSWORD %s").format(identifiers.Identifier(role)), (verifier,)
            )
    finally:
        conn.close()
    print(f"{role} has a new password")


if __name__ == "__main__":
    sys.exit(main())
