"""Finding the files in sql/ and reading what they say of themselves."""

import hashlib
import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from elt.errors import PipelineError
from elt.settings import PROJECT

SQL = PROJECT / "sql"

MODEL_COLUMNS = ("advertiser_id", "rank", "product_id", "score")
"""What every model selects; its figures follow under any name."""


@dataclass(frozen=True)
class Model:
    """One ranking model: the name that the DAG, the tables and the API know it by, and the file that defines it."""

    name: str
    file: Path

    @property
    def relation(self) -> str:
        """The name of the model's view in marts."""
        return self.file.stem

    @property
    def title(self) -> str:
        """What the model is, as the first line of its file says after the name."""
        return self._lines()[0].partition(":")[2].strip()

    @property
    def looks_back(self) -> int:
        """How many days before the log day the model reads: the largest N of `%(ds)s::date - N` in its SQL."""
        return max(map(int, re.findall(r"%\(ds\)s::date\s*-\s*(\d+)", self.file.read_text())), default=0)

    @property
    def figures(self) -> dict[str, str]:
        """What the lines `-- name: text` of the file's opening comment say of the columns that it selects."""
        opening = takewhile(lambda line: line.startswith("--"), self._lines()[1:])
        return dict(re.findall(r"^-- (\w+): (.+)$", "\n".join(opening), re.M))

    def query(self) -> str:
        """The file's text without a final semicolon, so that it can stand inside a statement."""
        return _query(self.file)

    def _lines(self) -> list[str]:
        return self.file.read_text().splitlines()


def read(name: str) -> str:
    """The text of `sql/<name>.sql`, without a final semicolon, so that a query can stand inside a statement."""
    return _query(SQL / f"{name}.sql")


def version(*files: Path) -> str:
    """SHA-256 of the files' texts, hexadecimal."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def models(folder: Path = SQL / "models") -> list[Model]:
    """Every model in the folder, by file name.

    The first line of a model file is `-- Name: what it is.`; the name without case and underscores is the file's.
    Raises PipelineError that names the file when it is not so.
    """
    return [_model(file) for file in sorted(folder.glob("*.sql"))]


def check_columns(file: str, selected: list[str]) -> None:
    """Raises PipelineError that names the file when a model does not select what every model selects."""
    if missing := [name for name in MODEL_COLUMNS if name not in selected]:
        raise PipelineError(
            f"{file}: selects {', '.join(selected)}, but not {', '.join(missing)}; "
            f"a model selects {', '.join(MODEL_COLUMNS)} and then its figures"
        )


def audits(kind: str) -> list[str]:
    """The names, for `read`, of the audits of a kind: `load` or `publication`."""
    return [f"audits/{kind}/{file.stem}" for file in sorted((SQL / "audits" / kind).glob("*.sql"))]


def staging_version() -> str:
    """SHA-256 of everything that decides what FiltrarDatos reads and keeps: its SQL and how lines are landed."""
    return version(*sorted((SQL / "staging").glob("*.sql")), PROJECT / "elt" / "land.py")


def _query(file: Path) -> str:
    return file.read_text().rstrip().removesuffix(";")


def _model(file: Path) -> Model:
    with file.open() as lines:
        first = lines.readline().strip()
    title = re.match(r"--\s*([A-Za-z][A-Za-z0-9_]*):\s*\S", first)
    expected = file.stem.replace("_", "").lower()
    if not title or title[1].replace("_", "").lower() != expected:
        raise PipelineError(
            f"{file}: the first line must be '-- Name: what the model is', where Name is {expected!r} "
            f"in any spelling of capitals and underscores, but it is {first!r}"
        )
    return Model(title[1], file)
