"""Who may read what, where API_ACCESS=keys: the keys that come with requests, and what they open.

Which keys there are is a part of what readers see (marts.api_keys). So the lease which says that an answer in memory is
current says it of the keys, too: a key that is revoked is refused by every worker when its revocation is committed.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from time import monotonic, time
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response
from starlette.types import Scope

from api.database import Row, Unavailable
from api.memory import Memory
from api.pages import templates
from api.problems import PROBLEM, problem

OPEN = ("/health/", "/docs", "/openapi.json", "/assets/", "/login", "/logout")
"""How the paths begin that need no key."""

LISTS = re.compile(r"/(recommendations|history|stats|exports)(/.*)?|/(advertisers|models)", re.DOTALL)
"""The paths that a key for some advertisers opens; what they answer with is what it may see."""

TRUSTED = 3600.0
"""Seconds that keys are honoured while the warehouse can not say whether they are revoked."""

COOKIE = "recommendations_key"
IN_COOKIE = re.compile(rb"(?:^|;) *%s=([^;]*)" % COOKIE.encode())

VARY = "Authorization, X-API-Key, Cookie"


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks: the holder of a key."""

    name: str
    advertisers: list[str] | None
    """Those it may read; None: everything."""
    expires: float = inf
    """Seconds since 1970."""
    scope: str = ""
    """Tells apart, in memory, the answers to those who may not see the same; all who may see everything have none."""


NOBODY = Reader("", [], scope="-")

READER: ContextVar[Reader | None] = ContextVar("reader", default=None)
"""Who asks the request that is answered now; None where the API is open to all."""


def may_see() -> list[str] | None:
    """The advertisers that the one who asks may see; None: all."""
    reader = READER.get()
    return reader.advertisers if reader else None


def visible(advertiser_id: str | None) -> str | None:
    """The id, or None, which is the id of nobody: what one may not see is answered as what there is not."""
    seen = may_see()
    return advertiser_id if seen is None or advertiser_id in seen else None


def caching(policy: str) -> dict[str, str]:
    """The headers that let caches keep an answer: those of all, or, where there are keys, only that of who asked."""
    if READER.get() is None:
        return {"Cache-Control": policy}
    return {"Cache-Control": policy.replace("public", "private"), "Vary": VARY}


