"""`make docs`: writes docs/data-dictionary.md from the catalog of a migrated database, docs/lineage.md from the SQL."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
import sqlglot
from psycopg2.extensions import connection as Connection
from sqlglot import expressions

from elt import sql
from elt.migrate import migrate
from elt.settings import PROJECT
from local.airflow import free_port
from local.postgres import MASTER, Postgres

DICTIONARY, LINEAGE = PROJECT / "docs" / "data-dictionary.md", PROJECT / "docs" / "lineage.md"

FOLDERS = ("landing", *sql.SCHEMAS)
"""What is drawn of sql/: one file makes one thing."""

NAMES = re.compile(r"S3 \w+|\b(?:pg_temp|staging|models|marts)\.\w+")
"""Names in the line `Source:` of an opening comment."""

MADE = re.compile(r"S3 [\w ]+|(?:pg_temp|staging|models|marts)\.\w+")
"""What an opening comment begins with when the file makes it."""

RANKED = "pg_temp.ranked"
"""Where a model's rows are until they are candidates: it is of one statement, and not drawn."""

Edge = tuple[str, str]
"""A relation, and one that is made of it."""

COLUMNS = """
SELECT
    namespace.nspname,
    obj_description(namespace.oid, 'pg_namespace'),
    relation.relname,
    relation.relkind,
    obj_description(relation.oid, 'pg_class'),
    attribute.attname,
    format_type(attribute.atttypid, attribute.atttypmod),
    coalesce(attribute.attnum = any(key.conkey), false),
    col_description(relation.oid, attribute.attnum)
FROM pg_class AS relation
JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
LEFT JOIN pg_constraint AS key ON key.conrelid = relation.oid AND key.contype = 'p'
WHERE namespace.nspname IN ('marts', 'staging', 'models')
    AND relation.relkind IN ('r', 'p', 'v', 'm') AND attribute.attnum > 0 AND NOT attribute.attisdropped
ORDER BY array_position(ARRAY['marts', 'staging', 'models'], namespace.nspname::text), relation.relname COLLATE "C",
    attribute.attnum
"""


def dictionary(conn: Connection) -> str:
    """The text of docs/data-dictionary.md: every relation and column of the warehouse, as their comments say.

    Raises RuntimeError that names what has no comment.
    """
    with conn.cursor() as cursor:
        cursor.execute(COLUMNS)
        rows = cursor.fetchall()
    text = [
        "# Data dictionary",
        "",
        "Written by `make docs` from the comments in the database; `\\d+ marts.publications` in psql shows the same.",
        "Columns in bold are the key. Analysts read `marts` and `staging`. Where a relation comes from: "
        "[lineage.md](lineage.md).",
    ]
    schema = relation = None
    for of_schema, schema_is, of_relation, kind, relation_is, column, type_, in_key, column_is in rows:
        if not (schema_is and relation_is and column_is):
            raise RuntimeError(
                f"{of_schema}.{of_relation}.{column}: the schema, the relation or the column is undocumented"
            )
        if of_schema != schema:
            text += ["", f"## {of_schema}", "", f"{schema_is}."]
        if (of_schema, of_relation) != (schema, relation):
            view = " (view)" if kind in "vm" else ""
            text += ["", f"### {of_schema}.{of_relation}{view}", "", f"{relation_is.removesuffix('.')}.", ""]
            text += ["| column | type | |", "|---|---|---|"]
        schema, relation = of_schema, of_relation
        name = f"**{column}**" if in_key else column
        text.append(f"| {name} | {type_} | {column_is.replace('|', chr(92) + '|')} |")
    return "\n".join(text) + "\n"


