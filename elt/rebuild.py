"""Any range of days, from S3 to published lists, without Airflow: the same steps, one day after the other."""

import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

from elt import following, sql, steps, warehouse, withdrawals
from elt.errors import FAILURES
from elt.settings import Settings
from elt.warehouse import Connect

RUN_ID = "rebuild"
"""Recorded as the run that loaded and published."""


def rebuild(
    first: date,
    last: date,
    connect: Connect,
    s3: Any,
    settings: Settings,
    say: Callable[[str], None],
    *,
    reload: bool,
    incomplete: bool,
) -> list[str]:
    """Loads, ranks and publishes every day from `first` to `last`; says a line a day. Returns the days that failed.

    Days before `first` that the models look back on are loaded when they are not, if their logs are there; those that
    are stay as they are, since nobody would publish them again. Published days after `last` that look back into the
    range are ranked and published again. What is loaded already from the same objects by the same SQL is not read
    again, unless `reload`; so a rebuild that was stopped goes on where it was. Days that look like a part of one fail,
    unless they are wanted `incomplete`.
    """
    models = sql.models()
    looks_back = max(model.looks_back for model in models)

    def load(day: str) -> str:
        loaded = steps.filter_events(day, connect, s3, settings, run_id=RUN_ID, reload=reload, incomplete=incomplete)
        return "loaded" if loaded else "was loaded"

    for day in _days(first - timedelta(looks_back), first - timedelta(1)):
        try:
            say(f"{day}  {'was loaded' if _is_loaded(day, connect) else load(day)}, to look back on")
        except FAILURES as error:
            say(f"{day}  nothing to look back on: {_first_line(error)}")
    failed = []
    for day in _days(first, last):
        started = time.monotonic()
        try:
            withdrawals.lift(day, connect, by=RUN_ID)
            done = load(day)
            candidates = sum(steps.build_model(day, model, connect, s3, settings) for model in models)
            changed = steps.publish(day, models, connect, settings, run_id=RUN_ID)
        except FAILURES as error:
            failed.append(day)
            say(f"{day}  FAILED: {str(error).strip()}")
            continue
        published = f"published {', '.join(changed)}" if changed else "published already, nothing changed"
        say(f"{day}  {done}, ranked {candidates:,} products, {published}  ({time.monotonic() - started:.1f} s)")
    for day in _days(first, last):
        try:
            for later in following.catch_up(day, models, connect, lambda: s3, settings, run_id=RUN_ID):
                say(f"{later}  ranked and published again: it looks back on {day}")
            following.write_published(day, connect, lambda: s3, settings)
        except FAILURES as error:
            failed += [day] if day not in failed else []
            say(f"{day}  FAILED afterwards: {error}")
    return failed


def _is_loaded(day: str, connect: Connect) -> bool:
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/is_loaded", ds=day)
        return cursor.rowcount > 0


def _days(first: date, last: date) -> Iterator[str]:
    for n in range((last - first).days + 1):
        yield str(first + timedelta(n))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
