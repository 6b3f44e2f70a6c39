"""`python -m elt`: what is done to the warehouse by hand or by a deployment."""

import argparse
import os
import sys
from getpass import getpass

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import encrypt_password

from elt.errors import PipelineError
from elt.migrate import migrate

ROLES = ("recommendations_pipeline", "recommendations_api", "recommendations_analyst")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m elt",
        description="Works on the warehouse that DATABASE_URL (a libpq URI of its owner) names.",
        epilog="Exit status: 0 done, 1 it failed (the message says why), 2 wrong arguments.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("migrate", help="bring the database to the current schema; does nothing on a current one")
    password = commands.add_parser("password", help="give a role a password, read from standard input")
    password.add_argument("role", choices=ROLES)
    arguments = parser.parse_args()
    try:
        url = os.environ["DATABASE_URL"]
        if arguments.command == "migrate":
            print("\n".join(migrate(url)) or "nothing to do: the schema is current")
        else:
            _set_password(url, arguments.role)
    except KeyError:
        print("DATABASE_URL is not set; set it to the libpq URI of the warehouse's owner", file=sys.stderr)
        return 1
    except (PipelineError, psycopg2.Error) as error:
        print(f"{arguments.command}: {str(error).strip()}", file=sys.stderr)
        return 1
    return 0


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
