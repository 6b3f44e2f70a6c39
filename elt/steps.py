"""The steps of the nightly run, each safe to run again: a load, a ranking, a publication.

A day is a string `YYYY-MM-DD`: the log day, UTC. What a step does for others it commits at once, at its end; one that
fails or is killed leaves what they read as it was.
"""

import io
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from itertools import cycle, islice
from typing import Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from elt import days, deliveries, sql, warehouse
from elt import s3 as objects
from elt.copying import copy_out, fill, unload
from elt.errors import Broken, Incomplete, NotYet, Overtaken, PipelineError, Withdrawn
from elt.land import Landed, land
from elt.settings import Settings
from elt.shares import Share, land_share, share_out, write_kept
from elt.warehouse import Connect

LOGS = ("product_views", "ads_views")
DATE_STYLES = {"YYYY-MM-DD": "ISO, YMD", "D/M/YYYY": "ISO, DMY"}

FIGURES = (
    "list_changes",
    "list_variation",
    "model_agreement",
    "advertiser_daily",
    "daily",
    "advertiser_evaluation",
    "evaluation",
)
"""What DBWriting counts of the published lists, each a file of sql/marts, after those that it reads."""

log = logging.getLogger(__name__)


def filter_events(
    day: str,
    connect: Connect,
    s3: Any,
    settings: Settings,
    *,
    run_id: str,
    reload: bool = False,
    incomplete: bool = False,
) -> bool:
    """FiltrarDatos: lands the day's logs, keeps the active advertisers' events, counts them per product.

    Writes staging.product_daily and its neighbours, and `product_views.csv.gz` and `ads_views.csv.gz` on S3. Each log
    has sessions of its own (`landing_sessions`, at `landing_urls`), which land and count their shares of it at the same
    time, and later write what is kept of it; the counts serve everything after.

    Returns False when the day already stands on the same objects and the same SQL; then nothing is read or written,
    unless `reload`. Raises NotYet when an object or the day in it is missing, or when an audit of sql/audits/arrival is
    broken and the day is not wanted `incomplete`; PipelineError when the day has not ended, when its outputs can not be
    written (before anything is landed), or when an audit of sql/audits/load is broken.
    """
    days.check_ended(day)
    began = time.monotonic()
    version = f"{sql.filter_version()} {settings.log_date_format}"
    delivered: dict[str, list[objects.SourceObject]] = {}
    with ExitStack() as stack:
        conn = stack.enter_context(warehouse.session(connect))
        warehouse.lock_day(conn, day)
        cursor = conn.cursor()
        stack.enter_context(_refusal_kept(cursor, day, delivered, run_id))
        # Under the lock: a run that waited would load what it had listed over what was loaded meanwhile.
        beside = stack.enter_context(ThreadPoolExecutor())
        find = partial(deliveries.find, s3, marker=settings.complete_marker, incomplete=incomplete)
        delivered.update(zip(sources := settings.sources(day), beside.map(find, sources.values()), strict=True))
        cursor.execute("SET datestyle = %s", (DATE_STYLES[settings.log_date_format],))
        written = [settings.intermediate(day, source) for source in LOGS]
        if not reload and _is_loaded(cursor, day, delivered, version, s3, written):
            log.info("%s: already loaded from these objects by this SQL; the param reload loads it again", day)
            return False
        objects.check_writable(s3, written[0])
        places = cycle([warehouse.opens(url, "LANDING_URLS") for url in settings.landing_places()] or [connect])
        shares = _shares(stack, beside, places, delivered, settings)
        pool = stack.enter_context(ThreadPoolExecutor(sum(map(len, shares.values()))))
        landing = {source: [pool.submit(land_share, share, s3, day) for share in shares[source]] for source in LOGS}
        lists = ("advertiser_ids", "exclusions")
        landed = {source: land(cursor, s3, source, delivered.get(source, [])) for source in lists}
        landed |= {source: [item for share in landing[source] for item in share.result()] for source in LOGS}

        every_share = [share for source in LOGS for share in shares[source]]
        for share in every_share:
            fill(cursor, "rejected_lines", share.rejects)
        warehouse.run(cursor, "staging/rejected_lines", ds=day)
        warehouse.run(cursor, "queries/month_of_the_day", ds=day)
        conn.commit()  # whatever becomes of the day, its unreadable lines are kept
        warehouse.run(cursor, "queries/month_of_the_day", ds=day)  # which from here on nobody drops

        warehouse.run(cursor, "landing/active_advertisers")
        warehouse.run(cursor, "landing/event_counts")
        for share in every_share:
            fill(cursor, "event_counts", share.counts)
        warehouse.run(cursor, "staging/source_objects", ds=day, objects=_recorded(landed))
        for relation in ("active_advertisers", "exclusions", "accounting"):
            warehouse.run(cursor, f"staging/{relation}", ds=day)
        limits = {
            "max_rejected_share": settings.max_rejected_share,
            "max_advertiser_drop": settings.max_advertiser_drop,
        }
        warehouse.audit(cursor, "load", ds=day, run_id=run_id, **limits)
        warehouse.run(cursor, "queries/logs_without_the_day", ds=day)
        if late := cursor.fetchall():
            raise Incomplete(
                f"no line of {day} yet in: "
                + "; ".join(
                    f"{source} ({', '.join(item.uri for item in delivered[source][:3])}: {lines} lines, "
                    f"{other_day} of other days, {rejected} unreadable)"
                    for source, lines, other_day, rejected in late
                )
            )
        warehouse.run(cursor, "queries/nobody_has_events", ds=day)
        for active, with_events in cursor.fetchall():
            raise PipelineError(
                f"nothing was published: no active advertiser has an event on {day}. The active list begins with "
                f"{active}, the advertisers of the day's events with {with_events}"
            )
        if not incomplete:
            _check_arrival(cursor, day, settings, run_id)
        _tell_of_other_days(cursor, day, settings)
        warehouse.run(cursor, "staging/loads", ds=day, filter_version=version, run_id=run_id)
        ((load_id,),) = cursor.fetchall()
        active = io.BytesIO()
        copy_out(cursor, "SELECT advertiser_id FROM pg_temp.advertiser_ids", active)
        writing = [
            pool.submit(write_kept, shares[source], active.getvalue(), s3, uri, load_id, day)
            for source, uri in zip(LOGS, written, strict=True)
        ]
        for relation in ("product_daily_published", "days_set_aside", "product_daily"):
            warehouse.run(cursor, f"staging/{relation}", ds=day)
        for done in writing:
            done.result()
        _time(cursor, day, "FiltrarDatos", began)
        conn.commit()
        return True


