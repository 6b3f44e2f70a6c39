"""What DBWriting does beyond publishing its day: days that look back on it, days that came late, the lists on S3.

Every step commits once, at its end; a step that fails or is killed leaves what others read as it was.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from elt import days, deliveries, sql, steps, warehouse
from elt.copying import unload
from elt.errors import Locked, NotYet, PipelineError, Withdrawn
from elt.settings import Settings
from elt.warehouse import Connect

AT_ONCE = 2
"""Models ranked at one time where somebody waits for the lists."""

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
    """DBWriting, whole: publishes the day, catches up with days that look back on it, forgets what is not kept, runs
    again the days before it of which something came late, writes the published lists to S3.

    Returns the names of the models whose publication of the day changed. Raises as `steps.publish` does; when the day
    is published and something after that is refused, all else is done, and then PipelineError raised that says so.
    """
    rank_again(day, models, ["hidden_since"], connect, open_s3, settings)
    changed = steps.publish(day, models, connect, settings, run_id=run_id)
    refused = None
    try:
        catch_up(day, models, connect, open_s3, settings, run_id=run_id)
    except PipelineError as error:
        refused = error
    steps.forget(day, connect, settings)
    run_late(day, models, connect, open_s3, settings, run_id=run_id)
    write_published(day, connect, open_s3, settings)
    if refused:
        raise type(refused)(f"{day} is published; after that:\n{refused}") from refused
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

    Returns the days that it published again. A day that is refused does not stop the others; PipelineError says in the
    end which were published again, and of each of the others why not; NotYet when a lock was not to be had.
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
    caught_up, refused = [], []
    kind: type[PipelineError] = PipelineError
    for later, names in outdated.items():
        log.info("%s: %s: an earlier day was loaded since; ranking again", later, ", ".join(sorted(names)))
        try:
            for model in models:
                if model.name in names:
                    steps.build_model(later, model, connect, open_s3(), settings)
            steps.publish(later, models, connect, settings, run_id=run_id)
        except Locked as error:
            refused.append(f"{later}, which looks back on {day}, keeps the lists that it had: {error}")
            kind = NotYet
        except NotYet as error:
            log.info("%s; it will publish the day", error)
        except Withdrawn as error:
            log.info("not published again: %s", error)
        except PipelineError as error:
            refused.append(f"{later}, which looks back on {day}, keeps the lists that it had: {error}")
        else:
            caught_up.append(later)
    if refused:
        done = f"published again: {', '.join(caught_up)}; " if caught_up else ""
        raise kind("\n".join([f"{done}not published again: {len(refused)} of {len(outdated)} days", *refused]))
    return caught_up


def run_late(
    day: str,
    models: Sequence[sql.Model],
    connect: Connect,
    open_s3: Callable[[], Any],
    settings: Settings,
    *,
    run_id: str,
) -> list[str]:
    """Runs again what is loaded of the `late_days` days before the day, where something was delivered since.

    A day that has a delivery of its own is looked at on S3, by its objects' ETags. Of one object for all days the load
    of the day has counted how many lines the day before has now.

    Returns the days that it ran. One that can not be published stays as it is, and is told as an error: the day itself
    is published, and must not fail for it; the next nights try again.
    """
    run = []
    s3 = cache(open_s3)
    for late, why in _came_late(day, connect, s3, settings).items():
        log.warning("%s: running it again: %s", late, why)
        try:
            steps.filter_events(late, connect, s3(), settings, run_id=run_id)
            for model in models:
                steps.build_model(late, model, connect, s3(), settings)
            steps.publish(late, models, connect, settings, run_id=run_id)
            catch_up(late, models, connect, s3, settings, run_id=run_id)
        except PipelineError as error:
            log.error("%s: came late and is not published: %s", late, error)
        else:
            run.append(late)
    return run


def _came_late(day: str, connect: Connect, s3: Callable[[], Any], settings: Settings) -> dict[str, str]:
    """The days of which something came late, oldest first, and what it is."""
    daily = settings.daily()
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/loads_to_look_at", ds=day, late_days=settings.late_days, daily=daily)
        loaded = {late: {tuple(row[1:]) for row in rows} for late, rows in groupby(cursor, key=itemgetter(0))}
        warehouse.run(cursor, "queries/lines_that_came_late", ds=day, daily=daily)
        counted = cursor.fetchall()
    found = {}
    for late, then in loaded.items():
        for source, uri in settings.sources(late).items():
            if source not in daily:
                continue
            try:
                now = deliveries.find(s3(), uri, settings.complete_marker)
            except PipelineError as error:
                log.warning("%s: not looked at again: %s", late, error)
                continue
            if new := [item.uri for item in now if (source, item.uri, item.etag, item.size) not in then]:
                found[late] = f"delivered since it was loaded: {', '.join(new[:3])} ({len(new):,} objects)"
    for source, lines_now, lines_then in counted if settings.late_days else ():
        why = f"{source} has {lines_now:,} lines of it, and had {lines_then:,} when it was loaded"
        found.setdefault(days.before(day), why)
    return dict(sorted(found.items()))


def write_published(day: str, connect: Connect, open_s3: Callable[[], Any], settings: Settings) -> None:
    """Writes to S3 what other programs may read: the published lists, `published/date=YYYY-MM-DD/<model>.csv.gz`.

    After the commit, so that nothing is there that readers of the warehouse do not see, and S3 holds no publication up.
    What is missing of the 30 days around the day, because a run was killed or S3 away, is written too; of a list that
    is published no more the header remains.
    """
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.lock_published_files(conn)
        # One snapshot: the rows are those of the hash that is recorded.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        warehouse.run(cursor, "queries/unwritten_lists", ds=day)
        unwritten = cursor.fetchall()
        for ds, model, lists_hash in unwritten:
            lists = sql.read("queries/published_lists")
            unload(cursor, lists, open_s3(), settings.published(ds, model), ds=ds, model=model)
            warehouse.run(cursor, "staging/published_files", ds=ds, model=model, lists_hash=lists_hash)
        conn.commit()
