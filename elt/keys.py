"""Keys of the API: made, listed and revoked by the warehouse's owner; only their hashes are kept."""

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime

from elt import warehouse
from elt.errors import PipelineError
from elt.warehouse import Connect

PREFIX = "rk_"
"""How every key begins, so that one that was lost somewhere is known for what it is."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

ASKED_AGAIN = 0.6
"""Seconds after which a reader that found the warehouse away has asked again: more than its patience
(api.memory.PATIENCE)."""

LONGEST_ID = 64
"""Characters of an advertiser's id that the API takes."""


def create(name: str, advertisers: Sequence[str], expires: date | None, connect: Connect) -> tuple[str, list[str]]:
    """Makes a key that may read the advertisers, or everything when none is named, until the day begins (UTC).

    Returns the key, which can not be had again, and those of the advertisers that were never active. Readers accept it
    when this returns. Raises PipelineError for a name that is taken or none, for a day that is past, for an id that is
    none.
    """
    if not re.fullmatch(NAME, name):
        raise PipelineError(f"{name!r} is no name of a key: 1 to 64 letters, digits, `.`, `_` and `-`, as acme-2026")
    if wrong := [one for one in advertisers if not 1 <= len(one) <= LONGEST_ID or "\0" in one]:
        raise PipelineError(f"{wrong[0]!r} is no id of an advertiser: it has 1 to {LONGEST_ID} characters")
    if expires is not None and expires <= datetime.now(UTC).date():
        raise PipelineError(f"a key that expires on {expires} would be refused now; that day is past or began already")
    ids = sorted(set(advertisers)) or None
    key = PREFIX + secrets.token_urlsafe(32)
    params = {
        "key_name": name,
        "sha256": hashlib.sha256(key.encode()).digest(),
        "advertisers": ids,
        "expires_at": expires,
    }
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "marts/api_keys", **params)
        if not cursor.rowcount:
            warehouse.run(cursor, "queries/keys", key_name=name)
            raise PipelineError(
                f"there is a key {name} already ({', '.join(cursor.fetchall()[0][2:])}). A name is used once, revoked "
                "or not: take another one"
            )
        warehouse.run(cursor, "queries/never_active", advertisers=ids or [])
        unknown = [row[0] for row in cursor.fetchall()]
        conn.commit()
    return key, unknown


def listed(connect: Connect) -> list[tuple[str, ...]]:
    """Of every key, the newest first: its name, what it reads, when it was made, whether it is valid. Never the key."""
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/keys", key_name=None)
        return cursor.fetchall()


def revoke(name: str, connect: Connect) -> bool:
    """Revokes the key; no reader accepts it any more when this returns. False: it was revoked before.

    One that finds the warehouse away accepts it for an hour; if it was back before this began, none believes so now.
    Raises PipelineError when there is none of the name.
    """
    with warehouse.session(connect) as conn, conn.cursor() as cursor:
        warehouse.run(cursor, "queries/revoke_key", key_name=name)
        revoked = bool(cursor.rowcount)
        warehouse.run(cursor, "queries/keys", key_name=name)
        if not cursor.fetchall():
            raise PipelineError(f"there is no key {name!r}; `python -m elt key list` says which there are")
        conn.commit()
    if revoked:
        time.sleep(ASKED_AGAIN)
    return revoked