def _shares(
    stack: ExitStack,
    pool: ThreadPoolExecutor,
    places: Iterator[Connect],
    delivered: dict[str, list[objects.SourceObject]],
    settings: Settings,
) -> dict[str, list[Share]]:
    """Each log's objects, shared out over open sessions, each at the next of the places."""
    parts = [(source, part) for source in LOGS for part in share_out(delivered[source], settings.landing_sessions)]
    shares: dict[str, list[Share]] = {source: [] for source in LOGS}
    # At once: where a connection is encrypted, it takes longer than to read a small log.
    opened = pool.map(lambda place: stack.enter_context(warehouse.session(place)), islice(places, len(parts)))
    for (source, part), session in zip(parts, list(opened), strict=True):
        with session.cursor() as cursor:
            cursor.execute("SET datestyle = %s", (DATE_STYLES[settings.log_date_format],))
        share = Share(source, session, part, of_several=len(delivered[source]) > 1)
        stack.callback(share.counts.close)
        stack.callback(share.rejects.close)
        shares[source].append(share)
    return shares


def rank(cursor: Cursor, day: str, model: sql.Model, name: str, timeout: int = 0) -> int:
    """Ranks the day by the model into pg_temp.ranked, and into models.candidates under the name. Returns their number.

    Raises PipelineError that names the file when it is not valid SQL, when it takes longer than `timeout`, seconds (0:
    as long as it likes), what it ranks is not a list, or products are hidden on the day and it cuts its lists itself.
    """
    file = sql.shown(model.file)
    warehouse.check_committed(cursor)
    with warehouse.blamed_on(file):
        ranked = "CREATE TEMPORARY TABLE ranked AS SELECT * FROM (\n{}\n) AS model WHERE model.rank <= {}"
        query = warehouse.ranking(cursor, model, day)
        warehouse.run(cursor, "queries/ranks_needed", ds=day)
        ((ranks,),) = cursor.fetchall()
        if ranks > 20:
            model.check_fills_up()
        _within(timeout, cursor, identifiers.SQL(ranked).format(query, identifiers.Literal(ranks)), file)
        cursor.execute("SELECT * FROM pg_temp.ranked LIMIT 0")
        sql.check_columns(file, [column.name for column in cursor.description or ()])
        cursor.execute(sql.read("models/candidates"), {"ds": day, "model": name})
        return cursor.rowcount


