"""The embedded PostgreSQL, as root: what it does to folders that are not its own."""

import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from elt.settings import PROJECT
from local import postgres as embedded
from local.airflow import free_port

pytestmark = [
    pytest.mark.model_blind,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as another user"),
    pytest.mark.skipif("POSTGRES_BIN" in os.environ, reason="about the wheel's PostgreSQL"),
]


def test_a_closed_folder_is_not_opened_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As /root is: the project in it, the binaries in the project's .venv, the demo's data beside them."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        project = Path(home) / "project"
        package = embedded.BIN.resolve().parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, project / ".venv" / part.name)
        monkeypatch.setattr(embedded, "BIN", project / ".venv" / package.name / "pginstall18" / "bin")
        modes = {path: path.stat().st_mode for path in (Path(home), project, project / ".venv")}
        assert not modes[Path(home)] & stat.S_IXOTH
        server = embedded.Postgres(project / ".state" / "postgres", free_port())
        try:
            for _ in range(2):
                with server, closing(psycopg2.connect(server.url("postgres", "postgres"))) as conn:
                    with conn.cursor() as cursor:
                        cursor.execute("SHOW data_directory")
                        assert cursor.fetchone() == (str(server.folder),), "the same one again"
            assert {path: path.stat().st_mode for path in modes} == modes
        finally:
            made = embedded.ELSEWHERE / project.relative_to("/")
            assert server.folder.is_relative_to(made)
            assert server.bin.is_relative_to(made)
            subprocess.run(["make", "-sf", PROJECT / "Makefile", "clean"], cwd=project, check=True)
            assert not made.exists()
