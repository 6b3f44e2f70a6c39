"""The routes. `uvicorn api.main:app` serves them."""

import pathlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date as Date
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api import schema
from api.database import Batch, Database, Unavailable
from api.edge import FOR_GOOD, FOR_NOW, LIST_ROUTE, Edge
from api.memory import Memory
from api.problems import PROBLEM, RETRY_AFTER, problem
from api.settings import Settings

DASHBOARD = pathlib.Path(__file__).parent / "dashboard"
"""The folder of the page's script and style; the page is beside it."""

settings = Settings()


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    api.state.database = database = Database(settings)
    api.state.lists = Batch(partial(database.fetch_all, "recommendations"), "advertiser_ids", "models", "dates")
    # A connection of its own: what is in memory does not wait for slow queries.
    leases = Database(settings, pool_size=1)
    api.state.memory = Memory(partial(leases.fetch, "lease"), Unavailable, settings.memory_mb * 1_000_000)
    yield
    database.close()
    leases.close()


api = FastAPI(
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


KEPT: dict[int | str, dict[str, Any]] = {304: {"description": "If-None-Match names the ETag of what there is"}}


@api.get(
    LIST_ROUTE,
    response_model=schema.Recommendations,
    responses=KEPT | _problems(404, 414, 422, 503),
    summary="The list of a model for an advertiser",
)
async def recommendations(
    request: Request, advertiser_id: AdvertiserId, model: ModelName, date: Day = None
) -> Response:
    """The products to show, best first: of the newest published day, or of `date`."""
    row = await request.app.state.lists.fetch(advertiser_id, model, date)
    if row is None:
        detail = await _what_is_wrong(_database(request), advertiser_id, model, date)
        raise HTTPException(404, detail)
    body, version, lasting = row
    return _json(request, body, version, FOR_GOOD if lasting else FOR_NOW)


@api.get(
    "/history/{advertiser_id}",
    response_model=schema.History,
    responses=KEPT | _problems(404, 414, 422, 503),
    summary="Seven days of lists for an advertiser",
)
async def history(request: Request, database: Warehouse, advertiser_id: AdvertiserId) -> Response:
    """The lists of every model on the 7 days that end with the newest published day, newest first."""
    row = await database.fetch("history", advertiser_id=advertiser_id)
    if row is None:
        raise HTTPException(404, await _what_is_wrong(database, advertiser_id))
    return _json(request, *row)


@api.get(
    "/stats",
    response_model=schema.Stats,
    responses=KEPT | _problems(404, 414, 422, 503),
    summary="Figures about the lists",
)
async def stats(
    request: Request,
    database: Warehouse,
    date: Day = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many advertisers each ranking names")] = 10,
) -> Response:
    """Advertisers, events, how much lists vary, how far models agree, and what became of the lists the day after."""
    row = await database.fetch("stats", limit=limit, date=date)
    if row is None:
        raise HTTPException(404, await _what_is_wrong(database, date=date))
    return _json(request, *row)


@api.get(
    "/stats/{advertiser_id}",
    response_model=schema.AdvertiserStats,
    responses=KEPT | _problems(404, 414, 422, 503),
    summary="Figures about the lists of an advertiser",
)
async def stats_advertiser(
    request: Request, database: Warehouse, advertiser_id: AdvertiserId, date: Day = None
) -> Response:
    """The same for one advertiser, active on the newest published day, or on `date`."""
    row = await database.fetch("stats_advertiser", advertiser_id=advertiser_id, date=date)
    if row is None:
        raise HTTPException(404, await _what_is_wrong(database, advertiser_id, date=date))
    return _json(request, *row)


@api.get(
    "/advertisers",
    response_model=schema.Advertisers,
    responses=KEPT | _problems(404, 414, 422, 503),
    summary="The active advertisers",
)
async def advertisers(
    request: Request,
    database: Warehouse,
    date: Day = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many at most")] = 1000,
    after: Annotated[
        str, Query(max_length=64, pattern=r"^[^\x00]*$", description="Those whose id sorts after this one (byte order)")
    ] = "",
) -> Response:
    """Who was active on the newest published day, or on `date`, with the events of the day, in order of the id."""
    row = await database.fetch("advertisers", date=date, limit=limit, after=after)
    if row is None:
        raise HTTPException(404, await _what_is_wrong(database, date=date))
    return _json(request, *row)


@api.get(
    "/models",
    response_model=schema.Models,
    responses=KEPT | _problems(404, 414, 422, 503),
    summary="The models there are",
)
async def models(request: Request, database: Warehouse, date: Day = None) -> Response:
    """Which models have lists on the newest published day, or on `date`, and which SQL made them."""
    row = await database.fetch("models", date=date)
    if row is None:
        raise HTTPException(404, await _what_is_wrong(database, date=date))
    return _json(request, *row)


@api.get("/health/live", response_model=schema.Live, summary="Does the process answer?")
async def live() -> dict[str, str]:
    return {"status": "live"}


@api.get("/health/ready", response_model=schema.Ready, responses=_problems(414, 503), summary="Can it answer requests?")
async def ready(database: Warehouse) -> dict[str, str | None]:
    row = await database.fetch("ready")
    return {"status": "ready", "newest": row[0] if row else None}


@api.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}}, summary="For Prometheus"
)
async def metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@api.get("/", include_in_schema=False)
async def dashboard() -> Response:
    return FileResponse(DASHBOARD.with_suffix(".html"), headers={"Cache-Control": "no-cache"})


class _Revalidated(StaticFiles):
    """Files that a browser asks about each time, so that a new page never runs an old script."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


api.mount("/dashboard", _Revalidated(directory=DASHBOARD))


def _json(request: Request, body: str, version: int, cache_control: str = FOR_NOW) -> Response:
    """An answer made from this version of what is published; api.edge keeps it, and adds its ETag."""
    request.scope["version"] = version
    return Response(body, headers={"Cache-Control": cache_control}, media_type="application/json")


async def _what_is_wrong(
    database: Database, advertiser_id: str | None = None, model: str | None = None, date: Date | None = None
) -> str:
    """Why there is no answer, and what would have one."""
    row = await database.fetch("what_exists", advertiser_id=advertiser_id)
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
    return (
        f"advertiser {advertiser_id!r} has no list for {day}: it was not active, or the model or the day not published"
    )


def _spelling(model: str) -> str:
    return model.replace("-", "").replace("_", "").lower()


@api.exception_handler(HTTPException)
async def _http_problem(request: Request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"no page {request.url.path!r}; /docs lists what there is"
    return problem(error.status_code, detail, dict(error.headers or {}))


@api.exception_handler(RequestValidationError)
async def _malformed(request: Request, error: RequestValidationError) -> Response:
    errors = [{"where": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in error.errors()]
    return problem(422, "; ".join(f"{e['where']}: {e['problem']}" for e in errors), errors=errors)


@api.exception_handler(Exception)
async def _unexpected(request: Request, error: Exception) -> Response:
    return problem(500, "a mistake of ours; it is in the log")


@api.exception_handler(Unavailable)
async def _unavailable(request: Request, error: Unavailable) -> Response:
    return problem(503, str(error), RETRY_AFTER)


app: ASGIApp = Edge(api)
if settings.cors_origins:
    # Outside of the memory: which origin asked must not be remembered with an answer.
    app = CORSMiddleware(app, allow_origins=settings.cors_origins, allow_methods=["GET"])
