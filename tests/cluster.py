"""A Citus cluster for the tests: a coordinator and two workers, which have every database of the coordinator's.

Where CITUS is set (`make test-citus` does), the servers of POSTGRES_BIN are started as one, or the cluster is that of
CITUS_URL: the URI of a superuser who has one password on all its nodes, which let one another in.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from local.airflow import free_port
from local.postgres import MASTER, Postgres

WANTED = bool(os.environ.get("CITUS"))

CITUS = {
    "shared_preload_libraries": "citus",
    "citus.shard_count": "8",
    "citus.node_conninfo": "sslmode=disable",
    "citus.recover_2pc_interval": "1s",
    "max_connections": "300",
    "max_prepared_transactions": "200",
    "max_worker_processes": "100",
}
"""What a server of the tests needs more than by itself."""

Node = tuple[str, int]
"""Host and port."""


class Cluster(Postgres):
    """The coordinator, as the tests know a server; what they make on it is made on the workers, too."""

    superuser = "postgres"

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        super().__init__(folder, port, **settings)
        self.workers: list[Postgres] = []

    def node(self) -> Node:
        return "127.0.0.1", self.port

    def others(self) -> list[Node]:
        """The workers."""
        return [("127.0.0.1", worker.port) for worker in self.workers]

    def at(self, node: Node, user: str, database: str) -> str:
        host, port = node
        return f"postgresql://{user}:{quote(self.password)}@{host}:{port}/{database}"

    def url(self, user: str, database: str) -> str:
        return self.at(self.node(), self.superuser if user == "postgres" else user, database)

    def provision(self, *databases: str) -> None:
        super().provision(*databases)
        for database in databases:
            if ask(self.url("postgres", database), "SELECT FROM pg_extension WHERE extname = 'citus'"):
                continue
            for node in [*self.others(), self.node()]:
                if node != self.node():
                    ask(self.at(node, self.superuser, "postgres"), f"CREATE DATABASE {database}")
                url = self.at(node, self.superuser, database)
                ask(url, "CREATE EXTENSION citus")
            ask(self.url("postgres", database), "SELECT citus_set_coordinator_host(%s, %s)", *self.node())
            for node in self.others():
                ask(self.url("postgres", database), "SELECT citus_add_node(%s, %s)", *node)
                ask(self.at(node, self.superuser, "postgres"), f"ALTER DATABASE {database} OWNER TO {MASTER}")

    def let_log_in(self, *roles: str) -> None:
        for node in [*self.others(), self.node()]:
            for role in roles:
                ask(self.at(node, self.superuser, "postgres"), f"ALTER ROLE {role} PASSWORD %s", self.password)

    def copy(self, template: str, name: str) -> None:
        """The database as `name` on all nodes, with all that is distributed."""
        for node in [*self.others(), self.node()]:
            url = self.at(node, self.superuser, "postgres")
            # Citus looks after every database from within.
            ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", template)
            ask(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # of an earlier run, on a cluster that stays
            ask(url, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {MASTER}")
        rights = (
            "UPDATE pg_database SET datacl = (SELECT datacl FROM pg_database WHERE datname = %s) WHERE datname = %s"
        )
        ask(self.url("postgres", "postgres"), rights, template, name)

    def drop(self, name: str) -> None:
        """Every database has a process of Citus on every node: those of all tests would be too many.

        One that begins while the others are ended keeps the database, and is ended the next time.
        """
        for node in [self.node(), *self.others()]:
            url, drop = self.at(node, self.superuser, "postgres"), f"DROP DATABASE {name} WITH (FORCE)"
            for _ in range(3):
                with suppress(psycopg2.errors.ObjectInUse):
                    ask(url, drop)
                    break
            else:
                ask(url, drop)


class Given(Cluster):
    """The cluster of CITUS_URL."""

    def __init__(self, url: str) -> None:
        parts = parse_dsn(url)
        self.superuser, self._password = parts["user"], parts.get("password", "")
        self._node = parts["host"], int(parts.get("port", 5432))
        self._others = ask(url, "SELECT nodename, nodeport FROM pg_dist_node WHERE isactive AND groupid > 0")
        self.port = self._node[1]
        self.workers = []  # none that a test may end

    @property
    def password(self) -> str:
        return self._password

    def node(self) -> Node:
        return self._node

    def others(self) -> list[Node]:
        return self._others


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Cluster]:
    """Three servers of POSTGRES_BIN. Skips the test where they have no Citus."""
    passwords = folder / "passwords"
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        # How the nodes know one another.
        patch.setenv("PGPASSFILE", str(passwords))
        try:
            cluster = Cluster(folder / "coordinator", free_port(), **settings, **CITUS)
            stack.enter_context(cluster)
        except RuntimeError as error:
            if "citus" in str(error):
                pytest.skip(f"no Citus: {error}")
            raise
        passwords.touch(0o600)
        passwords.write_text(f"127.0.0.1:*:*:*:{cluster.password}\n")
        if cluster.user:
            shutil.chown(passwords, cluster.user)
        for n in (1, 2):
            worker = stack.enter_context(Postgres(folder / f"worker{n}", free_port(), **settings, **CITUS))
            ask(worker.url("postgres", "postgres"), "ALTER ROLE postgres PASSWORD %s", cluster.password)
            worker.folder.with_suffix(".password").write_text(cluster.password)
            cluster.workers.append(worker)
        yield cluster


def ask(url: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
    """The rows; each query a transaction."""
    with closing(psycopg2.connect(url)) as conn, conn.cursor() as cursor:
        conn.autocommit = True
        cursor.execute(query, params or None)
        return [] if cursor.description is None else cursor.fetchall()
