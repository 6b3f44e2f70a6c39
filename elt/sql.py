"""Finding the files in sql/ and reading what they say of themselves."""

import ast
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from threading import Lock

from elt.errors import PipelineError
from elt.look_back import cut, look_back
from elt.settings import PROJECT

SQL = PROJECT / "sql"

SCHEMAS = ("staging", "models", "marts")
"""Each has a folder of its name, with a file for every relation and function in it."""

MODEL_COLUMNS = ("advertiser_id", "rank", "product_id", "score")
"""What every model selects; its figures follow under any name."""

KEYS = ("Grain", "Source", "Freshness", "Parameters")
"""What an opening comment says beside its columns."""


OF_NO_LINE = {
    *("audit_results", "days_set_aside", "drop_months", "make_month", "months"),
    *("product_daily_published", "published_files", "refused_loads", "step_times"),
}
"""Files of sql/staging that decide nothing of what is kept of a log; to change one loads no day again."""


@dataclass(frozen=True)
class Opening:
    """The comment that a file opens with: `-- name: title`, then `-- Key: text` and `-- column: text`, to a bare `--`.

    A line that begins with neither goes on with the one before it.
    """

    name: str
    title: str
    said: dict[str, str]

    @property
    def columns(self) -> dict[str, str]:
        """What it says of each column."""
        return {name: text for name, text in self.said.items() if name not in KEYS}

    @property
    def description(self) -> str:
        """What the relation is, and its grain."""
        return f"{self.title} Grain: {self.said['Grain']}" if "Grain" in self.said else self.title


@dataclass(frozen=True)
class Relation:
    """A relation or function of the warehouse, and the file that says all of it."""

    schema: str
    name: str
    file: Path

    @property
    def opening(self) -> Opening:
        return opening(self.file)

    @property
    def kind(self) -> str:
        """`view`: the file is one query. `function`: it makes one. `table`: it fills one, or says who does."""
        if self.statement.startswith("CREATE OR REPLACE FUNCTION"):
            return "function"
        if "INSERT INTO" in self.statement:
            return "table"
        return "view" if self.statement.startswith(("SELECT", "WITH")) else "table"

    @property
    def statement(self) -> str:
        """The file's text without its comments."""
        return _without_comments(self.text())

    def text(self) -> str:
        """The file's text without a final semicolon."""
        return _query(self.file)


@dataclass(frozen=True)
class Model:
    """One ranking model: the name that the DAG, the tables and the API know it by, and the file that defines it."""

    name: str
    file: Path
    source: str
    """The file's text, read once: what is ranked is what is recorded, whatever becomes of the file meanwhile."""

    @property
    def relation(self) -> str:
        """The name of the model's view in marts."""
        return self.file.stem

    @property
    def title(self) -> str:
        """What the model is, as its file says after the name."""
        return _opening(self.source, self.file).title

    @property
    def figures(self) -> dict[str, str]:
        """What the lines `-- name: text` of the file's opening comment say of the columns that it selects."""
        return _opening(self.source, self.file).columns

    @property
    def version(self) -> str:
        """SHA-256 of what decides its lists, hexadecimal."""
        return hashlib.sha256(b"\0".join(model.source.encode() for model in self.whole)).hexdigest()

    @cached_property
    def stands_on(self) -> list["Model"]:
        """The models whose whole rankings it reads, as `pg_temp.<their file>`. Raises PipelineError when there is none,
        or when it stands on others itself."""
        known = {model.relation: model for model in models()}
        named = sorted(set(re.findall(r"\bpg_temp\.(\w+)", self.statement)))
        for name in named:
            if name not in known or "pg_temp." in known[name].statement:
                raise PipelineError(
                    f"{shown(self.file)}: pg_temp.{name} is not the ranking of a model that stands by itself; "
                    f"those are the other files of sql/models: {', '.join(known)}"
                )
        return [known[name] for name in named]

    @property
    def whole(self) -> list["Model"]:
        """What decides its lists: itself, and the models that it stands on."""
        return [self, *self.stands_on]

    def check_fills_up(self) -> None:
        """Raises PipelineError when it cuts its lists itself: where products must not be listed, they were short."""
        for model in self.whole:
            if condition := cut(model.source, shown(model.file)):
                raise PipelineError(
                    f"{shown(model.file)}: cuts its lists itself, by {condition}, so that they can not be filled up "
                    "where products are hidden or excluded. Leave that out: a model ranks all its products, and the "
                    "pipeline lists the first 20"
                )

    @property
    def text(self) -> str:
        """Its source, and those of the models that it stands on."""
        return "\n".join(model.source for model in self.whole)

    @property
    def looks_back(self) -> int:
        """How many days before the log day the model reads.

        Raises PipelineError when it is not one SELECT, or its SQL does not say.
        """
        return max(look_back(model.source, shown(model.file)) for model in self.whole)

    def check_looks_back(self) -> None:
        """Raises PipelineError as `looks_back` does."""
        _ = self.looks_back

    @property
    def statement(self) -> str:
        """The file's text without its comments."""
        return _without_comments(self.query())

    def query(self) -> str:
        """The file's text without a final semicolon, so that it can stand inside a statement."""
        return self.source.rstrip().removesuffix(";")