class Access:
    """The keys of one version of what readers see."""

    def __init__(self, ask: Callable[[], Awaitable[list[Row]]], memory: Memory) -> None:
        """`ask` asks for queries/keys.sql, and raises Unavailable."""
        self._ask, self._memory = ask, memory
        self._readers: dict[bytes, Reader] = {}
        self._version: int | None = None
        self._reading = asyncio.Lock()

    async def refuse(self, scope: Scope, root: str, path: str, headers: dict[bytes, bytes]) -> Response | None:
        """The response to who may not ask for the path, within the prefix; None: they may, and READER is who."""
        if path.startswith(OPEN):
            READER.set(NOBODY)
            return None
        try:
            key = _presented(headers)
            reader, wrong = await self.holder(key)
        except Unavailable as error:
            return problem(503, str(error))
        if reader is None:
            if scope["method"] in ("GET", "HEAD") and b"text/html" in headers.get(b"accept", b""):
                return RedirectResponse(f"{root}/login?{_back_to(scope, root)}", 303, NO_STORE)
            return _unauthorized(key, wrong)
        if reader.advertisers is not None and not LISTS.fullmatch(path):
            return problem(
                403,
                f"the key {reader.name} reads its advertisers only: /recommendations, /history, /stats, /advertisers, "
                "/models and /exports; the pages and /metrics are for keys that read everything",
                {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope"'},
            )
        READER.set(reader)
        return None

    async def holder(self, key: bytes) -> tuple[Reader | None, str]:
        """Who holds the key, or what is wrong with it. Raises Unavailable when that can not be said.

        It is looked up by its hash. Nobody can choose a guess by what its hash begins with, so that the time it takes
        tells nothing of the keys there are.
        """
        if not key:
            return None, "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
        current = self._memory.is_leased(self._version) or await self._read()
        digest = hashlib.sha256(key).digest()
        reader = self._readers.get(digest)
        if reader is None:
            if not current:
                raise Unavailable("the warehouse can not be asked for new keys")
            return None, "there is no such key, or it was revoked"
        if time() >= reader.expires:
            return None, f"the key {reader.name} has expired"
        return reader, ""

    async def _read(self) -> bool:
        """Makes the keys those that are valid now; False: the warehouse is away, they are those of before.

        Raises Unavailable when there are none of before, or for too long, or when it is known that they have changed.
        """
        memory = self._memory
        if not await memory.confirm():
            if self._version is None or self._version != memory.version or monotonic() > memory.heard + TRUSTED:
                raise Unavailable("the warehouse can not say which keys are valid")
            return False
        async with self._reading:
            if self._version != memory.version:
                rows = await self._ask()
                self._readers = {bytes.fromhex(sha256): _reader(*key) for sha256, *key, _ in rows if sha256}
                self._version = rows[0][-1]
        return True


def _reader(name: str, advertisers: list[str] | None, expires: float | None) -> Reader:
    seen = hashlib.sha256(json.dumps(advertisers).encode()).hexdigest() if advertisers is not None else ""
    return Reader(name, advertisers, expires or inf, seen)


def _presented(headers: dict[bytes, bytes]) -> bytes:
    """The key that the request brings, empty for none."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return key.strip()
    if key := headers.get(b"x-api-key", b""):
        return key.strip()
    found = IN_COOKIE.search(headers.get(b"cookie", b""))
    return found[1] if found else b""


NO_STORE = {"Cache-Control": "no-store"}
CHALLENGE = 'Bearer realm="recommendations"'


def _unauthorized(key: bytes, wrong: str) -> Response:
    challenge = f'{CHALLENGE}, error="invalid_token"' if key else CHALLENGE
    return problem(401, wrong, {"WWW-Authenticate": challenge})


def _back_to(scope: Scope, root: str) -> str:
    """The query that has the form lead back to what was asked for."""
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1").removeprefix(root)
    return "next=" + quote(path + ("?" + query if query else ""), safe="/")


def describe(api: FastAPI) -> None:
    """Says in the OpenAPI document how a key is sent, and what is answered without the right one."""
    undescribed = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema:
            return api.openapi_schema
        document = undescribed()
        document.setdefault("components", {})["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for path, methods in document["paths"].items():
            if path.startswith(OPEN):
                continue
            for operation in methods.values():
                operation["security"] = [{"bearer": []}, {"header": []}]
                operation["responses"] |= {
                    "401": {
                        "description": "No key, or one that is not valid; the detail says which",
                        "content": content,
                    },
                    "403": {"description": "The key is valid and not for this", "content": content},
                }
        return document

    api.openapi = openapi  # type: ignore[method-assign]


sign_in = APIRouter(include_in_schema=False)
"""A form for people: it keeps the key in a cookie that scripts can not read and other sites do not send."""


@sign_in.get("/login")
async def form(request: Request, next: str = "/") -> Response:
    return _form(request, next)


@sign_in.post("/login")
async def login(request: Request) -> Response:
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    key, back = fields.get("key", [""])[0].strip(), fields.get("next", ["/"])[0]
    if _is_of_another_site(request):
        return _form(request, back, "the form of another site is not accepted; this one is", 403)
    try:
        reader, wrong = await request.app.state.access.holder(key.encode())
    except Unavailable as error:
        return _form(request, back, str(error), 503)
    if reader is None:
        return _form(request, back, wrong if key else "a key is needed", 401)
    if reader.advertisers is not None:
        return _form(
            request, back, f"the key {reader.name} reads its advertisers only; the pages are of all of them", 403
        )
    response = RedirectResponse(_root(request) + _local(back), 303, NO_STORE)
    _keep(request, response, key)
    return response


@sign_in.post("/logout")
async def logout(request: Request) -> Response:
    if _is_of_another_site(request):
        return _form(request, "/", "another site may log nobody out", 403)
    response = RedirectResponse(f"{_root(request)}/login", 303, NO_STORE)
    _keep(request, response, "")
    return response


def _is_of_another_site(request: Request) -> bool:
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _keep(request: Request, response: Response, key: str) -> None:
    """Until the browser is closed; empty: not any more. Whoever claims to come by https may have it by https only."""
    secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    path = _root(request) or "/"
    response.set_cookie(
        COOKIE, key, max_age=None if key else 0, path=path, secure=secure, httponly=True, samesite="strict"
    )


def _form(request: Request, back: str, wrong: str = "", status: int = 200) -> Response:
    text = templates.get_template("login.html").render(root=_root(request), back=_local(back), wrong=wrong)
    return HTMLResponse(text, status, NO_STORE | ({"WWW-Authenticate": CHALLENGE} if status == 401 else {}))


def _local(back: str) -> str:
    """The address if it is one of ours, which begins with a slash and not with two; else the overview's."""
    return back if re.fullmatch(r"/(?![/\\])[!-~]*", back) else "/"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))
