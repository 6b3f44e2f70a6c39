"""What the Airflow machine fetches and prepares, as root: `python -m deploy.machine settings` and `... databases`; and
`... owner PROGRAM ARGUMENTS`, for a person.

SETTINGS names the stack's parameter: lines NAME=value, with the names of the secrets. Secrets are kept in memory
(/run), for the services only, and are never printed.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import encrypt_password

from elt.migrate import migrate
from elt.roles import ROLES

RUN = Path("/run/recommendations")
RELEASE = Path(__file__).resolve().parent.parent
USER = "airflow"
"""Of the machine, of the metadata database, and the database's name."""


def main() -> int:
    """Runs the command; exit status 0 done, 1 failed (the message says why), 2 wrong arguments."""
    commands = {"settings": write_settings, "databases": prepare_databases, "owner": run_as_owner}
    if len(sys.argv) < 2 or sys.argv[1] not in commands or (sys.argv[1] == "owner") != (len(sys.argv) > 2):
        print("usage: python -m deploy.machine settings | databases | owner PROGRAM ARGUMENTS", file=sys.stderr)
        return 2
    try:
        commands[sys.argv[1]]()
    except (psycopg2.Error, subprocess.CalledProcessError, OSError) as error:
        print(f"deploy.machine {sys.argv[1]}: {str(error).strip()}", file=sys.stderr)
        return 1
    return 0


def settings() -> dict[str, str]:
    """The stack's settings, as its parameter says now."""
    answer = boto3.client("ssm").get_parameter(Name=os.environ["SETTINGS"])
    return dict(line.split("=", 1) for line in answer["Parameter"]["Value"].splitlines())


def secret(arn: str) -> dict[str, str]:
    """`username` and `password`, as Secrets Manager has them now."""
    answer = boto3.client("secretsmanager").get_secret_value(SecretId=arn)
    found: dict[str, str] = json.loads(answer["SecretString"])
    return found


def write_settings() -> None:
    """Writes what the services' EnvironmentFiles name: settings.env for all, secrets.env and logins.json for few."""
    names = settings()
    RUN.mkdir(mode=0o755, exist_ok=True)
    _write(RUN / "settings.env", "".join(f"{name}={value}\n" for name, value in names.items()), mode=0o644)
    _write(RUN / "secrets.env", "".join(f"{name}={value}\n" for name, value in _secrets(names).items()))
    login = secret(names["LOGIN_SECRET"])
    _write(RUN / "logins.json", json.dumps({login["username"]: login["password"]}), owner=USER)


def prepare_databases() -> None:
    """Brings both databases to what this release expects: roles, passwords, schemas. Safe to repeat."""
    names = settings()
    passwords = {
        name: secret(names[f"{name}_SECRET"])["password"] for name in ("PIPELINE", "API", "ANALYST", "METADATA")
    }
    master = secret(names["MASTER_SECRET"])
    tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(RELEASE / "deploy" / "ca" / "rds.pem")}
    os.environ |= {name: names[name] for name in ("PGHOST", "PGPORT")} | tls
    os.environ["PGPASSWORD"] = master["password"]
    url = f"postgresql://{master['username']}@/recommendations"
    for line in migrate(url) or ["the schema of the warehouse is current"]:
        print(line)
    for role in ROLES:
        subprocess.run(
            [sys.executable, "-m", "elt", "password", role],
            input=passwords[role.removeprefix("recommendations_").upper()] + "\n",
            env=os.environ | {"DATABASE_URL": url},
            text=True,
            check=True,
        )
    _make_metadata_database(url, passwords["METADATA"])
    del os.environ["PGPASSWORD"]
    lines = (RELEASE / "deploy" / "airflow.env").read_text().splitlines()
    config = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("airflow")), "db", "migrate"],
        env=config | os.environ | names | _secrets(names) | {"PYTHONPATH": str(RELEASE), "HOME": "/"},
        cwd="/",
        user=USER,
        group=USER,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(f"airflow db migrate failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    print("the schema of Airflow's metadata is current")


def run_as_owner() -> None:
    """Becomes the program, to which libpq's variables and DATABASE_URL give the warehouse as its owner: who makes keys,
    and on RDS sees everybody's sessions and may end them."""
    login = secret(os.environ["MASTER_SECRET"])
    os.environ |= {"PGUSER": login["username"], "PGPASSWORD": login["password"], "PGDATABASE": "recommendations"}
    os.environ["DATABASE_URL"] = "postgresql:///recommendations"
    os.execvp(sys.argv[2], sys.argv[2:])


def _secrets(names: dict[str, str]) -> dict[str, str]:
    """The environment variables that are secret."""
    passwords = {name: secret(names[f"{name}_SECRET"])["password"] for name in ("PIPELINE", "METADATA", "FERNET")}
    at = f"{names['PGHOST']}:{names['PGPORT']}"
    # Signs the tokens between the services of this machine; a new one with every boot.
    token_key = RUN / "token_key"
    if not token_key.exists():
        RUN.mkdir(mode=0o755, exist_ok=True)
        _write(token_key, secrets.token_urlsafe(48))
    return {
        "DATABASE_URL": f"postgresql://recommendations_pipeline:{passwords['PIPELINE']}@{at}/recommendations",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{USER}:{passwords['METADATA']}@{at}/{USER}",
        "AIRFLOW__CORE__FERNET_KEY": passwords["FERNET"] + "=",
        "AIRFLOW__API_AUTH__JWT_SECRET": token_key.read_text(),
    }


def _make_metadata_database(url: str, password: str) -> None:
    """The role and the database `airflow`, owned by it, with the password."""
    conn = psycopg2.connect(url)
    try:
        conn.autocommit = True
        role = identifiers.Identifier(USER)
        with conn.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (USER,))
            if not cursor.rowcount:
                cursor.execute(identifiers.SQL("CREATE ROLE {} LOGIN").format(role))
            verifier = encrypt_password(password, USER, conn, "scram-sha-256")
            cursor.execute(identifiers.SQL("ALTER ROLE {} PASSWORD %s").format(role), (verifier,))
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (USER,))
            if not cursor.rowcount:
                # Who makes a database for a role must be a member of it.
                cursor.execute(identifiers.SQL("GRANT {} TO CURRENT_USER").format(role))
                cursor.execute(identifiers.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
                cursor.execute(identifiers.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))
    finally:
        conn.close()


def _write(file: Path, text: str, *, mode: int = 0o600, owner: str | None = None) -> None:
    """Replaces the file at once; nobody ever reads half of it, or with a wider mode."""
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    part.write_text(text)
    if owner:
        shutil.chown(part, owner, owner)
    part.rename(file)


if __name__ == "__main__":
    sys.exit(main())