def lineage(conn: Connection) -> str:
    """The text of docs/lineage.md: three pictures, drawn from what the SQL files read and write.

    What a file reads is what its statements read, and what its opening comment names as its source: rows that COPY
    brings stand in no statement. What it makes is what the comment begins with.
    """
    made = [edge for folder in FOLDERS for file in sorted((sql.SQL / folder).glob("*.sql")) for edge in _edges(file)]
    models = sql.models()
    made += [(source, model.name) for model in models for source in read_by(model.file)]
    made += [edge for model in models for edge in _view_edges(conn, f"marts.{model.relation}")]
    asked = [
        (source, title)
        for file in sorted((PROJECT / "api" / "queries").glob("*.sql"))
        if (title := _endpoint(file))
        for source in read_by(file)
    ]
    before = [edge for edge in made if not edge[1].startswith("marts.")]
    marts = [edge for edge in made if edge[1].startswith("marts.")]
    return "\n".join(
        [
            "# Lineage",
            "",
            "Drawn by `make docs` from the SQL: what each file reads and writes. Folder = schema, file = relation;",
            "`pg_temp` is of one session, its files are in `sql/landing`. What the columns mean:",
            "[data-dictionary.md](data-dictionary.md).",
            "",
            "## From the logs to ranked candidates",
            "",
            *_picture(before),
            "",
            "## What DBWriting publishes, and views on it",
            "",
            *_picture(marts),
            "",
            "## What the API reads",
            "",
            *_picture(asked),
            "",
        ]
    )


def named_sources(file: Path) -> set[str]:
    """What the file's opening comment names as its source. `sql/models` stands for every model."""
    said = sql.opening(file).said.get("Source", "")
    models = {model.name for model in sql.models()} if "sql/models" in said else set()
    return models | set(NAMES.findall(said))


def read_by(file: Path) -> set[str]:
    """The relations of the warehouse that the file's statements read."""
    return {name for statement in _statements(file) for name in _reads(statement)}


def _edges(file: Path) -> Iterator[Edge]:
    """What the file makes of what; a ranking model, or a query on its way out, makes nothing by itself."""
    target = sql.opening(file).name
    if MADE.fullmatch(target):
        for source in (read_by(file) | named_sources(file)) - {target, RANKED}:
            yield source, target


def _view_edges(conn: Connection, view: str) -> Iterator[Edge]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT pg_get_viewdef(%s::regclass)", (view,))
        (definition,) = cursor.fetchone() or ("",)
    for source in _reads(sqlglot.parse_one(definition, read="postgres")):
        yield source, view


def _reads(statement: expressions.Expr) -> set[str]:
    """The relations of the warehouse in it, but for those that it fills; what has no schema is a CTE."""
    filled = {_name(insert.this) for insert in statement.find_all(expressions.Insert)}
    return {_name(table) for table in statement.find_all(expressions.Table) if table.db} - filled


def _statements(file: Path) -> list[expressions.Expr]:
    text = re.sub(r"%\(\w+\)s", "NULL", file.read_text()).replace("%%", "%")
    statements, start = [], 0
    for part in [*sqlglot.tokenize(text, read="postgres"), None]:
        if part is None or part.text == ";":
            piece = text[start : part.start if part else len(text)]
            start = part.end + 1 if part else start
            if re.match(r"(--.*\n|\s)*(INSERT INTO|SELECT|WITH)\b", piece):
                statements.append(sqlglot.parse_one(piece, read="postgres"))
    return statements


def _name(table: expressions.Expr) -> str:
    found = table.find(expressions.Table)
    assert found is not None
    return f"{found.db or 'pg_temp'}.{found.name}"


def _endpoint(file: Path) -> str | None:
    """`GET /stats` of a query file that says which it answers."""
    found = re.match(r"-- (GET /[^:]*):", file.read_text())
    return found[1] if found else None


def _picture(edges: list[Edge]) -> list[str]:
    """A Mermaid flow chart, left to right."""

    def node(name: str) -> str:
        identity = re.sub(r"\W", "_", name)
        shape = '(["{}"])' if name[:4] == "GET " else '[("{}")]' if "." in name else '["{}"]'
        return identity + shape.format(name)

    lines = [f"    {node(source)} --> {node(target)}" for source, target in sorted(set(edges))]
    return ["```mermaid", "flowchart LR", *lines, "```"]


def main() -> int:
    with TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres", free_port()) as postgres:
        postgres.provision("described")
        migrate(postgres.url(MASTER, "described"))
        conn = psycopg2.connect(postgres.url(MASTER, "described"))
        DICTIONARY.write_text(dictionary(conn))
        LINEAGE.write_text(lineage(conn))
        conn.close()
    print(f"wrote {sql.shown(DICTIONARY)} and {sql.shown(LINEAGE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
