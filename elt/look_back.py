"""How far back in time a ranking model reads, and whether it cuts its lists: told from its SQL, so that it can not be
told wrong."""

import re
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

from elt.errors import PipelineError

FARTHEST = 30
"""Days before the log day that a model may read: what retention keeps, and what catching up looks at."""

WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Into, exp.Lock, exp.Command)
"""What no part of a model is, nor of a CTE in it."""

COMPARES = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.In)
"""How a list is cut; `rank = 1` rather takes the newest of something, unless it is the rank that the model selects."""

MIRRORED = {exp.EQ: exp.EQ, exp.GTE: exp.LTE, exp.GT: exp.LT, exp.LTE: exp.GTE, exp.LT: exp.GT}
"""A comparison with its sides changed."""

DAY = "the log day"
"""What stands for the parameter while a query is read."""

SPELLING = "date = %(ds)s::date, or date BETWEEN %(ds)s::date - N AND %(ds)s::date"


@lru_cache(64)
def look_back(query: str, file: str) -> int:
    """How many days before the log day the query reads: 0 for a model of the day.

    Whatever the query reads of the warehouse must be bounded on both sides, where it is read, by conditions on its
    column `date` with the log day and a whole number of days: `date = D`, `date BETWEEN D AND E`, `date >= D` and
    `date <= E`, or an IN of days, where D and E are `%(ds)s::date`, or `- N`. Raises PipelineError that names the file
    as `one_select` does, and when a bound is missing, can not be read, is after the log day or more than FARTHEST days
    back; so does a function of the warehouse, which may read anything.
    """
    statement = one_select(query, file)
    for called in statement.find_all(exp.Dot):
        if isinstance(called.expression, exp.Func) and called.this.name != "pg_catalog":
            raise PipelineError(f"{file}: it can not be told what the function {called.sql('postgres')} reads")
    ctes = {cte.alias for cte in statement.find_all(exp.CTE)}
    days = [_days(table, file) for table in statement.find_all(exp.Table) if _is_of_the_warehouse(table, ctes)]
    if (farthest := max(days, default=0)) > FARTHEST:
        raise PipelineError(f"{file}: looks back {farthest} days; a model may look back {FARTHEST}")
    return farthest


def cut(query: str, file: str) -> str | None:
    """The condition by which the query cuts its lists itself, so that they can not be filled up; None: it ranks all.

    Its rank compared with a number, by whatever name, the rank that it selects equal to one, or a LIMIT above 1; not
    the best of another model's whole ranking (pg_temp), nor what only computes a figure. Raises PipelineError as
    `one_select` does.
    """
    statement = one_select(query, file)
    ranks = {"rank", *(made.this.name for made in statement.find_all(exp.Alias) if made.alias == "rank")}
    for compared in statement.find_all(*COMPARES):
        clause, select = compared.find_ancestor(exp.Where, exp.Join, exp.Select), compared.find_ancestor(exp.Select)
        if select is None or isinstance(clause, exp.Select | None) or isinstance(clause.parent, exp.Filter):
            continue
        tables = [table for table in select.find_all(exp.Table) if table.find_ancestor(exp.Select) is select]
        others = {table.alias_or_name for table in tables if table.db == "pg_temp"}
        others |= {""} if all(table.db == "pg_temp" for table in tables) else set()
        parts = [
            part for part in compared.find_all(exp.Column, exp.Literal) if part.find_ancestor(exp.Select) is select
        ]
        own = [
            part for part in parts if isinstance(part, exp.Column) and part.name in ranks and part.table not in others
        ]
        if own and any(isinstance(part, exp.Literal) for part in parts):
            return compared.sql("postgres")
    selected = {exp.column("rank"), *(made.unalias() for made in statement.selects if made.alias_or_name == "rank")}
    for compared in (statement.args.get("where") or exp.Where()).find_all(exp.EQ):
        is_its_own = compared.find_ancestor(exp.Select) is statement and selected & {compared.left, compared.right}
        if is_its_own and compared.find(exp.Literal):
            return compared.sql("postgres")
    for limit in statement.find_all(exp.Limit, exp.Fetch):
        if limit.args.get("expression", limit.args.get("count")) != exp.Literal.number(1):
            return limit.sql("postgres").strip()
    return None


