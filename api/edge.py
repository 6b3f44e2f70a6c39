"""What every request passes: limits, one form of the path, the answers in memory, security headers, a measurement."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from functools import cache
from itertools import chain
from time import perf_counter

from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import Counter as Count
from prometheus_client import Histogram
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.access import READER, Access, caching
from api.asked import LONGEST_ID, the_id, with_slashes_of_ids
from api.memory import Answer, Headers, Memory, understands_gzip
from api.problems import problem

LONGEST_TARGET, MOST_HEADERS, LARGEST_BODY = 4 * 1024, 16 * 1024, 16 * 1024
"""Bytes of a request's path and query, of its headers, of its body; no request that means well is near them."""

LONGEST_WAIT = 5
"""Seconds for the end of a body of unknown size."""

LONGEST_ACCEPT = 200
"""Bytes of Accept-Encoding that are looked at; what they say is remembered."""

ID = rf"[^/\x00]{{1,{LONGEST_ID}}}"
"""A well-formed one; of any other FastAPI says what is wrong with it."""

MOST_AT_ONCE = 100
"""Requests that need the warehouse at one time. More would only wait longer for the same connections: 503 at once."""

MOST_OF_ONE = MOST_AT_ONCE // 2
"""Of those, the requests of one client: 429 at once, so that there is room for others."""

FOR_NOW = "public, max-age=0, stale-if-error=86400"
"""Whoever has it asks whether it is still so, which costs a 304. Only when no answer comes, or an error, may a cache
between give what it has: as this program itself does while the warehouse is away, it is better than nothing."""

FOR_GOOD = "public, max-age=86400, immutable"
"""A past day that was published once will not change, unless its logs are delivered again: hence a day, not a year."""

SAFE: Headers = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
NO_CONTENT_OF_OTHERS = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
CONTENT_OF_OURS = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
)
WITHOUT_WAREHOUSE = ("/health/live", "/metrics", "/openapi.json", "/docs", "/assets/", "/login", "/logout")
"""How the paths begin whose answers need no warehouse."""

AWAY = (b"cache-status", b'recommendations; hit; detail="the warehouse is away"')
"""Marks (RFC 9211) what is given from memory while the warehouse can not say whether it is current."""

NOT_IN_304 = (b"content-type", b"content-length", b"content-encoding")

SERVED = Histogram("http_request_duration_seconds", "Time to answer a request", ["method", "route", "status"])
KEPT = Count("http_answers_kept", "Answers taken into memory; the others were given from it", ["route"])
_served, _kept = cache(SERVED.labels), cache(KEPT.labels)


class Published(Response):
    """JSON made from a version of what is published (see api.memory). The edge gives it: kept, zipped, as a 304."""

    media_type = "application/json"

    def __init__(self, body: str, version: int, lasting: bool = False, link: str | None = None) -> None:
        super().__init__(body, headers=caching(FOR_GOOD if lasting else FOR_NOW) | ({"Link": link} if link else {}))
        self.version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["published"] = self


