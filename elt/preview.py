"""What a new or changed model would list, on the days that are stored; nothing is published, nothing is kept."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from elt import sql, steps, warehouse
from elt.errors import PipelineError
from elt.warehouse import Connect

Figures = dict[str, Any]


def preview(
    file: Path, against: str, first: date, last: date, connect: Connect, say: Callable[[str], None]
) -> dict[str, Any]:
    """Ranks the loaded days from `first` to `last` by the model file, beside the published lists of `against`.

    Says a line a day. Returns `days`, a row each as sql/queries/preview.sql counts it, the same of `all` together, the
    largest `changes` of the last day by name, and `refused`: by day, what the audits of a night would not let through.
    All in one transaction that is rolled back: it holds no lock that a night waits for. Raises PipelineError when the
    file is no model or no day of the range is published by `against`.
    """
    model = sql.model(file)
    model.check_looks_back()  # refused here as it would be by a night
    name = {"preview": f"{model.name} (preview)", "against": against}
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        warehouse.run(cursor, "queries/preview_days", first=first, last=last, against=against)
        loaded = cursor.fetchall()
        days = [day for day, is_published in loaded if is_published]
        if not days:
            raise PipelineError(
                f"{len(loaded)} days are loaded from {first} to {last}, and {against} is published on none of them"
            )
        refused: dict[str, list[str]] = {}
        found = {day: _of_day(cursor, day, model, name, refused, say) for day in days}
        warehouse.run(cursor, "queries/preview", ds=None)
        ((total,),) = cursor.fetchall()
        warehouse.run(cursor, "queries/preview_changes", ds=days[-1])
        changes = [change for (change,) in cursor.fetchall()]
        conn.rollback()
    return {
        "model": model.name,
        "against": against,
        "days": found,
        "all": total,
        "changes": changes,
        "refused": refused,
    }


def _of_day(
    cursor: Any,
    day: str,
    model: sql.Model,
    name: dict[str, str],
    refused: dict[str, list[str]],
    say: Callable[[str], None],
) -> Figures:
    steps.rank(cursor, day, model, name["preview"])
    warehouse.run(cursor, "queries/preview_refused", ds=day, preview=name["preview"])
    if broken := [f"{audit}: {rows:,} rows, {said}" for audit, rows, said in cursor.fetchall()]:
        refused[day] = broken
    cursor.execute("DROP TABLE pg_temp.ranked, pg_temp.dropped")
    warehouse.run(cursor, "queries/preview_lists", ds=day, **name)
    warehouse.run(cursor, "queries/preview", ds=day)
    figures: Figures
    ((figures,),) = cursor.fetchall()
    say(line(day, figures))
    for audit in refused.get(day, []):
        say(f"  {day} a night would refuse it, by {audit}")
    return figures


def line(of: str, figures: Figures) -> str:
    """The figures of a day, or of all, for people."""

    def ratio(name: str, form: str = ".3f") -> str:
        if figures[name] is None:
            return "-"
        margin = figures[f"{name}_margin"]
        return f"{figures[name]:{form}}" + ("" if margin is None else f" +-{margin:.3f}")

    return (
        f"{of:10}  {figures['lists']:>7,} lists, {figures['changed']:,} differ; overlap {figures['overlap'] or 0:.0%}, "
        f"change {figures['rank_weighted_change'] or 0:.3f}; the day after, listed over not listed: "
        f"{ratio('new')}, published {ratio('old')}, gain {ratio('gain', '+.3f')}"
    )


def report(found: dict[str, Any]) -> list[str]:
    """What is said after the days: all together, and the lists of the last day that differ most."""
    said = [line("all days", found["all"])]
    for change in found["changes"]:
        comes, goes = (", ".join(change[which][:5]) or "none" for which in ("comes", "goes"))
        said.append(f"  {change['advertiser_id']}  {change['rank_weighted_change']:.2f}  comes: {comes}  goes: {goes}")
    return said
