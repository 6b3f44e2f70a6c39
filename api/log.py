"""The id that every request has, in its answer and in each line of the log; where it is asked for, a line a request."""

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from secrets import token_hex

from starlette.types import Scope

WELL_FORMED = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
"""An id that is taken from a request: nothing that a log or another system could read as more than an id."""

REQUEST_ID: ContextVar[bytes] = ContextVar("request_id", default=b"")
"""Of the request that is answered now; empty where none is."""

PROCESS, numbers = token_hex(6).encode(), count(1)

requests = logging.getLogger("api.requests")


def identify(headers: dict[bytes, bytes]) -> bytes:
    """The request's X-Request-Id, or, if it has none that is well-formed, one that no other request has."""
    given = headers.get(b"x-request-id")
    found = given if given and WELL_FORMED.fullmatch(given) else b"%s-%x" % (PROCESS, next(numbers))
    REQUEST_ID.set(found)
    return found


def request_id() -> str:
    """Of the request that is answered now, or ''."""
    return REQUEST_ID.get().decode()


def configure(each_request: bool) -> None:
    """Lines of the log end with the id of the request in which they were written. With `each_request` a line of JSON is
    printed for every one that is answered."""
    logging.getLogger("uvicorn.error").addFilter(_with_id)
    if each_request and not requests.handlers:
        requests.addHandler(logging.StreamHandler(sys.stdout))
        requests.setLevel(logging.INFO)
        requests.propagate = False


def answered(scope: Scope, method: str, key: str | None, route: str, status: int, seconds: float) -> None:
    """Writes the line of a request; `key` is the name of the key that it came with."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": request_id(),
        "client": scope["client"][0] if scope.get("client") else None,
        "key": key,
        "method": method,
        "target": target.decode("latin-1"),
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
    }
    requests.info(json.dumps(line))


def _with_id(record: logging.LogRecord) -> bool:
    if found := request_id():
        record.msg = f"{record.msg} (request {found})"
    return True
