"""What every request passes: limits, one form of the path, the answers in memory, security headers, a measurement."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from time import perf_counter

from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client import Counter as Count
from prometheus_client import Histogram
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api import log
from api.access import READER, Access, Reader, caching
from api.asked import LONGEST_ID, the_id, with_slashes_of_ids
from api.memory import LARGE, Answer, Headers, Memory, understands_gzip
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

MOST_EXPORTS = 20
"""Exports at one time. They have places of their own: how long they take is up to who reads them."""

FOR_NOW = "public, max-age=0, stale-if-error=86400"
"""Whoever has it asks whether it is still so, which costs a 304. Only when no answer comes, or an error, may a cache
between give what it has: as this program itself does while the warehouse is away, it is better than nothing."""

FOR_GOOD = "public, max-age=86400, immutable"
"""A past day that was published once will not change, unless its logs are delivered again or it is withdrawn: hence a
day, not a year."""

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

PRIMARY_AWAY = (b"cache-status", b'recommendations; fwd=miss; detail="the warehouse is away"')
"""The same of what a replica says meanwhile."""

NOT_IN_304 = (b"content-type", b"content-length", b"content-encoding")

BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds. An answer from memory takes a tenth of a millisecond, one from the warehouse a few."""

SERVED = Histogram(
    "http_server_request_duration_seconds",
    "Time to answer a request",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=BUCKETS,
)
KEPT = Count("http_answers_kept", "Answers that were made; the others were given from memory", ["http_route"])
_served, _kept = cache(SERVED.labels), cache(KEPT.labels)


class Published(Response):
    """JSON made from a version of what is published (see api.memory). The edge gives it: kept, zipped, as a 304."""

    media_type = "application/json"

    def __init__(self, body: str, version: int, lasting: bool = False, link: str | None = None) -> None:
        super().__init__(body, headers=caching(FOR_GOOD if lasting else FOR_NOW) | ({"Link": link} if link else {}))
        self.version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["published"] = self


class Places:
    """So many requests at one time, of one client half of them at most, so that there is room for others."""

    def __init__(self, most: int) -> None:
        self.most, self.of_one = most, most // 2
        self.taken: Counter[str] = Counter()

    def refuse(self, client: str) -> Response | None:
        """The response to the client where there is no place for it; None: there is one."""
        if self.taken[client] >= self.of_one:
            return problem(429, f"{self.of_one} requests of yours are under way; ask again when they are answered")
        return problem(503, "too many requests at once") if self.taken.total() >= self.most else None

    @contextmanager
    def one_of(self, client: str) -> Iterator[None]:
        self.taken[client] += 1
        try:
            yield
        finally:
            self.taken[client] -= 1
            if not self.taken[client]:
                del self.taken[client]


