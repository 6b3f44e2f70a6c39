"""What every request passes: limits, one form of the path, the answers in memory, security headers, a measurement."""

import re
from functools import cache
from itertools import chain
from time import perf_counter

from fastapi import FastAPI
from prometheus_client import Counter, Histogram
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.database import Unavailable
from api.memory import Answer, Headers, Key, Memory, understands_gzip
from api.problems import RETRY_AFTER, problem

LONGEST_TARGET, MOST_HEADERS, LARGEST_BODY = 4 * 1024, 16 * 1024, 16 * 1024
"""Bytes of a request's path and query, of its headers, of its body; no request that means well is near them."""

LONGEST_ACCEPT = 200
"""Bytes of Accept-Encoding that are looked at; what they say is remembered."""

MOST_AT_ONCE = 100
"""Requests answered or waiting at one time. More would only wait longer for the same connections: 503 at once."""

FOR_NOW = "public, max-age=0, stale-while-revalidate=30, stale-if-error=86400"
"""Whoever has it asks whether it is still so, which costs a 304; a cache between may answer meanwhile."""

FOR_GOOD = "public, max-age=86400, immutable"
"""A past day that was published once will not change, unless its logs are delivered again: hence a day, not a year."""

SAFE: Headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
NO_CONTENT_OF_OTHERS = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
CONTENT_OF_OURS = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
PAGES = ("/docs", "/redoc", "/docs/oauth2-redirect")

AWAY = (b"cache-status", b'recommendations; hit; detail="the warehouse is away"')
"""Marks (RFC 9211) what is given from memory while the warehouse can not say whether it is current."""

LIST_ROUTE = "/recommendations/{advertiser_id}/{model}"
LIST = re.compile(r"/recommendations/([^/\x00]{1,64})/([^/\x00]{1,64})")
"""The path of that route, as long as it is well-formed."""

LIST_HEADERS: Headers = [
    (b"cache-control", FOR_NOW.encode()),
    (b"content-type", b"application/json"),
    *SAFE,
    NO_CONTENT_OF_OTHERS,
]

NOT_IN_304 = (b"content-type", b"content-length", b"content-encoding")

SERVED = Histogram("http_request_duration_seconds", "Time to answer a request", ["method", "route", "status"])
KEPT = Counter("http_answers_kept", "Answers taken into memory; the others were given from it", ["route"])


class Edge:
    """The application around the routes. `state.memory` of theirs is what it keeps their answers in.

    A route whose answer is decided by what is published says so with `scope["version"]`, the version that it was made
    from (see api.memory); its answers of 200 are kept, and get an ETag, 304 and gzip.
    """

    def __init__(self, routes: FastAPI) -> None:
        self.routes = routes
        self.at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.routes(scope, receive, send)
        started = perf_counter()
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves the body out
        path = scope["path"] = scope["path"].rstrip("/") or "/"
        key = (path, scope["query_string"])
        memory: Memory = self.routes.state.memory
        headers = dict(scope["headers"])
        status, route = 500, "none"
        self.at_once += 1
        try:
            if refused := self._refused(scope, path, headers):
                status = refused.status_code
                return await _safe(refused)(scope, receive, send)
            if scope["method"] == "GET":
                answer, confirmed = memory.leased(key), True
                if answer is None:
                    answer, confirmed = await memory.confirmed(key)
                if answer is not None:
                    route = answer.route
                    status = await _give(answer, headers, send, confirmed)
                    return None
                if not scope["query_string"] and (wanted := LIST.fullmatch(path)):
                    try:
                        found = await self.routes.state.lists.fetch(*wanted.groups(), None)
                    except Unavailable as error:
                        status, route = 503, LIST_ROUTE
                        return await _safe(problem(503, str(error), RETRY_AFTER))(scope, receive, send)
                    if found:
                        answer = Answer(found[0].encode(), LIST_HEADERS, found[1], route := LIST_ROUTE)
                        status = await self._keep_and_give(key, answer, headers, send)
                        return None
            held: Message | None = None
            body = b""

            async def observed(message: Message) -> None:
                nonlocal status, route, held, body
                if message["type"] == "http.response.start":
                    status, route = message["status"], getattr(scope.get("route"), "path", "none")
                    message["headers"] = [*message["headers"], *SAFE]
                    if path not in PAGES:
                        message["headers"].append(CONTENT_OF_OURS if path == "/" else NO_CONTENT_OF_OTHERS)
                    if status == 200 and "version" in scope:
                        held = message
                        return
                elif held is not None:
                    body += message["body"]
                    if not message.get("more_body"):
                        answer = Answer(body, held["headers"], scope["version"], route)
                        status = await self._keep_and_give(key, answer, headers, send)
                    return
                await send(message)

            await self.routes(scope, receive, observed)
        finally:
            self.at_once -= 1
            _served(method, route, status).observe(perf_counter() - started)

    async def _keep_and_give(self, key: Key, answer: Answer, headers: dict[bytes, bytes], send: Send) -> int:
        self.routes.state.memory.keep(key, answer)
        KEPT.labels(answer.route).inc()
        return await _give(answer, headers, send)

    def _refused(self, scope: Scope, path: str, headers: dict[bytes, bytes]) -> Response | None:
        if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
            return problem(414, f"path and query are longer than {LONGEST_TARGET} bytes")
        if sum(map(len, chain.from_iterable(scope["headers"]))) > MOST_HEADERS:
            return problem(431, f"the headers are larger than {MOST_HEADERS} bytes")
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > LARGEST_BODY:
            return problem(413, f"the body is larger than {LARGEST_BODY} bytes, or of unknown size")
        if self.at_once > MOST_AT_ONCE and path not in ("/health/live", "/metrics"):
            return problem(503, "too many requests at once", RETRY_AFTER)
        return None


def _safe(response: Response) -> Response:
    response.raw_headers += [*SAFE, NO_CONTENT_OF_OTHERS]
    return response


@cache
def _served(method: str, route: str, status: int) -> Histogram:
    return SERVED.labels(method, route, status)


async def _give(answer: Answer, request: dict[bytes, bytes], send: Send, confirmed: bool = True) -> int:
    """Sends the answer in the form that the request's headers ask for; returns the status."""
    headers, body = answer.representation(understands_gzip(request.get(b"accept-encoding", b"")[:LONGEST_ACCEPT]))
    status = 200
    if b"if-none-match" in request and answer.is_what_the_client_has(request[b"if-none-match"]):
        status, headers, body = 304, [pair for pair in headers if pair[0] not in NOT_IN_304], b""
    if not confirmed:
        headers = [*headers, AWAY]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return status