def _within(timeout: int, cursor: Cursor, statement: identifiers.Composed, file: str) -> None:
    """Runs the statement, for `timeout` seconds at most: the last resort against a plan that has gone wrong."""
    cursor.execute("SET LOCAL statement_timeout = %s", (f"{timeout}s",))
    started = time.monotonic()
    try:
        cursor.execute(statement)
    except psycopg2.errors.QueryCanceled as error:
        if not 0 < timeout <= time.monotonic() - started:
            raise
        raise PipelineError(
            f"{file}: has not ranked the day within {timeout} s (RANKING_TIMEOUT); look at its plan with EXPLAIN: "
            "it should read each day once, whatever the statistics say"
        ) from error
    cursor.execute("SET LOCAL statement_timeout TO DEFAULT")


def build_model(day: str, model: sql.Model, connect: Connect, s3: Any, settings: Settings) -> int:
    """Ranks the day by one model into models.candidates and writes `<model>.csv.gz` on S3.

    Returns the number of candidates. Raises PipelineError that names the file when the day is not loaded, the file is
    not valid SQL or not one SELECT, ranks longer than the settings let it, or what it ranks is not a list (columns,
    ranks 1 to 20, each product once, scores that are numbers).
    """
    file = sql.shown(model.file)
    key = {"ds": day, "model": model.name}
    started = time.monotonic()
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.lock_days_before(conn, day, model)
        warehouse.lock_day(conn, day, shared=True)
        warehouse.lock_model(conn, day, model.name)
        # One snapshot for what is ranked and what is recorded as read, or a load that ends in between would be missed.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        warehouse.run(cursor, "queries/is_loaded", ds=day)
        if not cursor.rowcount:
            raise PipelineError(f"{model.name}: {day} is not loaded; FiltrarDatos loads it")
        rows = rank(cursor, day, model, model.name, settings.ranking_timeout)
        built = {"sql_file": file, "sql_version": model.version, "sql_text": model.text}
        warehouse.run(cursor, "models/builds", looks_back=model.looks_back, **built, **key)
        ordered = 'SELECT * FROM pg_temp.ranked ORDER BY advertiser_id COLLATE "C", rank'
        unload(cursor, ordered, s3, settings.intermediate(day, model.name))
        _time(cursor, day, model.name, started)
        conn.commit()
    log.info("%s %s: %s candidates in %.1f s", day, model.name, f"{rows:,}", time.monotonic() - started)
    return rows


def publish(
    day: str,
    models: Sequence[sql.Model],
    connect: Connect,
    settings: Settings,
    *,
    run_id: str,
    first: Callable[[Cursor], None] = lambda cursor: None,
) -> list[str]:
    """In one transaction replaces the day's lists, records the publication, writes its figures, audits, and notifies.

    What `first` does is part of it, once nobody else can load or publish the day.

    Returns the names of the models whose publication changed; running it again changes nothing. Raises Overtaken when
    another run has loaded the day since the models were built, NotYet when a product was hidden or unhidden since,
    Withdrawn when the day was taken back and no run of it has begun since, PipelineError when an audit of
    sql/audits/publication is broken; then readers still see what they saw before.
    """
    params: dict[str, Any] = {"ds": day, "models": [model.name for model in models]}
    began = time.monotonic()
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.lock_day(conn, day)
        warehouse.lock_publication(conn)
        first(cursor)
        warehouse.check_committed(cursor)
        warehouse.run(cursor, "queries/models_to_build", **params)
        if stale := [name for (name,) in cursor.fetchall()]:
            raise Overtaken(
                f"{day}: {', '.join(stale)}: not built from the day's newest load; another run is building them"
            )
        warehouse.run(cursor, "queries/end_withdrawal", ds=day)
        for restored_by, *withdrawal in cursor.fetchall():
            if restored_by is None:
                raise Withdrawn(withdrawn(day, *withdrawal))
        # From that statement on nobody else can hide anything: it holds the row of marts.version.
        warehouse.run(cursor, "queries/hidden_since", **params)
        if stale := [name for (name,) in cursor.fetchall()]:
            raise NotYet(
                f"{day}: {', '.join(stale)}: built before a product was hidden or unhidden; they are ranked again first"
            )
        warehouse.run(cursor, "marts/recommendations", **params)
        warehouse.run(cursor, "marts/active_advertisers", **params)
        warehouse.run(cursor, "marts/publications", git_revision=settings.revision(), run_id=run_id, **params)
        changed = [row[0] for row in cursor.fetchall()]
        warehouse.run(cursor, "marts/sql_versions", git_revision=settings.revision(), **params)
        for figures in FIGURES:
            warehouse.run(cursor, f"marts/{figures}", **params)
        warehouse.audit(cursor, "publication", run_id=run_id, **params)
        _time(cursor, day, "DBWriting", began)
        conn.commit()
    log.info("%s: published %s", day, ", ".join(changed) or "nothing: the lists are what they were")
    return changed