class Edge:
    """The application around the routes. Their `state.memory` is what it keeps their answers in, their `state.access`
    says who may ask, if not everybody.

    An endpoint in `quick` is called straight with the ids that stand in its path, when there is no query string. All
    else is FastAPI's, whose routing, validating and wrapping cost several times what such an answer does.
    """

    def __init__(self, routes: FastAPI, quick: Collection[Callable[..., Awaitable[Response]]] = ()) -> None:
        self.routes = routes
        self.quick = [
            (re.compile(re.sub(r"{(\w+)}", lambda name: f"(?P<{name[1]}>{ID})", route.path)), route)
            for route in routes.routes
            if isinstance(route, APIRoute) and route.endpoint in quick
        ]
        self.at_once: Counter[str] = Counter()
        """Requests that need the warehouse now, by client."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.routes(scope, receive, send)
        started = perf_counter()
        method = scope["method"]
        path = with_slashes_of_ids(scope["path"], scope["raw_path"]).rstrip("/") or "/"
        memory: Memory = self.routes.state.memory
        access: Access | None = self.routes.state.access
        headers = dict(scope["headers"])
        status, route = 500, "none"

        async def observed(message: Message) -> None:
            nonlocal status, route
            if message["type"] == "http.response.start":
                status, route = message["status"], _route(scope)
                message["headers"] = [*message["headers"], *SAFE]
                message["headers"].append(CONTENT_OF_OURS if _is_page(message) else NO_CONTENT_OF_OTHERS)
            await send(message)

        try:
            refused = _refused(scope, headers) or await _body_refused(headers, receive)
            if not refused and access:
                refused = await access.refuse(scope, path, headers)
            if refused:
                status = refused.status_code
                return await _safe(refused)(scope, receive, send)
            reader = READER.get()
            key = (reader.scope + path if reader else path, scope["query_string"])
            answer, confirmed = None, True
            if method in ("GET", "HEAD") and (answer := memory.leased(key)) is None:
                answer, confirmed = await memory.confirmed(key)
            if answer is None:
                # A copy: the server looks at its own. And it leaves the body out where HEAD was asked.
                scope = {**scope, "path": path, "method": "GET" if method == "HEAD" else method, "asked": method}
                if (answer := await self._made(scope, receive, observed)) is None:
                    return None
                memory.keep(key, answer)
                _kept(answer.route).inc()
            route = answer.route
            status = await _give(answer, headers, send, confirmed)
        finally:
            _served(method, route, status).observe(perf_counter() - started)

    async def _made(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """What the application makes of published lists, ready to be kept; None: it was something else, and is sent."""
        if scope["path"].startswith(WITHOUT_WAREHOUSE):
            await self.routes(scope, receive, send)
            return None
        client = _client(scope)
        if self.at_once[client] >= MOST_OF_ONE:
            await problem(429, f"{MOST_OF_ONE} requests of yours are under way; ask again when they are answered")(
                scope, receive, send
            )
            return None
        if self.at_once.total() >= MOST_AT_ONCE:
            await problem(503, "too many requests at once")(scope, receive, send)
            return None
        self.at_once[client] += 1
        try:
            quick = self._quick(scope)
            await (await quick if quick else self.routes)(scope, receive, send)
        finally:
            self.at_once[client] -= 1
            if not self.at_once[client]:
                del self.at_once[client]
        if (published := scope.get("published")) is None:
            return None
        return Answer(published.body, _safe(published).raw_headers, published.version, _route(scope))

    def _quick(self, scope: Scope) -> Awaitable[Response] | None:
        """The response of a quick endpoint, which is yet to be awaited; None if FastAPI has to answer."""
        if scope["method"] == "GET" and not scope["query_string"]:
            for pattern, route in self.quick:
                if named := pattern.fullmatch(scope["path"]):
                    scope["route"] = route
                    response: Awaitable[Response] = route.endpoint(*map(the_id, named.groups()))
                    return response
        return None


def _refused(scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return problem(414, f"path and query are longer than {LONGEST_TARGET} bytes")
    if sum(map(len, chain.from_iterable(scope["headers"]))) > MOST_HEADERS:
        return problem(431, f"the headers are larger than {MOST_HEADERS} bytes")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > LARGEST_BODY:
        return problem(413, f"the body is larger than {LARGEST_BODY} bytes")
    return None


async def _body_refused(headers: dict[bytes, bytes], receive: Receive) -> Response | None:
    """Proxies send a body in pieces where there is none, of no piece but the end. So what comes is looked at."""
    if b"transfer-encoding" not in headers:
        return None
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            message = await receive()
    except TimeoutError:
        return problem(408, f"the end of the body did not come within {LONGEST_WAIT} s; leave the body out")
    if message.get("body") or message.get("more_body"):
        return problem(413, "a body of unknown size; leave it out")
    return None


def _client(scope: Scope) -> str:
    """Whose request it is: the key's, or that of the address (behind proxies that are trusted, the one they name)."""
    if reader := READER.get():
        return reader.name
    return str(scope["client"][0]) if scope.get("client") else ""


def _is_page(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])


def _safe(response: Response) -> Response:
    response.raw_headers += [*SAFE, NO_CONTENT_OF_OTHERS]
    return response


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")


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
