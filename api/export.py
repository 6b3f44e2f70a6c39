"""All lists of a day as one stream, for those who keep them: in pieces, so that no day is in memory as a whole.

Each piece is a short query. One that finds other lists than those the stream began with breaks it off: what has not
come to its end is no export, as every client of HTTP notices.
"""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator
from datetime import date as Date

from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.access import caching, may_see
from api.database import Database, Row
from api.edge import FOR_GOOD, FOR_NOW, LONGEST_ACCEPT
from api.memory import understands_gzip
from api.problems import problem, what_is_wrong

NDJSON, CSV = "application/x-ndjson", "text/csv; charset=utf-8; header=present"

FORMS = {NDJSON: ("export_ndjson", b""), CSV: ("export_csv", b"date,model,advertiser_id,rank,product_id,score\n")}
"""The query of each form, and what stands before its lines."""

PATIENCE = 30.0
"""Seconds for a client to take a piece; the place that it holds is then for others."""


class BrokenOff(Exception):
    """Not all that was published can be given: it was published again or withdrawn meanwhile, or rows are lost."""


class _Stream(StreamingResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def patiently(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        await super().__call__(scope, receive, patiently)


async def export(request: Request, form: str, date: Date | None, model: str | None) -> Response:
    """The response with the lists of a day that the one who asks may see: of a model, or of all. Raises Unavailable."""
    database: Database = request.app.state.database
    there_are = await database.fetch_all("export_of", date=date, model=model)
    if not there_are:
        return problem(404, await what_is_wrong(database, None, model, date))
    zips = understands_gzip(request.headers.get("accept-encoding", "").encode()[:LONGEST_ACCEPT])
    named = hashlib.blake2b(repr((form, there_are, may_see(), zips)).encode(), digest_size=12).hexdigest()
    headers = caching(FOR_GOOD if all(lasting for *_, lasting in there_are) else FOR_NOW)
    headers |= {"ETag": f'"{named}"', "Vary": ", ".join(["Accept-Encoding", *filter(None, [headers.get("Vary")])])}
    if named in request.headers.get("if-none-match", "") or request.headers.get("if-none-match") == "*":
        return Response(None, 304, headers)
    if zips:
        headers["Content-Encoding"] = "gzip"
    if request.scope["asked"] == "HEAD":
        return _Stream(_nothing(), 200, headers, form)
    lines = _lines(database, form, there_are, may_see())
    return _Stream(_zipped(lines) if zips else lines, 200, headers, form)


async def _lines(database: Database, form: str, there_are: list[Row], seen: list[str] | None) -> AsyncIterator[bytes]:
    query, before = FORMS[form]
    if before:
        yield before
    for date, model, row_count, lists, _ in there_are:
        last, found, listed = "", 0, 0
        while last is not None:
            ((lines, last, entries, published, now),) = await database.fetch_all(
                query, date=date, model=model, after=last, seen=seen
            )
            if now != lists:
                raise BrokenOff(f"the lists of {model} of {date} changed while they were exported")
            found, listed = found + entries, listed + published
            if lines:
                yield lines.encode()
        if found < (row_count if seen is None else listed):
            raise BrokenOff(f"rows of the lists of {model} of {date} are lost")


async def _zipped(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gzip = zlib.compressobj(6, wbits=31)
    async for some in lines:
        # In a thread: a piece takes milliseconds, in which others would wait.
        if zipped := await asyncio.to_thread(gzip.compress, some):
            yield zipped
    yield gzip.flush()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