def _time(cursor: Cursor, day: str, step: str, began: float) -> None:
    """Records how long the step took, `began` being a moment of time.monotonic()."""
    warehouse.run(cursor, "staging/step_times", ds=day, step=step, seconds=time.monotonic() - began)


def tell(day: str, what: str, connect: Connect, **params: Any) -> Any:
    """What `sql/queries/<what>.sql` says of the day, a JSON object: what a task returns, for who looks at Airflow."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, f"queries/{what}", ds=day, **params)
        return (cursor.fetchone() or (None,))[0]


def withdrawn(day: str, by: str, at: datetime, why: str) -> str:
    """That the day is withdrawn, and what brings it back."""
    return (
        f"{day} is withdrawn, by {by} at {at:%Y-%m-%d %H:%M} UTC ({why}); a new run of the day brings it back, or "
        f"python -m elt restore {day}"
    )


def forget(day: str, connect: Connect, settings: Settings) -> None:
    """Deletes what is older than the settings keep: whole days of everything, and sooner the rejected lines and ranked
    candidates. What was loaded within `keep_working_days` stays, whatever its day, and so does `day`."""
    params = {"ds": day, "keep_days": settings.keep_days, "keep_working_days": settings.keep_working_days}
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.lock_publication(conn)
        warehouse.run(cursor, "retention/working", **params)
        warehouse.run(cursor, "retention/days", **params)
        warehouse.run(cursor, "retention/published")
        conn.commit()
        for rest in ("months", "forgotten"):
            warehouse.run(cursor, f"retention/{rest}")
            conn.commit()


@contextmanager
def _refusal_kept(
    cursor: Cursor, day: str, delivered: dict[str, list[objects.SourceObject]], run_id: str
) -> Iterator[None]:
    """Keeps why the day could not be loaded, and from what: so that a later night knows that something came since."""
    try:
        yield
    except PipelineError as error:
        cursor.connection.rollback()
        # Waiting alone may cure it: then whatever is there is reason enough to try again.
        passing = isinstance(error, NotYet) and not isinstance(error, Incomplete)
        seen = [] if passing else [(source, item.uri, item.etag) for source in delivered for item in delivered[source]]
        warehouse.run(cursor, "staging/refused_loads", ds=day, run_id=run_id, why=str(error), objects=Json(seen))
        cursor.connection.commit()
        raise


def _check_arrival(cursor: Cursor, day: str, settings: Settings, run_id: str) -> None:
    """Raises Incomplete when what arrived looks like a part of the day: the rest may still come."""
    drops = {"max_volume_drop": settings.max_volume_drop, "max_silent_advertisers": settings.max_silent_advertisers}
    try:
        warehouse.audit(cursor, "arrival", ds=day, run_id=run_id, **drops)
    except Broken as error:
        raise Incomplete(
            f"{error}\nIf that is the whole day, run it with the param incomplete (rebuild: --incomplete)"
        ) from None


def _tell_of_other_days(cursor: Cursor, day: str, settings: Settings) -> None:
    warehouse.run(cursor, "queries/lines_of_other_days", ds=day, daily=settings.daily())
    for source, before, after in cursor.fetchall():
        log.warning(
            "%s: %s: %s lines of the day before, %s of the day after: counted for no day, unless they were delivered "
            "with theirs too (marts.data_quality)",
            day,
            source,
            f"{before:,}",
            f"{after:,}",
        )


def _is_loaded(
    cursor: Cursor,
    day: str,
    delivered: dict[str, list[objects.SourceObject]],
    version: str,
    s3: Any,
    written: list[str],
) -> bool:
    """Does the day stand on these objects, and are the kept logs on S3 of the same load as its counts?"""
    warehouse.run(cursor, "queries/loaded_objects", ds=day, filter_version=version)
    loaded = cursor.fetchall()
    return {row[:4] for row in loaded} == {
        (source, item.uri, item.etag, item.size) for source, items in delivered.items() for item in items
    } and all(objects.load_of(s3, uri) == loaded[0][4] for uri in written)


def _recorded(landed: dict[str, list[Landed]]) -> Json:
    """The objects as sql/staging/source_objects.sql takes them."""
    return Json(
        [
            {
                "source": source,
                "uri": one.item.uri,
                "etag": one.item.etag,
                "size_bytes": one.item.size,
                "lines": one.lines,
                "rejected": one.rejected,
            }
            for source, items in landed.items()
            for one in items
        ]
    )