@lru_cache(64)
def one_select(query: str, file: str) -> exp.Query:
    """The query, parsed once: nobody changes what it is. A second statement would run with the rights of the run, a
    COMMIT would end its transaction.

    Raises PipelineError that names the file when it is not one SELECT that only reads.
    """
    try:
        # The parameter is the only thing in a model that is not SQL.
        statements = sqlglot.parse(query.replace("%(ds)s", f"'{DAY}'").replace("%%", "%"), read="postgres")
    except SqlglotError as error:
        said = re.sub(r"\x1b\[\d+m", "", str(error))  # it underlines
        raise PipelineError(f"{file}: can not be read: {said}") from None
    found = [statement for statement in statements if statement is not None]
    match found:
        case [exp.Query() as statement] if not statement.find(*WRITES):
            normalize_identifiers(statement, dialect="postgres")
            return statement
    told = "; ".join(" ".join(statement.sql("postgres", comments=False).split())[:60] for statement in found)
    raise PipelineError(f"{file}: a model is one SELECT that only reads, not: {told}")


def _is_of_the_warehouse(table: exp.Table, ctes: set[str]) -> bool:
    """Is it a relation, or a function of a schema? Without a schema it is one by the search path, or a CTE.

    What is in pg_temp is another model's ranking, which looks back as far as that model does.
    """
    if table.db == "pg_temp":
        return False
    return bool(table.db) or (isinstance(table.this, exp.Identifier) and table.name not in ctes)


def _days(table: exp.Table, file: str) -> int:
    """How many days before the log day are read of the table."""
    bounds = [_bounds(condition, table) for condition in _conditions(table)]
    first = [days for days, _ in bounds if days is not None]
    last = [days for _, days in bounds if days is not None]
    read = ".".join(part.sql("postgres") for part in (table.args.get("db"), table.this) if part)
    say = f"say it where the table is read, as {SPELLING} (N at most {FARTHEST})"
    if not first:
        raise PipelineError(f"{file}: it can not be told how many days of {read} are read; {say}")
    if max(last, default=-1) < 0:
        raise PipelineError(
            f"{file}: may read days of {read} after the log day, so that a day that is run again would have other "
            f"lists than in its night; {say}"
        )
    return max(0, min(first))


def _conditions(table: exp.Table) -> list[exp.Expr]:
    """What must hold for every row of the table that is read: the conditions of the SELECT that reads it."""
    select = table.find_ancestor(exp.Select)
    if select is None:
        return []
    # An outer join's condition keeps rows of one of its sides that do not meet it.
    joins = [join.args.get("on") for join in select.args.get("joins") or [] if _filters(join, table)]
    where = select.args.get("where")
    said = [where.this if where else None, *joins]
    return [part for condition in said if condition for part in _parts(condition)]


def _filters(join: exp.Join, table: exp.Table) -> bool:
    side = (join.side or "").upper()
    return not side or (side == "LEFT" and join.this is table)


def _parts(condition: exp.Expr) -> list[exp.Expr]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        return _parts(condition.left) + _parts(condition.right)
    return [condition]


def _bounds(condition: exp.Expr, table: exp.Table) -> tuple[int | None, int | None]:
    """Days before the log day that the condition lets pass at most, and at least; None when it says nothing that can be
    read."""
    match condition:
        case exp.EQ() | exp.GTE() | exp.GT() | exp.LTE() | exp.LT():
            if _is_date(condition.left, table):
                kind: type[exp.Expr] = type(condition)
                day = condition.right
            elif _is_date(condition.right, table):
                kind, day = MIRRORED[type(condition)], condition.left
            else:
                return None, None
            days = _days_before(day)
            if days is None or kind in (exp.GTE, exp.GT):
                return days, None
            return (days, days) if kind is exp.EQ else (None, days + (kind is exp.LT))
        case exp.Between() if _is_date(condition.this, table) and not condition.args.get("symmetric"):
            return _days_before(condition.args["low"]), _days_before(condition.args["high"])
        case exp.In() if _is_date(condition.this, table) and condition.expressions:
            found = [day for day in map(_days_before, condition.expressions) if day is not None]
            if len(found) == len(condition.expressions):
                return max(found), min(found)
    return None, None


def _is_date(side: exp.Expr, table: exp.Table) -> bool:
    """Is it the column `date` of the table? Not of a function, nor where an alias names the columns anew."""
    side = side.unnest()
    if not isinstance(side, exp.Column) or isinstance(table.this, exp.Func) or table.alias_column_names:
        return False
    return side.name == "date" and side.table in ("", table.alias_or_name) and side.db in ("", table.db)


def _days_before(side: exp.Expr) -> int | None:
    """N of `D - N`, 0 of D; None of anything else."""
    side = side.unnest()
    match side:
        case exp.Cast() if side.to.is_type("date") and side.this.unnest() == exp.Literal.string(DAY):
            return 0
        case exp.Sub() | exp.Add():
            before, days = _days_before(side.left), side.right.unnest()
            if before is not None and isinstance(days, exp.Literal) and days.is_int:
                return before + int(days.this) * (1 if isinstance(side, exp.Sub) else -1)
    return None
