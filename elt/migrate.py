"""Bringing a database to the current schema: the numbered migrations, then a view for every model.

Run by a person or a deployment as the owner of the database; never by the DAG, never by the API.
"""

import logging
from collections.abc import Iterable

import psycopg2
import yoyo
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import parse_dsn
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import DatabaseURI

from elt import sql, warehouse
from elt.errors import PipelineError

LIST_COLUMNS = {
    "date": "date",
    "advertiser_id": "text",
    "rank": "smallint",
    "product_id": "text",
    "score": "double precision",
}
"""What the view of every model has from marts.recommendations, with the types there."""

log = logging.getLogger(__name__)


def migrate(database_url: str) -> list[str]:
    """Applies what is missing and returns what it did, a line each; on a current database nothing.

    Two at a time are safe: the second waits. A killed one leaves nothing behind: every migration is one transaction.
    Raises PipelineError that names the file when a model cannot have its view.
    """
    conn = psycopg2.connect(database_url)
    try:
        conn.autocommit = True
        with conn.cursor() as cursor:
            # Not yoyo's own lock: it is a row, which a killed process leaves behind.
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.callproc("pg_advisory_lock", (warehouse.LOCKS, warehouse.hash_of("migrate")))
            cursor.execute("CREATE SCHEMA IF NOT EXISTS migrations")
            backend = _backend(database_url)
            backend.init_database()
            missing = backend.to_apply(yoyo.read_migrations(str(sql.SQL / "migrations")))
            backend.apply_migrations(missing)
            done = [f"applied sql/migrations/{migration.id}.sql" for migration in missing]
            for model in sql.models():
                done += _give_view(cursor, model)
        return done
    finally:
        conn.close()


def _backend(database_url: str) -> PostgresqlBackend:
    """yoyo on the database, its own tables in the schema `migrations`. libpq reads the URI: all of them work."""
    parts = parse_dsn(database_url)
    names = ("user", "password", "host", "port", "dbname")
    return PostgresqlBackend(
        DatabaseURI("postgresql", *(parts.pop(name, None) for name in names), parts | {"schema": "migrations"}),
        "_yoyo_migration",
    )


def _give_view(cursor: Cursor, model: sql.Model) -> list[str]:
    """Makes `marts.<file>`: the model's published lists with its figures as typed columns, as the file selects them."""
    file = f"sql/models/{model.file.name}"
    selected = _columns(cursor, model, file)
    figures = [name for name in selected if name not in sql.MODEL_COLUMNS]
    wanted = LIST_COLUMNS | {name: selected[name] for name in figures}
    comments = _comments(cursor, model, file, wanted)
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL), col_description(attrelid, attnum), "
        "obj_description(attrelid, 'pg_class') "
        "FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum",
        (f"marts.{model.relation}",),
    )
    found = cursor.fetchall()
    existing = {name: type_ for name, type_, *_ in found}
    if list(existing.items()) != list(wanted.items())[: len(existing)]:
        raise PipelineError(
            f"{file}: marts.{model.relation} has the columns {_listed(existing)}; a model may add figures at the end, "
            f"but {_listed(wanted)} takes away, moves or retypes some. Make it a new model: {model.relation}_v2.sql"
        )
    title = f"{model.name}: {model.title} Grain: log day, advertiser, rank. Its SQL: {file}"
    if existing == wanted and {row[0]: row[2] for row in found} == comments and found[0][3] == title:
        return []
    lists, entry = identifiers.Identifier("marts", "recommendations"), identifiers.SQL("")
    if figures:
        types = (identifiers.Identifier(name) + identifiers.SQL(" " + selected[name]) for name in figures)
        entry = identifiers.SQL(" CROSS JOIN LATERAL json_to_record(lists.entry) AS entry ({})").format(
            identifiers.SQL(", ").join(types)
        )
    columns = [identifiers.Identifier("entry" if name in figures else "lists", name) for name in wanted]
    cursor.execute(
        identifiers.SQL(
            "CREATE OR REPLACE VIEW {view} AS "
            "SELECT {columns} FROM {lists} AS lists{entry} WHERE lists.model = {model}; "
            "COMMENT ON VIEW {view} IS {title}"
        ).format(
            view=identifiers.Identifier("marts", model.relation),
            columns=identifiers.SQL(", ").join(columns),
            lists=lists,
            entry=entry,
            model=identifiers.Literal(model.name),
            title=identifiers.Literal(title),
        )
    )
    for name, comment in comments.items():
        column = identifiers.Identifier("marts", model.relation, name)
        cursor.execute(identifiers.SQL("COMMENT ON COLUMN {} IS %s").format(column), (comment,))
    return [f"made the view marts.{model.relation} of {file}"]


def _comments(cursor: Cursor, model: sql.Model, file: str, columns: Iterable[str]) -> dict[str, str]:
    """What each column of the model's view is: as its file says, else marts.recommendations, else which file to ask."""
    cursor.execute(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = 'marts.recommendations'::regclass AND attnum > 0"
    )
    known = dict(cursor.fetchall())
    said = model.figures
    return {name: said.get(name) or (known.get(name)) or f"Figure of the model; {file}" for name in columns}


def _listed(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in columns.items())


def _columns(cursor: Cursor, model: sql.Model, file: str) -> dict[str, str]:
    """The columns that the model selects, with their types."""
    with warehouse.blamed_on(file):
        query = cursor.mogrify(model.query(), {"ds": "2000-01-01"}).decode()
        cursor.execute(identifiers.SQL("SELECT * FROM (\n{}\n) AS model LIMIT 0").format(identifiers.SQL(query)))
    selected = {column.name: column.type_code for column in cursor.description or ()}
    sql.check_columns(file, list(selected))
    for name, oid in selected.items():
        cursor.execute("SELECT format_type(%s, NULL)", (oid,))
        (selected[name],) = cursor.fetchone()  # type: ignore[misc]
    return selected
