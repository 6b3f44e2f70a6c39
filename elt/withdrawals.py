"""Taking a published day back from readers, and giving it to them again."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from psycopg2.extensions import cursor as Cursor

from elt import following, sql, steps, warehouse
from elt.errors import PipelineError, Withdrawn
from elt.settings import Settings
from elt.warehouse import Connect

RUN_ID = "restore"
"""Recorded as the run that published."""

log = logging.getLogger(__name__)


def withdraw(day: str, connect: Connect, *, why: str, by: str) -> str:
    """In one transaction takes the day's lists and figures away, as if it had never been published, and records it.

    What is loaded and ranked stays as it is: later days go on looking back on the day. S3 is left to
    `following.write_published`. It waits for no load and no model, but for a publication. No run that
    began before, and none of another day, publishes the day again.

    Returns the newest published day that is left. Raises PipelineError when the day is not published, or the only one.
    """
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.lock_publication(conn)
        warehouse.run(cursor, "queries/withdrawal", ds=day)
        ((is_published, first_day, last_day, _, _, *withdrawal),) = cursor.fetchall()
        if not is_published:
            if withdrawal[0]:
                raise PipelineError(steps.withdrawn(day, *withdrawal))
            days = f"published are days from {first_day} to {last_day}" if first_day else "no day is"
            raise PipelineError(f"{day} is not published; {days}")
        if first_day == last_day:
            raise PipelineError(f"{day} is the only published day: readers would have nothing; run another day first")
        warehouse.run(cursor, "marts/withdrawals", ds=day, withdrawn_by=by, why=why)
        warehouse.run(cursor, "retention/one_day", ds=day)
        warehouse.run(cursor, "retention/published")
        # What was counted with it: what became of the lists of the day before, what was new on those of the next days.
        warehouse.run(cursor, "marts/advertiser_evaluation", ds=day)
        warehouse.run(cursor, "marts/evaluation", ds=day)
        warehouse.run(cursor, "queries/next_publications", ds=day)
        for (later,) in cursor.fetchall():
            warehouse.run(cursor, "marts/list_changes", ds=later)
            warehouse.run(cursor, "marts/list_variation", ds=later)
        warehouse.run(cursor, "queries/withdrawal", ds=day)
        newest: str = cursor.fetchall()[0][2]
        conn.commit()
    return newest


def restore(
    day: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    by: str,
) -> list[str]:
    """Publishes a withdrawn day again, from what was ranked; what is not kept of that is ranked again.

    Returns the names of the models published. Raises PipelineError when the day is not withdrawn, or was loaded anew
    since readers saw it (what they saw could not come back), and as `steps.build_model` and `steps.publish` do.
    """
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        _check_restorable(cursor, day)
    following.rank_again(day, models, ["models_to_restore", "hidden_since"], connect, open_s3, settings)

    def lift_if_still_restorable(cursor: Cursor) -> None:
        # The day may have been loaded since: then it stays withdrawn.
        _check_restorable(cursor, day)
        warehouse.run(cursor, "queries/lift_withdrawal", ds=day, restored_by=by)

    return steps.publish(day, models, connect, settings, run_id=RUN_ID, first=lift_if_still_restorable)


def not_as_it_was(day: str, connect: Connect) -> list[str]:
    """The models whose lists of the restored day are not those that were withdrawn, each with how."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/not_as_it_was", ds=day)
        return [said for (said,) in cursor.fetchall()]


def _check_restorable(cursor: Cursor, day: str) -> None:
    warehouse.run(cursor, "queries/withdrawal", ds=day)
    ((is_published, _, _, loaded_anew, _, withdrawn_by, *_),) = cursor.fetchall()
    if not withdrawn_by:
        known = "it is published" if is_published else "`python -m elt rebuild` or a run of the DAG publishes it"
        raise PipelineError(f"{day} is not withdrawn; {known}")
    if loaded_anew:
        raise PipelineError(
            f"{day} was loaded anew ({loaded_anew}), and what was published is not kept; "
            f"`python -m elt rebuild --from {day} --to {day}` publishes what is loaded now"
        )


def lift(day: str, connect: Connect, *, by: str, **_: Any) -> None:
    """A run of the day begins, `by` its id, and is no retry: if the day is withdrawn, this run may publish it again."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/withdrawal", ds=day)
        if cursor.fetchall()[0][5]:
            # Only then: whatever is written into marts, DBWriting waits for readers.
            warehouse.run(cursor, "queries/lift_withdrawal", ds=day, restored_by=by)
            conn.commit()
            log.info("%s is withdrawn; this run publishes it again", day)


def check_lifted(day: str, connect: Connect, **_: Any) -> None:
    """A run of the day goes on. Raises Withdrawn when the day was withdrawn since it began: a load would keep `restore`
    from giving readers what they had."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/withdrawal", ds=day)
        ((_, _, _, _, restored_by, *withdrawal),) = cursor.fetchall()
    if withdrawal[0] and restored_by is None:
        raise Withdrawn(steps.withdrawn(day, *withdrawal))
