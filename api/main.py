"""The routes. `uvicorn api.main:app` serves them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date as Date
from http import HTTPStatus
from time import perf_counter
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import schema
from api.database import Database, Unavailable, bound_waiting
from api.settings import Settings

PROBLEM = "application/problem+json"
RETRY_AFTER = 2
"""Seconds after which a client that got 503 should ask again."""

SERVED = Histogram("http_request_duration_seconds", "Time to answer a request", ["method", "route", "status"])


LONGEST_TARGET, MOST_HEADERS, LARGEST_BODY = 4 * 1024, 16 * 1024, 16 * 1024
"""Bytes of a request's path and query, of its headers, of its body; no request that means well is near them."""

MOST_AT_ONCE = 100
"""Requests answered or waiting at one time. More would only wait longer for the same connections: 503 at once."""

HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
NO_CONTENT_OF_OTHERS = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

settings = Settings()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    bound_waiting(settings.statement_timeout + 2)
    app.state.database = Database(settings)
    yield
    app.state.database.close()


app = FastAPI(
    title="Recommendations",
    description="Which products to show for an advertiser: the lists published every night. "
    "A trailing slash makes no difference. Errors are RFC 9457 problem details.",
    version="1",
    lifespan=lifespan,
    redirect_slashes=False,
)


def _database(request: Request) -> Database:
    return request.app.state.database


def _iso(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("a date is written YYYY-MM-DD")
    return value


Warehouse = Annotated[Database, Depends(_database)]
AdvertiserId = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00]+$", description="As in the logs")]
ModelName = Annotated[
    str, Path(min_length=1, max_length=64, pattern=r"^[^\x00]+$", description="Capitals, - and _ make no difference")
]
Day = Annotated[Date | None, BeforeValidator(_iso), Query(description="A published day; by default the newest")]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    descriptions = {
        404: "Unknown; the detail says what there is",
        414: "The path is longer than 4 kB",
        422: "Malformed; the detail says what would be right",
        503: "The warehouse can not answer now; Retry-After says when to ask again",
    }
    return {
        status: {"description": descriptions[status], "model": schema.Problem, "content": {PROBLEM: {}}}
        for status in statuses
    }


@app.get(
    "/recommendations/{advertiser_id}/{model}",
    response_model=schema.Recommendations,
    responses=_problems(404, 414, 422, 503),
    summary="The list of a model for an advertiser",
)
def recommendations(database: Warehouse, advertiser_id: AdvertiserId, model: ModelName, date: Day = None) -> Response:
    """The products to show, best first: of the newest published day, or of `date`."""
    row = database.fetch("recommendations", advertiser_id=advertiser_id, model=model, date=date)
    if row is None:
        raise HTTPException(404, _what_is_wrong(database, advertiser_id, model, date))
    return _json(row[0])


@app.get(
    "/history/{advertiser_id}",
    response_model=schema.History,
    responses=_problems(404, 414, 422, 503),
    summary="Seven days of lists for an advertiser",
)
def history(database: Warehouse, advertiser_id: AdvertiserId) -> Response:
    """The lists of every model on the 7 days that end with the newest published day, newest first."""
    row = database.fetch("history", advertiser_id=advertiser_id)
    if row is None:
        raise HTTPException(404, _what_is_wrong(database, advertiser_id))
    return _json(row[0])


@app.get(
    "/stats", response_model=schema.Stats, responses=_problems(404, 414, 422, 503), summary="Figures about the lists"
)
def stats(
    database: Warehouse,
    date: Day = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many advertisers each ranking names")] = 10,
) -> Response:
    """Advertisers, events, how much lists vary, how far models agree, and what became of the lists the day after."""
    row = database.fetch("stats", limit=limit, date=date)
    if row is None:
        raise HTTPException(404, _what_is_wrong(database, date=date))
    return _json(row[0])


@app.get(
    "/stats/{advertiser_id}",
    response_model=schema.AdvertiserStats,
    responses=_problems(404, 414, 422, 503),
    summary="Figures about the lists of an advertiser",
)
def stats_advertiser(database: Warehouse, advertiser_id: AdvertiserId, date: Day = None) -> Response:
    """The same for one advertiser, active on the newest published day, or on `date`."""
    row = database.fetch("stats_advertiser", advertiser_id=advertiser_id, date=date)
    if row is None:
        raise HTTPException(404, _what_is_wrong(database, advertiser_id, date=date))
    return _json(row[0])


@app.get(
    "/advertisers",
    response_model=schema.Advertisers,
    responses=_problems(404, 414, 422, 503),
    summary="The active advertisers",
)
def advertisers(
    database: Warehouse,
    date: Day = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many at most")] = 1000,
    after: Annotated[
        str, Query(max_length=64, pattern=r"^[^\x00]*$", description="Those whose id sorts after this one (byte order)")
    ] = "",
) -> Response:
    """Who was active on the newest published day, or on `date`, with the events of the day, in order of the id."""
    row = database.fetch("advertisers", date=date, limit=limit, after=after)
    if row is None:
        raise HTTPException(404, _what_is_wrong(database, date=date))
    return _json(row[0])


