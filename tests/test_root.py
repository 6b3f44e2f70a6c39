"""What a stranger finds at the root holds together: links, linters, what CI runs."""

import re
from pathlib import Path

import pytest

from elt.settings import PROJECT

MAKEFILE = (PROJECT / "Makefile").read_text()
TEXTS = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_the_links_lead_somewhere(text: Path) -> None:
    for name, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text.read_text()):
        target = text.parent / name if name else text
        assert target.exists(), name
        assert not heading or heading in anchors(target), f"{name}#{heading}"


def anchors(text: Path) -> set[str]:
    """The headings as GitHub calls them in addresses."""
    headings = re.findall(r"^#+ (.+)$", text.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_commit_is_linted_as_make_lint_does() -> None:
    recipe = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
    linters = re.findall(r"^\t\$\(BIN\)/(\S+(?: (?:format --check|check|lint))?)", recipe, re.M)
    hooks = re.findall(r"entry: \.venv/bin/(.+)", (PROJECT / ".pre-commit-config.yaml").read_text())
    assert len(linters) >= 5
    assert hooks == linters


def test_ci_runs_chores_that_the_makefile_has() -> None:
    workflow = (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
    chores = re.findall(r"run: make (.+)", workflow)
    assert {"setup", "lint", "test"} <= set(chores)
    for chore in chores:
        assert re.search(rf"^{chore}:", MAKEFILE, re.M), chore
