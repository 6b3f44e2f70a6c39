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

LOGS = ("advertiser_ids", "product_views", "ads_views")

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


def lineage() -> str:
    """The text of docs/lineage.md: three pictures, drawn from what the SQL files read and write."""
    made = [edge for file in _files("staging", "candidates", "marts", "migrations") for edge in _edges(file)]
    made += [(f"S3 {log}", f"pg_temp.{log}") for log in LOGS]
    # Lines that repeat are counted first (elt/land.py).
    made += [(f"S3 {log}", "pg_temp.blocks") for log in LOGS if log != "advertiser_ids"]
    made += [("pg_temp.distinct_lines", f"pg_temp.{log}") for log in LOGS if log != "advertiser_ids"]
    for model in sql.models():
        made += [(source, model.name) for source in _sources(model.file)]
        made += [(model.name, "models.candidates"), ("marts.recommendations", f"marts.{model.relation}")]
    asked = [
        (source, title)
        for file in sorted((PROJECT / "api" / "queries").glob("*.sql"))
        if (title := _endpoint(file))
        for source in _sources(file)
    ]
    before = [edge for edge in made if not edge[1].startswith("marts.")]
    marts = [edge for edge in made if edge[1].startswith("marts.")]
    return "\n".join(
        [
            "# Lineage",
            "",
            "Drawn by `make docs` from the SQL: what each file reads and writes. Folder = schema, file = relation;",
            "`pg_temp` is of one session. What the columns mean: [data-dictionary.md](data-dictionary.md).",
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


def _files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((sql.SQL / folder).glob("*.sql"))]


def _edges(file: Path) -> Iterator[Edge]:
    """What the file makes of what. A query that Python copies on goes where its name says."""
    for statement in _statements(file):
        targets = {_name(insert.this) for insert in statement.find_all(expressions.Insert)}
        if isinstance(statement, expressions.Create) and statement.expression:
            targets.add(_name(statement.this))
        if isinstance(statement, expressions.Select):
            if file.stem.endswith("_counts"):
                targets.add("pg_temp.event_counts")
            elif file.stem == "advertiser_ids_kept":
                targets.add("pg_temp.active_advertisers")
            elif file.stem.endswith("_kept"):
                targets.add(f"S3 intermediate {file.stem.removesuffix('_kept')}")
        for target in targets:
            for source in _read_by(statement) - targets:
                yield source, target


def _sources(file: Path) -> set[str]:
    return {source for statement in _statements(file) for source in _read_by(statement)}


def _read_by(statement: expressions.Expression) -> set[str]:
    """The relations of the warehouse in it; what has no schema is a CTE."""
    return {_name(table) for table in statement.find_all(expressions.Table) if table.db}


def _statements(file: Path) -> list[expressions.Expression]:
    text = re.sub(r"%\(\w+\)s", "NULL", file.read_text()).replace("%%", "%")
    # A procedural block makes no relation, and is opaque to the parser.
    text = re.sub(r"^DO \$\$.*?^\$\$;", "", text, flags=re.DOTALL | re.MULTILINE)
    statements, start = [], 0
    for part in [*sqlglot.tokenize(text, read="postgres"), None]:
        if part is None or part.text == ";":
            piece = text[start : part.start if part else len(text)]
            start = part.end + 1 if part else start
            if re.match(r"(--.*\n|\s)*(INSERT INTO|CREATE VIEW|CREATE TEMPORARY TABLE \w+ AS|SELECT|WITH)\b", piece):
                statements.append(sqlglot.parse_one(piece, read="postgres"))
    return statements


def _name(table: expressions.Expression) -> str:
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
        shape = '[("{}")]' if "." in name else '["{}"]' if name[:3] != "GET" else '(["{}"])'
        return identity + shape.format(name)

    lines = [f"    {node(source)} --> {node(target)}" for source, target in sorted(set(edges))]
    return ["```mermaid", "flowchart LR", *lines, "```"]


def main() -> int:
    with TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres", free_port()) as postgres:
        postgres.provision("described")
        migrate(postgres.url(MASTER, "described"))
        conn = psycopg2.connect(postgres.url(MASTER, "described"))
        DICTIONARY.write_text(dictionary(conn))
        conn.close()
    LINEAGE.write_text(lineage())
    print(f"wrote {DICTIONARY.relative_to(PROJECT)} and {LINEAGE.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
