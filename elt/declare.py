"""Making the database say what the files of sql/ say: views, functions, every comment, and a view for every model.

Only what differs is changed. Tables, keys, roles and grants are the migrations'.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from graphlib import CycleError, TopologicalSorter

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor

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

COMMENTS = {
    "table": identifiers.SQL("COMMENT ON TABLE {} IS %s"),
    "view": identifiers.SQL("COMMENT ON VIEW {} IS %s"),
    "function": identifiers.SQL("COMMENT ON FUNCTION {} IS %s"),
    "column": identifiers.SQL("COMMENT ON COLUMN {} IS %s"),
}


def declare(cursor: Cursor, patiently: Callable[[str, Callable[[], list[str]]], list[str]]) -> list[str]:
    """Makes what is missing or different; returns what it did, a line each.

    `patiently` runs what is declared of a file, a transaction each, again while it gets no lock (elt/migrate.py).
    Raises PipelineError that names the file which can not be what it says: one without a table that is no view, a view
    that takes columns away from its readers, a model that can not have its view.
    """
    done = []
    for declared in _in_order([*sql.relations(), *sql.models()]):
        done += patiently(sql.shown(declared.file), partial(_declare, cursor, declared))
    return done


def _declare(cursor: Cursor, declared: sql.Relation | sql.Model) -> list[str]:
    with cursor.connection:
        if isinstance(declared, sql.Model):
            return _give_view(cursor, declared)
        with warehouse.blamed_on(sql.shown(declared.file)):
            return _make(cursor, declared)


def _in_order(declared: list[sql.Relation | sql.Model]) -> Iterable[sql.Relation | sql.Model]:
    """Views, the models' too, and functions after those that they name. Raises PipelineError for a circle of them."""
    named = {
        f"marts.{one.relation}" if isinstance(one, sql.Model) else f"{one.schema}.{one.name}": one for one in declared
    }
    made = {name: one.statement for name, one in named.items() if isinstance(one, sql.Model) or one.kind != "table"}
    reads = {name: set(re.findall(r"\b\w+\.\w+\b", text)) & set(made) - {name} for name, text in made.items()}
    try:
        order = list(TopologicalSorter({name: sorted(reads.get(name, ())) for name in named}).static_order())
    except CycleError as error:
        files = ", ".join(sorted({sql.shown(named[name].file) for name in error.args[1]}))
        raise PipelineError(f"{files}: they name each other, so that none can be made first") from None
    return [named[name] for name in order]


def _make(cursor: Cursor, relation: sql.Relation) -> list[str]:
    name, file = f"{relation.schema}.{relation.name}", sql.shown(relation.file)
    made = False
    match relation.kind:
        case "function":
            made = _make_function(cursor, name, relation)
        case "view":
            made = _make_view(cursor, name, relation)
        case _:
            cursor.execute("SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p')", (name,))
            if not cursor.rowcount:
                raise PipelineError(
                    f"{file}: there is no table {name}; a migration makes tables. A view's file is one SELECT or WITH, "
                    "a function's begins with CREATE OR REPLACE FUNCTION"
                )
    opening = relation.opening
    explained = _explain(cursor, relation.kind, name, opening.description, opening.columns)
    if made:
        return [f"made the {relation.kind} {name} of {file}"]
    return [f"explained {name} as {file} does"] if explained else []


def _make_function(cursor: Cursor, name: str, relation: sql.Relation) -> bool:
    """Makes the function; returns whether it is another one now. Who calls it meanwhile does not wait."""
    definition = "SELECT pg_get_functiondef(to_regproc(%s))"
    cursor.execute(definition, (name,))
    before = cursor.fetchone()
    cursor.execute(identifiers.SQL(relation.text()))
    cursor.execute(definition, (name,))
    after = cursor.fetchone()
    if after == (None,):
        raise PipelineError(
            f"{sql.shown(relation.file)}: after it there is not one function {name}: it makes another, or one with "
            "other arguments beside it. A migration drops the old one, makes the new one and grants it"
        )
    if after == before:
        cursor.connection.rollback()
    return bool(after != before)


def _make_view(cursor: Cursor, name: str, relation: sql.Relation) -> bool:
    """Makes the view if it is not what the file says, as PostgreSQL understands both; returns whether it was not.

    A view that is made anew waits for its readers, and others for it: hence the look before.
    """
    query, probe = identifiers.SQL(relation.text()), identifiers.Identifier(relation.name)
    cursor.execute(identifiers.SQL("CREATE TEMPORARY VIEW {} AS {}").format(probe, query))
    cursor.execute(
        "SELECT pg_get_viewdef(to_regclass(%s)) IS DISTINCT FROM pg_get_viewdef(to_regclass(%s))",
        (f"pg_temp.{relation.name}", name),
    )
    differs = cursor.fetchone() == (True,)
    cursor.execute(identifiers.SQL("DROP VIEW {}").format(probe))
    if differs:
        view = identifiers.Identifier(relation.schema, relation.name)
        try:
            cursor.execute(identifiers.SQL("CREATE OR REPLACE VIEW {} AS {}").format(view, query))
        except psycopg2.errors.InvalidTableDefinition as error:
            raise PipelineError(
                f"{sql.shown(relation.file)}: {error.diag.message_primary}; a view may add columns at the end. What "
                f"takes away, moves, renames or retypes some is another view: {relation.name}_v2.sql"
            ) from error
    return differs


