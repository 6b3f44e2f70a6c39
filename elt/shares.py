"""The sessions that land the day's logs, all at the same time: each lands and counts its share of one log's objects."""

import heapq
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from elt import sql, warehouse
from elt.copying import copy_out, fill, unload_repeated
from elt.land import Landed, land
from elt.s3 import SourceObject

log = logging.getLogger(__name__)


@dataclass
class Share:
    """Some of a log's objects, and the session that lands them."""

    source: str
    session: Connection
    objects: list[SourceObject]
    of_several: bool
    """Has the log other objects, here or in other shares?"""
    counts: IO[bytes] = field(default_factory=TemporaryFile)
    rejects: IO[bytes] = field(default_factory=TemporaryFile)
    """What it counted and rejected, for other sessions: they can not read its temporary tables."""


def share_out(objects: Sequence[SourceObject], sessions: int) -> list[list[SourceObject]]:
    """The objects in so many lists of about equal bytes, or as many as there are objects: the largest first, each to
    whom has least."""
    shares: list[list[SourceObject]] = [[] for _ in range(min(sessions, len(objects)))]
    # Bytes, then objects: of those without a byte each share gets some, too.
    least = [(0, 0, place) for place in range(len(shares))]
    for item in sorted(objects, key=lambda item: -item.size):
        size, number, place = least[0]
        shares[place].append(item)
        heapq.heapreplace(least, (size + item.size, number + 1, place))
    return shares


def land_share(share: Share, s3: Any, day: str) -> list[Landed]:
    """Lands the share's objects and counts their lines. Raises as `elt.land.land` does."""
    with share.session.cursor() as cursor:
        cursor.execute("SAVEPOINT share")
        try:
            landed = land(cursor, s3, share.source, share.objects, some_may_be_empty=share.of_several)
            _count(cursor, share, day)
        except psycopg2.DataError as error:
            log.info("%s: %s; landing its share again", share.source, error.diag.message_primary)
            cursor.execute("ROLLBACK TO SAVEPOINT share")
            share.counts.seek(0)
            share.counts.truncate()
            landed = land(cursor, s3, share.source, share.objects, some_may_be_empty=share.of_several, directly=False)
            _count(cursor, share, day)
        copy_out(cursor, "TABLE pg_temp.rejected_lines", share.rejects)
        # The session stays; its disk need not.
        cursor.execute(identifiers.SQL("TRUNCATE pg_temp.{}").format(identifiers.Identifier(share.source)))
    return landed


def _count(cursor: Cursor, share: Share, day: str) -> None:
    started = time.monotonic()
    copy_out(cursor, sql.read(f"landing/{share.source}_counts"), share.counts, ds=day)
    log.info("%s: counted in %.1f s", share.source, time.monotonic() - started)


def write_kept(shares: list[Share], active: bytes, s3: Any, uri: str, load_id: str, day: str) -> None:
    """Writes what is kept of the log of these shares to the object, in the first one's session.

    `active`: the rows of pg_temp.advertiser_ids, as COPY writes them.
    """
    with shares[0].session.cursor() as cursor:
        warehouse.run(cursor, "landing/advertiser_ids")
        fill(cursor, "advertiser_ids", io.BytesIO(active))
        for table in ("active_advertisers", "event_counts"):
            warehouse.run(cursor, f"landing/{table}")
        for share in shares:
            fill(cursor, "event_counts", share.counts)
        unload_repeated(cursor, sql.read(f"landing/{shares[0].source}_kept"), s3, uri, load_id, ds=day)