@app.get(
    "/models", response_model=schema.Models, responses=_problems(404, 414, 422, 503), summary="The models there are"
)
def models(database: Warehouse, date: Day = None) -> Response:
    """Which models have lists on the newest published day, or on `date`, and which SQL made them."""
    row = database.fetch("models", date=date)
    if row is None:
        raise HTTPException(404, _what_is_wrong(database, date=date))
    return _json(row[0])


@app.get("/health/live", response_model=schema.Live, summary="Does the process answer?")
async def live() -> dict[str, str]:
    return {"status": "live"}


@app.get("/health/ready", response_model=schema.Ready, responses=_problems(414, 503), summary="Can it answer requests?")
def ready(database: Warehouse) -> dict[str, str | None]:
    row = database.fetch("ready")
    return {"status": "ready", "newest": row[0] if row else None}


@app.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, summary="For Prometheus"
)
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.get("/", include_in_schema=False)
async def home() -> Response:
    return RedirectResponse("/docs")


def _json(body: str) -> Response:
    return Response(body, media_type="application/json")


def _what_is_wrong(
    database: Database, advertiser_id: str | None = None, model: str | None = None, date: Date | None = None
) -> str:
    """Why there is no answer, and what would have one."""
    row = database.fetch("what_exists", advertiser_id=advertiser_id)
    assert row is not None
    models, first_day, last_day, last_active = row
    day = str(date or last_day)
    if last_day is None:
        return "nothing is published yet"
    if advertiser_id is not None and last_active is None:
        return f"no advertiser {advertiser_id!r} on the active list of any published day, {first_day} to {last_day}"
    if model is not None and _spelling(model) not in map(_spelling, models):
        return f"no model {model!r}; the models are {', '.join(models)}"
    if not first_day <= day <= last_day:
        return f"nothing is published for {day}; the published days are {first_day} to {last_day}"
    if advertiser_id is None:
        return f"nothing is published for {day}, a gap in the published days {first_day} to {last_day}"
    return f"advertiser {advertiser_id!r} has no list for {day}: it was not active, or the day is not published"


def _spelling(model: str) -> str:
    return model.replace("-", "").replace("_", "").lower()


def _problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers, PROBLEM)


@app.exception_handler(HTTPException)
async def _http_problem(request: Request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"no page {request.url.path!r}; /docs lists what there is"
    return _problem(error.status_code, detail, dict(error.headers or {}))


@app.exception_handler(RequestValidationError)
async def _malformed(request: Request, error: RequestValidationError) -> Response:
    errors = [{"where": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in error.errors()]
    return _problem(422, "; ".join(f"{e['where']}: {e['problem']}" for e in errors), errors=errors)


@app.exception_handler(Exception)
async def _unexpected(request: Request, error: Exception) -> Response:
    return _problem(500, "a mistake of ours; it is in the log")


@app.exception_handler(Unavailable)
async def _unavailable(request: Request, error: Unavailable) -> Response:
    return _problem(503, str(error), {"Retry-After": str(RETRY_AFTER)})


class Edge:
    """What every request passes: limits, one form of the path, security headers, a measurement by route."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope["path"] = scope["path"].rstrip("/") or "/"
        started, status = perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                shows_a_page = scope["path"] in ("/docs", "/redoc", "/docs/oauth2-redirect")
                message["headers"] = [*message["headers"], *HEADERS, *([] if shows_a_page else [NO_CONTENT_OF_OTHERS])]
            await send(message)

        self.at_once += 1
        try:
            refused = _over_limit(scope)
            if self.at_once > MOST_AT_ONCE and scope["path"] not in ("/health/live", "/metrics"):
                refused = _problem(503, "too many requests at once", {"Retry-After": str(RETRY_AFTER)})
            await (refused or self.app)(scope, receive, observed)
        finally:
            self.at_once -= 1
            route = getattr(scope.get("route"), "path", "none")
            SERVED.labels(scope["method"], route, status).observe(perf_counter() - started)


def _over_limit(scope: Scope) -> Response | None:
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if len(scope["raw_path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        return _problem(414, f"path and query are longer than {LONGEST_TARGET} bytes")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
        return _problem(431, f"the headers are larger than {MOST_HEADERS} bytes")
    if b"transfer-encoding" in headers or not length.isdigit() or int(length) > LARGEST_BODY:
        return _problem(413, f"the body is larger than {LARGEST_BODY} bytes, or of unknown size")
    return None


app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET"])
app.add_middleware(Edge)