def read(name: str) -> str:
    """The text of `sql/<name>.sql`, without a final semicolon, so that a query can stand inside a statement."""
    return _query(SQL / f"{name}.sql")


def opening(file: Path) -> Opening:
    """What the file says of itself. Raises PipelineError when its first line is not `-- name: title`."""
    return _opening(file.read_text(), file)


def _opening(text: str, file: Path) -> Opening:
    lines = [line[3:].rstrip() for line in takewhile(_is_said, text.splitlines())]
    items: list[list[str]] = []
    for line in lines:
        if not items or re.match(r"\w+: ", line):
            items.append(line.split(": ", 1))
        else:
            items[-1][-1] += " " + line
    if not items or len(items[0]) < 2:
        raise PipelineError(f"{shown(file)}: the first line must be '-- name: what it is'")
    (name, title), *said = items
    return Opening(name, title, dict(said))


def filter_version() -> str:
    """SHA-256 of everything that decides what FiltrarDatos reads and keeps: its SQL and how lines are landed.

    Of the statements only: a comment that is edited loads no day again.
    """
    files = [*_files("landing"), *(file for file in _files("staging") if file.stem not in OF_NO_LINE)]
    statements = [_without_comments(file.read_text()) for file in files]
    modules = ("copying.py", "land.py", "lines.py", "shares.py")
    code = [_without_docstrings((PROJECT / "elt" / file).read_text()) for file in modules]
    return hashlib.sha256("\0".join(statements + code).encode()).hexdigest()


def relations() -> list[Relation]:
    """Everything in the schemas that has a file, but the ranking models: they have their views by a rule of their own.

    Raises PipelineError that names a file which does not say in its first line what it is.
    """
    files = [file for schema in SCHEMAS for file in _files(schema) if schema != "models" or not _is_model(file)]
    found = [Relation(file.parent.name, file.stem, file) for file in files]
    for relation in found:
        if relation.opening.name != (name := f"{relation.schema}.{relation.name}"):
            raise PipelineError(
                f"{shown(relation.file)}: the first line must be '-- {name}: what it is', "
                f"but names {relation.opening.name!r}"
            )
    return found


def models(folder: Path | None = None) -> list[Model]:
    """Every ranking model in the folder, by default sql/models, by file name.

    The first line of a model file is `-- Name: what it is.`; the name without case and underscores is the file's.
    Raises PipelineError that names the file when it is not so.
    """
    return [model(file) for file in sorted((folder or SQL / "models").glob("*.sql")) if _is_model(file)]


def check_columns(file: str, selected: list[str]) -> None:
    """Raises PipelineError that names the file when a model does not select what every model selects."""
    if missing := [name for name in MODEL_COLUMNS if name not in selected]:
        raise PipelineError(
            f"{file}: selects {', '.join(selected)}, but not {', '.join(missing)}; "
            f"a model selects {', '.join(MODEL_COLUMNS)} and then its figures"
        )


def audits(kind: str) -> list[str]:
    """The names, for `read`, of the audits of a kind: `arrival`, `load` or `publication`."""
    return [f"audits/{kind}/{file.stem}" for file in _files(f"audits/{kind}")]


def shown(file: Path) -> str:
    """The file's name as people are told it: from `sql` on."""
    return str(file.relative_to(SQL.parent) if file.is_relative_to(SQL.parent) else file)


def _files(folder: str) -> list[Path]:
    return sorted((SQL / folder).glob("*.sql"))


def _query(file: Path) -> str:
    return file.read_text().rstrip().removesuffix(";")


def _is_said(line: str) -> bool:
    return line.startswith("-- ")


def _is_model(file: Path) -> bool:
    """Is it a ranking model? The others in its folder are the relations of the schema `models`."""
    return not file.read_text().startswith("-- models.")


def model(file: Path) -> Model:
    """The model of a file, wherever it is.

    Raises PipelineError when it can not be read, or its first line does not name it.
    """
    try:
        source = file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{file}: can not be read: {error}") from None
    first = source.partition("\n")[0].strip()
    title = re.match(r"--\s*([A-Za-z][A-Za-z0-9_]*):\s*\S", first)
    expected = file.stem.replace("_", "").lower()
    if not title or title[1].replace("_", "").lower() != expected:
        raise PipelineError(
            f"{file}: the first line must be '-- Name: what the model is', where Name is {expected!r} "
            f"in any spelling of capitals and underscores, but it is {first!r}"
        )
    return Model(title[1], file, source)


def _without_comments(text: str) -> str:
    """SQL without its comments, white space outside of strings and quoted names as one blank."""
    return _QUOTED_OR_BLANK.sub(lambda found: found["quoted"] or " ", text).strip()


_QUOTED_OR_BLANK = re.compile(
    r"""(?P<quoted>\b[eE]'(?:[^'\\]|''|\\.)*'|'[^']*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"""|(?:--[^\n]*|/\*.*?\*/|\s)+""",
    re.DOTALL,
)
"""What PostgreSQL takes as it is, or what stands between two words. Comments in comments are not known."""


PARSING = Lock()
"""In two threads at once CPython 3.11 can fail ("AST constructor recursion depth mismatch", python/cpython#106905)."""


@lru_cache(8)
def _without_docstrings(text: str) -> str:
    """Python without its comments and docstrings."""
    with PARSING:
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [line for line in body if not _is_docstring(line)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
