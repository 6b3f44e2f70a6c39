"""What the README promises to whoever adds a model: one file, `make docs`, `make test`, and no other edit."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from elt.settings import PROJECT
from local import processes
from local.postgres import BIN


@pytest.mark.timeout(900)
@pytest.mark.model_blind
def test_a_model_needs_the_one_file_that_the_readme_shows_and_no_other_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the project: its docs are written anew, and its own tests are green.

    Left out there are the tests marked `model_blind`, this one first.
    """
    copy = tmp_path / "project"
    for name in listed():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, copy / name, follow_symlinks=False)
    (copy / ".venv").symlink_to(sys.prefix)
    for arguments in (["init", "--quiet"], ["add", "--all"], [*NOBODY, "commit", "--quiet", "--message=as it is"]):
        subprocess.run(["git", *arguments], cwd=copy, check=True)

    for name in filter(re.compile("MAKE|MFLAGS|PYTEST|CHAOS$|EVENTS$|IMAGE$").match, list(os.environ)):
        monkeypatch.delenv(name)  # what this run was asked for, not that one

    model, text = recipe()
    (copy / model).write_text(text)
    subprocess.run([copy / ".venv" / "bin" / "sqlfluff", "lint", model], cwd=copy, check=True)
    make(copy, "docs")
    make(copy, "test", "ARGS=-n 0 -m 'not model_blind' -p no:cacheprovider")
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True, check=True)
    assert sorted(changed.stdout.splitlines()) == [" M docs/data-dictionary.md", " M docs/lineage.md", f"?? {model}"]


NOBODY = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]


def listed() -> list[str]:
    """The project's files as they are now: what git has or would take."""
    command = ["git", "-C", str(PROJECT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if (PROJECT / name).is_file()]


def recipe() -> tuple[str, str]:
    """Path and text of the file that the README's section `Add a model` shows."""
    section = (PROJECT / "README.md").read_text().partition("\n## Add a model\n")[2].partition("\n## ")[0]
    ((folder, file),) = re.findall(r"Put one file into `(sql/models/)`, say `(\w+\.sql)`", section)
    (text,) = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return folder + file, text


def make(copy: Path, *arguments: str) -> None:
    """A chore, in the copy's own words; the virtual environment, which is shared, counts as current."""
    log = copy.with_suffix(".log")
    command = ["make", "--directory", str(copy), "--old-file=.venv/installed", *arguments]
    # PostgreSQL's user may not enter the folders of tests, and so not come to its server through the copy.
    env = {"PYTHONPATH": str(copy), "POSTGRES_BIN": str(BIN.resolve())}
    process = processes.start(command, log, env=env)
    try:
        assert process.wait() == 0, log.read_text()[-10_000:]
    finally:
        processes.stop(process)
