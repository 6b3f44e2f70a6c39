"""What DBWriting does beyond publishing its day: days that look back on it, days that came late, the lists on S3.

What others read changes by whole publications; one that fails or is killed leaves it as it was.
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from elt import days, deliveries, sql, steps, warehouse
from elt import s3 as objects
from elt.copying import unload
from elt.errors import FAILURES, Incomplete, NotYet, Overtaken, PipelineError, Withdrawn, together
from elt.settings import Settings
from elt.warehouse import Connect

AT_ONCE = 2
"""Models ranked at one time where somebody waits for the lists."""

AROUND = 30
"""Days before and after a published one whose lists on S3 are looked at with its own."""

PUBLISHED = re.compile(r"date=(\d{4}-\d{2}-\d{2})/(\w+)\.csv\.gz")
"""A published list on S3: its day, its model."""

log = logging.getLogger(__name__)


def finish(
    day: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    run_id: str,
) -> list[str]:
    """DBWriting, whole: publishes the day, catches up with days that look back on it, runs again the days before it of
    which something came late, forgets what is not kept, writes the published lists to S3.

    Returns the names of the models whose publication of the day changed. Raises as `steps.publish` does; when the day
    is published and something after that fails, all else is done, and then PipelineError raised that says so.
    """
    rank_again(day, models, ["hidden_since"], connect, open_s3, settings)
    changed = steps.publish(day, models, connect, settings, run_id=run_id)
    failed: list[Exception] = []
    for beyond in (
        partial(catch_up, day, models, connect, open_s3, settings, run_id=run_id),
        partial(run_late, day, models, connect, open_s3, settings, run_id=run_id),
        partial(steps.forget, day, connect, settings),
        partial(write_published, day, connect, open_s3, settings),
    ):
        try:
            beyond()
        except FAILURES as error:
            failed.append(error)
    if failed:
        raise together(
            "\n".join([f"{day} is published; after that:", *(str(error).strip() for error in failed)]), failed
        ) from failed[0]
    return changed


def rank_again(
    day: str,
    models: Sequence[sql.Model],
    queries: Sequence[str],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
) -> None:
    """Ranks the day by those of the models that the queries of sql/queries name; S3 is opened if there is one."""
    named: set[str] = set()
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        for query in queries:
            warehouse.run(cursor, f"queries/{query}", ds=day, models=[model.name for model in models])
            named.update(name for (name,) in cursor.fetchall())
    if named:
        s3 = open_s3()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            again = [model for model in models if model.name in named]
            list(pool.map(lambda model: steps.build_model(day, model, connect, s3, settings), again))


def catch_up(
    day: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    run_id: str,
) -> list[str]:
    """Ranks and publishes again what is published and looks back on a day that was loaded after it was ranked.

    Of the day itself, and of the days after it: so that days run in any order, and several at a time, end with the
    lists that they have when run one after the other. On an ordinary night there is nothing to do: S3 is not opened.

    Returns the days that it published again; they keep the lists that they had when they are refused. Raises in the
    end as `_each` does.
    """
    params = {"models": [model.name for model in models]}
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/outdated_lists", ds=day, **params)
        outdated = {later: {name for _, name in group} for later, group in groupby(cursor, key=itemgetter(0))}
        for later, names in outdated.items():
            # A model that is newer than the day's publication was never built for it.
            warehouse.run(cursor, "queries/models_to_build", ds=later, **params)
            names.update(name for (name,) in cursor.fetchall())
            warehouse.run(cursor, "queries/hidden_since", ds=later, **params)
            names.update(name for (name,) in cursor.fetchall())

    s3 = cache(open_s3)

    def rank_and_publish(later: str) -> None:
        log.info("%s: %s: an earlier day was loaded since; ranking again", later, ", ".join(sorted(outdated[later])))
        for model in models:
            if model.name in outdated[later]:
                steps.build_model(later, model, connect, s3(), settings)
        steps.publish(later, models, connect, settings, run_id=run_id)

    return _each(outdated, rank_and_publish, f"which looks back on {day}, keeps the lists that it had")


def run_late(
    day: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    run_id: str,
) -> None:
    """Runs again, of the `late_days` days before the day, those of which something was delivered since they were
    loaded, or since their runs were refused: a day that failed, because its logs came after the last retry, is found.
    So is one that such a run has loaded and not published. Ranks and publishes again those of the week before the day
    whose lists have lost rows.

    What a day has to itself is looked at on S3, by its objects' ETags. Of one object for all days the load of the day
    has counted how many lines the day before has now.

    Raises in the end as `_each` does. A day is told once: it is run again when something else is delivered, or when
    waiting alone may have cured it. One that was not published, and is not there yet, has been told by its own run.
    """
    s3 = cache(open_s3)
    came_late = _came_late(day, connect, s3, settings)
    late = _lost_rows(day, models, connect) | _left_over(day, connect, settings) | came_late

    def load_and_publish(earlier: str) -> None:
        is_published, why = late[earlier]
        log.warning("%s: running it again: %s", earlier, why)
        try:
            if earlier in came_late:
                steps.filter_events(earlier, connect, s3(), settings, run_id=run_id)
        except Incomplete as error:
            if not is_published:
                raise
            raise PipelineError(str(error)) from error
        for model in models:
            steps.build_model(earlier, model, connect, s3(), settings)
        steps.publish(earlier, models, connect, settings, run_id=run_id)
        try:
            catch_up(earlier, models, connect, s3, settings, run_id=run_id)
        except FAILURES as error:
            raise together(f"it is published; after that:\n{str(error).strip()}", [error]) from error

    _each(late, load_and_publish, "which was run again")


def _each(days_again: Iterable[str], run: Callable[[str], None], which: str) -> list[str]:
    """Runs it for every day, oldest first, whatever becomes of the others; returns the days that it published.

    Who runs or withdraws a day at the same time decides what becomes of it, and a day that has not arrived is waited
    for: those are no faults. Raises in the end PipelineError that says of the others why not; NotYet when waiting may
    cure all of them.
    """
    published: list[str] = []
    failed: dict[str, Exception] = {}
    for day in sorted(days_again):
        try:
            run(day)
        except (Incomplete, Overtaken, Withdrawn) as error:
            log.warning("%s, %s: %s", day, which, error)
        except FAILURES as error:
            failed[day] = error
        else:
            published.append(day)
    if failed:
        done = f"published again: {', '.join(published)}; " if published else ""
        first = f"{done}failed: {len(failed)} of {len(published) + len(failed)} days"
        said = [f"{day}, {which}: {str(error).strip()}" for day, error in failed.items()]
        raise together("\n".join([first, *said]), list(failed.values()))
    return published


def _lost_rows(day: str, models: Sequence[sql.Model], connect: Connect) -> dict[str, tuple[bool, str]]:
    """The days whose published lists have lost rows: they are published, and how many."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/lost_rows", ds=day, models=[model.name for model in models])
        return {earlier: (True, f"rows of it are lost: {lost}") for earlier, lost in cursor.fetchall()}