def _explain(cursor: Cursor, kind: str, name: str, description: str, columns: dict[str, str]) -> bool:
    """Writes the comments that differ; returns whether any did."""
    cursor.execute(
        "SELECT NULL, coalesce(obj_description(to_regclass(%(name)s), 'pg_class'), "
        "obj_description(to_regproc(%(name)s), 'pg_proc')) "
        "UNION ALL SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%(name)s)",
        {"name": name},
    )
    known = dict(cursor.fetchall())
    parts = name.split(".")
    wanted = {None: (kind, description)} | {column: ("column", text) for column, text in columns.items()}
    different = {column: said for column, said in wanted.items() if known.get(column) != said[1]}
    for column, (of, text) in different.items():
        what = identifiers.Identifier(*parts, column) if column else identifiers.Identifier(*parts)
        cursor.execute(COMMENTS[of].format(what), (text,))
    return bool(different)


def _give_view(cursor: Cursor, model: sql.Model) -> list[str]:
    """Makes `marts.<file>`: the model's published lists with its figures as typed columns, as the file selects them."""
    name, file = f"marts.{model.relation}", sql.shown(model.file)
    selected = _columns(cursor, model, file)
    figures = [column for column in selected if column not in sql.MODEL_COLUMNS]
    wanted = LIST_COLUMNS | {column: selected[column] for column in figures}
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum",
        (name,),
    )
    existing = dict(cursor.fetchall())
    if list(existing.items()) != list(wanted.items())[: len(existing)]:
        raise PipelineError(
            f"{file}: {name} has the columns {_listed(existing)}; a model may add figures at the end, "
            f"but {_listed(wanted)} takes away, moves or retypes some. Make it a new model: {model.relation}_v2.sql"
        )
    if existing != wanted:
        cursor.execute(_view_of(model, wanted, figures))
    title = f"{model.name}: {model.title} Grain: log day, advertiser, rank. Its SQL: {file}"
    explained = _explain(cursor, "view", name, title, _said(model, file, wanted))
    return [f"made the view {name} of {file}"] if existing != wanted or explained else []


def _view_of(model: sql.Model, columns: dict[str, str], figures: list[str]) -> identifiers.Composed:
    lists, entry = identifiers.Identifier("marts", "recommendations"), identifiers.Composed([])
    if figures:
        types = (identifiers.Identifier(name) + identifiers.SQL(" " + columns[name]) for name in figures)
        entry = identifiers.SQL(" CROSS JOIN LATERAL json_to_record(lists.entry) AS entry ({})").format(
            identifiers.SQL(", ").join(types)
        )
    return identifiers.SQL(
        "CREATE OR REPLACE VIEW {view} AS SELECT {columns} FROM {lists} AS lists{entry} WHERE lists.model = {model}"
    ).format(
        view=identifiers.Identifier("marts", model.relation),
        columns=identifiers.SQL(", ").join(
            identifiers.Identifier("entry" if name in figures else "lists", name) for name in columns
        ),
        lists=lists,
        entry=entry,
        model=identifiers.Literal(model.name),
    )


def _said(model: sql.Model, file: str, columns: Iterable[str]) -> dict[str, str]:
    """What each column of the model's view is: as its file says, else marts.recommendations, else which file to ask."""
    said = sql.opening(sql.SQL / "marts" / "recommendations.sql").columns | model.figures
    return {name: said.get(name, f"Figure of the model; {file}") for name in columns}


def _listed(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in columns.items())


def _columns(cursor: Cursor, model: sql.Model, file: str) -> dict[str, str]:
    """The columns that the model selects, with their types. Raises PipelineError, also where it does not say
    how far it looks back."""
    with warehouse.blamed_on(file):
        query = warehouse.ranking(cursor, model, "2000-01-01")
        cursor.execute(identifiers.SQL("SELECT * FROM (\n{}\n) AS model LIMIT 0").format(query))
    selected = {column.name: column.type_code for column in cursor.description or ()}
    sql.check_columns(file, list(selected))
    model.check_looks_back()
    types = {}
    for name, oid in selected.items():
        cursor.execute("SELECT format_type(%s, NULL)", (oid,))
        (types[name],) = cursor.fetchone() or ("",)
    return types
