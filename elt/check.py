"""`python -m elt check`: in seconds, what can be checked before the work, each finding with what would be right."""

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError, ProfileNotFound
from psycopg2.extensions import connection as Connection

from elt import s3 as objects
from elt import sql, warehouse
from elt.errors import NotYet, PipelineError
from elt.settings import Settings, load_settings

FLOOR = 15
"""The oldest PostgreSQL that the SQL is written for."""

Finding = tuple[bool, str]
"""Is it right, and what was found; what would be right, where it is not."""


def check() -> Iterator[Finding]:
    """Settings, models, S3 and the warehouse, as the environment says. Changes nothing.

    Logs that are not there yet are no fault: the first task waits for them.
    """
    try:
        settings = load_settings()
        yield True, "environment: every setting can be read"
    except PipelineError as error:
        settings = None
        yield False, str(error)
    try:
        for model in (models := sql.models()):
            model.check_looks_back()
            if settings and settings.exclusions_uri:
                model.check_fills_up()
        yield True, f"models: {', '.join(model.name for model in models)}"
    except PipelineError as error:
        yield False, str(error)
    if settings:
        yield from _s3(settings)
        yield from _landing(settings)
    yield from _warehouse(os.environ.get("DATABASE_URL"))


def _s3(settings: Settings) -> Iterator[Finding]:
    yesterday = str(datetime.now(UTC).date() - timedelta(1))
    try:
        s3 = objects.client(config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2}))
    except PipelineError as error:
        yield False, str(error)
        return
    for source, uri in settings.sources(yesterday).items():
        yield _tried(source, lambda uri=uri: objects.check_readable(s3, uri))
    yield _tried("outputs", lambda: _outputs(s3, settings, yesterday))


def _outputs(s3: Any, settings: Settings, day: str) -> str:
    """Writes, lists and looks at outputs as a night does. Returns what was tried."""
    written = objects.check_writable(s3, settings.intermediate(day, "check"))
    objects.etags(s3, settings.published(), f"date={day}", f"date={day}/~")
    objects.load_of(s3, settings.intermediate(day, "product_views"))
    return f"{written} and read"


def _tried(what: str, attempt: Any) -> Finding:
    try:
        return True, f"{what}: {attempt()}"
    except NotYet as error:
        return True, f"{what}: {error}"
    except PipelineError as error:
        return False, f"{what}: {error}"
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        return (
            False,
            f"{what}: {error}; AWS_ACCESS_KEY_ID and its like, AWS_PROFILE or the machine's role must give some",
        )
    except BotoCoreError as error:
        return False, f"{what}: {error}; check AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION and the network"


def _landing(settings: Settings) -> Iterator[Finding]:
    for place, url in enumerate(settings.landing_places(), 1):
        try:
            connect = warehouse.opens(url, "LANDING_URLS")
            version = _version(connect)
            yield version >= FLOOR, f"LANDING_URLS, {place}: PostgreSQL {version}; {FLOOR} or newer is needed"
            if version < FLOOR:
                continue
            with warehouse.session(connect) as conn:
                if obstacles := ", ".join(_against_landing(conn)):
                    yield False, f"LANDING_URLS, {place}: no log can land there: {obstacles}"
        except (PipelineError, psycopg2.OperationalError) as error:
            yield False, f"LANDING_URLS, {place}: {' '.join(str(error).split())}; check host, role, password and TLS"


def _against_landing(conn: Connection) -> Iterator[str]:
    """What keeps a session there from making temporary tables of whatever the logs hold."""
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, current_setting('transaction_read_only')::boolean, "
            "has_database_privilege(current_database(), 'TEMPORARY'), current_setting('server_encoding')"
        )
        role, is_read_only, may, encoding = cursor.fetchone() or ("", False, True, "")
    if is_read_only:
        yield "its sessions are read-only, as a standby's"
    if not may:
        yield f"{role} may make no temporary tables; GRANT TEMPORARY ON DATABASE"
    if encoding != "UTF8":
        yield f"its encoding is {encoding}, and is to be UTF8"


def _version(connect: warehouse.Connect) -> int:
    """Of the server: an older one has not even the settings of a session."""
    with closing(connect()) as conn:
        return conn.server_version // 10_000


def _warehouse(url: str | None) -> Iterator[Finding]:
    if not url:
        yield False, "DATABASE_URL is not set; set it to the libpq URI of recommendations_pipeline"
        return
    try:
        connect = warehouse.opens(url)
        version = _version(connect)
        yield version >= FLOOR, f"warehouse: PostgreSQL {version}; {FLOOR} or newer is needed"
        if version < FLOOR:
            return
        with warehouse.session(connect) as conn:
            yield from _of_warehouse(conn)
    except PipelineError as error:
        yield False, str(error)
    except psycopg2.OperationalError as error:
        yield False, f"warehouse: {' '.join(str(error).split())}; check host, role, password and TLS in DATABASE_URL"


def _of_warehouse(conn: Connection) -> Iterator[Finding]:
    with conn.cursor() as cursor:
        warehouse.run(cursor, "queries/as_found", schemas=list(sql.SCHEMAS))
        found = {
            (schema, name): (set(columns or ()), writable) for schema, name, columns, writable in cursor.fetchall()
        }
        missing = sorted(_missing({key: columns for key, (columns, _) in found.items()}))
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            yield False, f"warehouse: its schema is not this release's, {shown}: `python -m elt migrate` as its owner"
        else:
            yield True, "warehouse: its schema is this release's"
        kept = [
            found[key][1]
            for key in (("staging", "loads"), ("models", "builds"), ("marts", "publications"))
            if key in found
        ]
        cursor.execute("SELECT current_user, pg_is_in_recovery()")
        role, is_standby = cursor.fetchone() or ("", False)
        if is_standby:
            yield False, "warehouse: a standby, which nobody can write into: DATABASE_URL is to name the primary"
        yield all(kept), f"warehouse: {role} may {'' if all(kept) else 'not '}write; recommendations_pipeline may"


def _missing(found: dict[tuple[str, str], set[str]]) -> Iterator[str]:
    """What the files of sql/ say there is, and is not."""
    for relation in sql.relations():
        name, columns = f"{relation.schema}.{relation.name}", found.get((relation.schema, relation.name))
        if columns is None:
            yield f"no {relation.kind} {name}"
        elif lacking := set(relation.opening.columns) - columns:
            yield f"no {', '.join(sorted(lacking))} in {name}"
    for model in sql.models():
        if ("marts", model.relation) not in found:
            yield f"no view marts.{model.relation}"