class Edge:
    """The application around the routes. `memory` of their lifespan's state is what it keeps their answers in, `access`
    says who may ask, if not everybody.

    An endpoint in `quick` is called straight with the ids that stand in its path, when there is no query string. All
    else is FastAPI's, whose routing, validating and wrapping cost several times what such an answer does.
    """

    def __init__(
        self, routes: FastAPI, quick: Collection[Callable[..., Awaitable[Response]]] = (), log_each: bool = False
    ) -> None:
        self.routes, self.log_each = routes, log_each
        self.quick = [
            (re.compile(re.sub(r"{(\w+)}", lambda name: f"(?P<{name[1]}>{ID})", route.path)), route)
            for route in routes.routes
            if isinstance(route, APIRoute) and route.endpoint in quick
        ]
        self.places, self.exports = Places(MOST_AT_ONCE), Places(MOST_EXPORTS)
        self.root = root = routes.root_path
        if root and any(f"{getattr(one, 'path', '')}/".startswith(f"{root}/") for one in routes.routes):
            raise ValueError(f"ROOT_PATH: {root} is a route's path; nobody could say which of the two is asked for")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.routes(scope, receive, send)
        started = perf_counter()
        method = scope["method"]
        root = self.root or scope["root_path"]
        path = _path(scope, root) if root or b"%" in scope["raw_path"] else scope["path"]
        path = path.rstrip("/") or "/"
        memory: Memory = scope["state"]["memory"]
        access: Access | None = scope["state"]["access"]
        headers = dict(scope["headers"])
        request_id = (b"x-request-id", log.identify(headers))
        status, route = 500, "none"
        marks: Headers = []
        reader: Reader | None = None

        async def observed(message: Message) -> None:
            nonlocal status, route
            if message["type"] == "http.response.start":
                status, route = message["status"], _route(scope)
                message["headers"] = [*message["headers"], *SAFE, request_id, *marks]
                message["headers"].append(CONTENT_OF_OURS if _is_page(message) else NO_CONTENT_OF_OTHERS)
            await send(message)

        try:
            refused = _refused(scope, headers)
            if refused is None and b"transfer-encoding" in headers:
                refused = await _body_refused(method, receive)
            if refused is None and access:
                refused = await access.refuse(scope, root, path, headers)
            if refused:
                return await refused(scope, receive, observed)
            reader = READER.get()
            key = (reader.scope + path if reader else path, scope["query_string"])
            answer = None
            if method in ("GET", "HEAD") and (answer := memory.leased(key)) is None:
                answer, confirmed = await memory.confirmed(key)
                marks = [AWAY] if answer and not confirmed else []
            if answer is None:
                if scope["state"]["replica"] and not path.startswith(WITHOUT_WAREHOUSE):
                    # Before it is asked: what the primary has said since the request began.
                    marks = [] if await memory.settled() else [PRIMARY_AWAY]
                # A copy: the server looks at its own. And it leaves the body out where HEAD was asked.
                get = "GET" if method == "HEAD" else method
                scope = {**scope, "path": path, "root_path": root, "method": get, "asked": method}
                if (answer := await self._made(scope, receive, observed)) is None:
                    return None
                memory.keep(key, answer)
                _kept(answer.route).inc()
            route = answer.route
            status = await _give(answer, headers, [request_id, *marks], send)
        finally:
            _served(method, route, status).observe(seconds := perf_counter() - started)
            if self.log_each:
                # Not READER: a request that was refused may have that of another one on its connection.
                log.answered(scope, method, (reader and reader.name) or None, route, status, seconds)

    async def _made(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """What the application makes of published lists, ready to be kept; None: it was something else, and is sent."""
        if scope["path"].startswith(WITHOUT_WAREHOUSE):
            await self._routed(scope, receive, send)
            return None
        places, client = self.exports if scope["path"].startswith("/exports/") else self.places, _client(scope)
        if refused := places.refuse(client):
            await refused(scope, receive, send)
            return None
        with places.one_of(client):
            if quick := self._quick(scope):
                await (await quick)(scope, receive, send)
            else:
                await self._routed(scope, receive, send)
        if (published := scope.get("published")) is None:
            return None
        headers = [*published.raw_headers, *SAFE, NO_CONTENT_OF_OTHERS]
        return Answer(published.body, headers, published.version, _route(scope))

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> None:
        # As ASGI has it: the path has the prefix in it.
        scope["path"] = scope["root_path"] + scope["path"]
        await self.routes(scope, receive, send)

    def _quick(self, scope: Scope) -> Awaitable[Response] | None:
        """The response of a quick endpoint, which is yet to be awaited; None if FastAPI has to answer."""
        if scope["method"] == "GET" and not scope["query_string"]:
            for pattern, route in self.quick:
                if named := pattern.fullmatch(scope["path"]):
                    scope["route"] = route
                    response: Awaitable[Response] = route.endpoint(*map(the_id, named.groups()))
                    return response
        return None


def _path(scope: Scope, root: str) -> str:
    """The path within the prefix, which the proxy may have taken off."""
    path = with_slashes_of_ids(scope["path"], scope["raw_path"])
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path


def _refused(scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return problem(414, f"path and query are longer than {LONGEST_TARGET} bytes")
    if sum(map(len, chain.from_iterable(scope["headers"]))) > MOST_HEADERS:
        return problem(431, f"the headers are larger than {MOST_HEADERS} bytes")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 9 or int(length) > LARGEST_BODY:
        return problem(413, f"the body is larger than {LARGEST_BODY} bytes")
    return None


async def _body_refused(method: str, receive: Receive) -> Response | None:
    """Proxies send a body in pieces where there is none, of no piece but the end. So what comes is looked at."""
    if method == "POST":
        # The one who reads it would wait for what has come already.
        return problem(413, "a body of unknown size; say its Content-Length")
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
    if (reader := READER.get()) and reader.name:
        return reader.name
    return str(scope["client"][0]) if scope.get("client") else ""


def _is_page(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")


async def _give(answer: Answer, request: dict[bytes, bytes], marks: Headers, send: Send) -> int:
    """Sends the answer in the form that the request's headers ask for; returns the status."""
    zips = understands_gzip(request.get(b"accept-encoding", b"")[:LONGEST_ACCEPT])
    if zips and len(answer.body) > LARGE:
        await asyncio.to_thread(answer.representation, zips)
    headers, body = answer.representation(zips)
    status = 200
    if b"if-none-match" in request and answer.is_what_the_client_has(request[b"if-none-match"]):
        status, headers, body = 304, [pair for pair in headers if pair[0] not in NOT_IN_304], b""
    await send({"type": "http.response.start", "status": status, "headers": headers + marks})
    await send({"type": "http.response.body", "body": body})
    return status