def _left_over(day: str, connect: Connect, settings: Settings) -> dict[str, tuple[bool, str]]:
    """The days that are loaded and not published: are they published from an earlier load, and what is wrong.

    They are ranked from what is loaded, whatever has become of their logs.
    """
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/loads_left_over", ds=day, late_days=settings.late_days)
        why = "it is loaded, and was not published"
        return {earlier: (is_published, why) for earlier, is_published in cursor.fetchall()}


def _came_late(day: str, connect: Connect, s3: Callable[[], Any], settings: Settings) -> dict[str, tuple[bool, str]]:
    """The days of which something came late: are they published, and what it is."""
    daily = settings.daily()
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/days_to_look_at", ds=day, late_days=settings.late_days, daily=daily)
        looked_at = cursor.fetchall()
        warehouse.run(cursor, "queries/lines_that_came_late", ds=day, daily=daily)
        counted = cursor.fetchall()
    found = {}
    for earlier, is_published, known in looked_at:
        sources = settings.sources(earlier)
        try:
            now = {
                source: deliveries.find(s3(), uri, settings.complete_marker)
                for source, uri in sources.items()
                if source in daily or not is_published
            }
        except NotYet as error:
            log.info("%s: nothing came late: %s", earlier, error)
            continue
        except PipelineError as error:
            found[earlier] = is_published, str(error)  # which its run says again, and is told
            continue
        if new := [item.uri for source in now for item in now[source] if [source, item.uri, item.etag] not in known]:
            found[earlier] = is_published, f"delivered since: {', '.join(new[:3])} ({len(new):,} objects)"
    for source, lines_now, lines_then in counted if settings.late_days else ():
        why = f"{source} has {lines_now:,} lines of it, and had {lines_then:,} when it was loaded"
        found.setdefault(days.before(day), (True, why))
    return found


def write_published(day: str, connect: Connect, open_s3: Callable[[], Any], settings: Settings) -> None:
    """Writes to S3 what other programs may read: the published lists, `published/date=YYYY-MM-DD/<model>.csv.gz`.

    After the commit, so that nothing is there that readers of the warehouse do not see, and S3 holds no publication up.
    What is missing of the 30 days around the day, or is another object than was written, is written too: a run was
    killed, S3 away, the warehouse restored, INTERMEDIATE_URI changed. Of a list that is published no more the header
    remains.
    """
    s3, prefix = open_s3(), settings.published()
    first, last = (str(date.fromisoformat(day) + timedelta(days)) for days in (-AROUND, AROUND))
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.lock_published_files(conn)
        # One snapshot: the rows are those of the hash that is recorded.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        names = objects.etags(s3, prefix, f"date={first}", f"date={last}/~")
        found = [(*named.groups(), etag) for name, etag in names.items() if (named := PUBLISHED.fullmatch(name))]
        there = {part: [one[n] for one in found] for n, part in enumerate(("days", "models", "etags"))}
        warehouse.run(cursor, "queries/unwritten_lists", first_day=first, last_day=last, **there)
        for ds, model, lists_hash in cursor.fetchall():
            uri = f"{prefix}date={ds}/{model}.csv.gz"
            unload(cursor, sql.read("queries/published_lists"), s3, uri, ds=ds, model=model)
            (written,) = objects.find(s3, uri)
            recorded = {"lists_hash": lists_hash, "etag": written.etag}
            warehouse.run(cursor, "staging/published_files", ds=ds, model=model, **recorded)
        conn.commit()
