"""The routes. `uvicorn api.main:app` serves them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from datetime import date as Date
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from api import VERSION, log, schema
from api.access import Access, describe, may_see, sign_in, visible
from api.asked import LONGEST_ID, AdvertiserId, Day, ModelName, nothing_else
from api.database import Batch, Database, Row, Unavailable
from api.edge import Edge, Published
from api.export import CSV, NDJSON, export
from api.memory import PATIENCE, Memory
from api.metrics import exposition
from api.pages import FOLDER, pages, templates
from api.problems import PROBLEM, problem, what_is_wrong
from api.replica import WithReplica
from api.settings import Settings

settings = Settings()
log.configure(settings.access_log)


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[dict[str, Any]]:
    api.state.database = database = WithReplica(settings) if settings.replica_url else Database(settings)
    api.state.lists = Batch(
        partial(database.fetch_all, "recommendations"), "advertiser_ids", "models", "dates", "limits"
    )
    api.state.memory = memory = Memory(database.lease, Unavailable, settings.memory_mb * 1_000_000)
    database.on_another_server = memory.doubt
    if isinstance(database, WithReplica):
        database.memory = memory
    keys = settings.api_access == "keys"
    api.state.access = Access(partial(database.fetch_all, "keys"), memory) if keys else None
    api.state.newest = None
    api.state.default_model = settings.default_model
    # Once more as a dictionary, which every request brings: the edge reads them in a tenth of the time.
    yield {"memory": memory, "access": api.state.access, "replica": settings.replica_url is not None}
    database.close()


api = FastAPI(
    title="Recommendations",
    description="Which products to show for an advertiser: the lists published every night. "
    "A trailing slash makes no difference. Errors are RFC 9457 problem details.",
    version=VERSION,
    root_path=settings.root_path,
    lifespan=lifespan,
    redirect_slashes=False,
    docs_url=None,
    redoc_url=None,
    dependencies=[Depends(nothing_else)],
    generate_unique_id_function=lambda route: route.name,
)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    descriptions = {
        404: "Unknown; the detail says what there is",
        414: "The path is longer than 4 kB",
        422: "Malformed; the detail says what would be right",
        429: "So many requests of this client are under way that others would not be answered",
        503: "The warehouse can not answer now; Retry-After says when to ask again",
    }
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": descriptions[status], "content": content} for status in statuses}


Entries = Annotated[int | None, Query(ge=1, le=20, description="How many products at most, the best; by default all")]
AdvertiserIds = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]+$")]],
    Query(min_length=1, max_length=100, description="As in the logs, at most 100: `?advertiser_id=A&advertiser_id=B`"),
]
AnyModel = Annotated[
    str | None,
    Query(
        min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]+$", description="Capitals, - and _ make no difference"
    ),
]
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {"content": {NDJSON: {"schema": {"type": "string"}}, CSV: {"schema": {"type": "string"}}}}
}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "If-None-Match names the ETag of what there is"}}


@api.get(
    "/recommendations/{advertiser_id}/{model}",
    tags=["lists"],
    response_model=schema.Recommendations,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="The list of a model for an advertiser",
)
async def recommendations(
    advertiser_id: AdvertiserId, model: ModelName, date: Day = None, limit: Entries = None
) -> Response:
    """The products to show, best first: of the newest published day, or of `date`."""
    found = api.state.lists.fetch(visible(advertiser_id), model, date, limit)
    return await _answer(found, advertiser_id, model, date)


@api.get(
    "/recommendations/{advertiser_id}",
    tags=["lists"],
    response_model=schema.Recommendations,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="The list to show for an advertiser",
)
async def default_list(advertiser_id: AdvertiserId, date: Day = None, limit: Entries = None) -> Response:
    """The products to show, best first, when no model is asked for: those of the setting `DEFAULT_MODEL`."""
    return await recommendations(advertiser_id, settings.default_model, date, limit)


@api.get(
    "/recommendations",
    tags=["lists"],
    response_model=schema.ManyRecommendations,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="The lists of several advertisers",
)
async def lists_of_several(
    advertiser_id: AdvertiserIds, model: AnyModel = None, date: Day = None, limit: Entries = None
) -> Response:
    """The lists of a model, or those to show, in the order in which the advertisers are named; all of one moment."""
    model, ids = model or settings.default_model, list(dict.fromkeys(advertiser_id))
    return await _answer(_many(ids, model, date, limit), ids[0], model, date)


async def _many(ids: list[str], model: str, date: Date | None, limit: int | None) -> Row | None:
    found = await api.state.database.fetch_all(
        "recommendations",
        advertiser_ids=[visible(one) for one in ids],
        models=[model] * len(ids),
        dates=[date] * len(ids),
        limits=[limit] * len(ids),
    )
    if not found:
        return None
    lists = {place: body for place, body, _, _ in found}
    if None in lists.values():
        return None, found[0][2]
    missing = [one for place, one in enumerate(ids, 1) if place not in lists]
    in_order = ",".join(lists[place] for place in sorted(lists))
    text = f'{{"count":{len(lists)},"missing":{json.dumps(missing)},"lists":[{in_order}]}}'
    return text, found[0][2], all(lasting for *_, lasting in found)


@api.get(
    "/exports/lists.ndjson",
    tags=["lists"],
    response_class=StreamingResponse,
    responses=EXPORTED | UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="All lists of a day, a line of JSON each",
)
async def export_ndjson(request: Request, date: Day = None, model: AnyModel = None) -> Response:
    """Every list as `/recommendations/{advertiser_id}/{model}` has it, by model and advertiser.

    A stream that breaks off is none: the day was published again meanwhile. Ask once more.
    """
    return await export(request, NDJSON, date, model)


@api.get(
    "/exports/lists.csv",
    tags=["lists"],
    response_class=StreamingResponse,
    responses=EXPORTED | UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="All lists of a day, a line an entry",
)
async def export_csv(request: Request, date: Day = None, model: AnyModel = None) -> Response:
    """date, model, advertiser_id, rank, product_id, score; otherwise as `/exports/lists.ndjson`."""
    return await export(request, CSV, date, model)


@api.get(
    "/history/{advertiser_id}",
    tags=["lists"],
    response_model=schema.History,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="Seven days of lists for an advertiser",
)
async def history(advertiser_id: AdvertiserId, date: Day = None, limit: Entries = None) -> Response:
    """The lists of every model on the 7 days that end with the newest published day, or with `date`, newest first."""
    found = api.state.database.fetch("history", advertiser_id=visible(advertiser_id), date=date, limit=limit)
    return await _answer(found, advertiser_id, date=date)


@api.get(
    "/stats",
    tags=["figures"],
    response_model=schema.Stats,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="Figures about the lists",
)
async def stats(
    date: Day = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many advertisers each ranking names")] = 10,
) -> Response:
    """Advertisers, events, how much lists vary, how far models agree, and what became of the lists the day after."""
    return await _answer(api.state.database.fetch("stats", limit=limit, date=date, seen=may_see()), date=date)


@api.get(
    "/stats/{advertiser_id}",
    tags=["figures"],
    response_model=schema.AdvertiserStats,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="Figures about the lists of an advertiser",
)
async def stats_advertiser(advertiser_id: AdvertiserId, date: Day = None) -> Response:
    """The same for one advertiser, active on the newest published day, or on `date`."""
    found = api.state.database.fetch("stats_advertiser", advertiser_id=visible(advertiser_id), date=date)
    return await _answer(found, advertiser_id, date=date)


@api.get(
    "/advertisers",
    tags=["catalogue"],
    response_model=schema.Advertisers,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="The active advertisers",
)
async def advertisers(
    date: Day = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many at most")] = 1000,
    after: Annotated[
        str,
        Query(
            max_length=LONGEST_ID, pattern=r"^[^\x00]*$", description="Those whose id sorts after this one (byte order)"
        ),
    ] = "",
) -> Response:
    """Who was active on the newest published day, or on `date`, with the events of the day, in order of the id."""
    return await _answer(_page(date, limit, after), date=date)


async def _page(date: Date | None, limit: int, after: str) -> Row | None:
    """With where the next page is, as an address relative to this one."""
    found = await api.state.database.fetch("advertisers", date=date, limit=limit, after=after, seen=may_see())
    if found is None:
        return None
    body, version, last = found
    following = last and "?" + urlencode({"after": last, "limit": limit} | ({"date": date} if date else {}))
    return (
        f'{body[:-1]},"next":{json.dumps(following)}}}',
        version,
        False,
        f'<{following}>; rel="next"' if following else None,
    )


@api.get(
    "/models",
    tags=["catalogue"],
    response_model=schema.Models,
    responses=UNCHANGED | _problems(404, 414, 422, 429, 503),
    summary="The models there are",
)
async def models(date: Day = None) -> Response:
    """Which models have lists on the newest published day, or on `date`, and which SQL made them."""
    return await _answer(api.state.database.fetch("models", date=date, seen=may_see()), date=date)


@api.get("/health/live", tags=["operation"], response_model=schema.Live, summary="Does the process answer?")
async def live() -> dict[str, str]:
    return {"status": "live", "version": VERSION}


@api.get(
    "/health/ready",
    tags=["operation"],
    response_model=schema.Ready,
    responses=_problems(414, 503),
    summary="Can it answer requests?",
)
async def ready() -> dict[str, str | None]:
    row = await api.state.database.fetch("ready")
    return {"status": "ready", "newest": row[0] if row else None}


@api.get(
    "/metrics",
    tags=["operation"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **_problems(404)},
    summary="For Prometheus, inside the network",
)
async def metrics(request: Request) -> Response:
    """What comes through a load balancer, from the internet, is not told."""
    if "x-forwarded-for" in request.headers:
        return problem(404, "the metrics are given inside the network only, not through a load balancer")
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            api.state.newest = (await ready())["newest"]
    return Response(exposition(api.state.newest), media_type=CONTENT_TYPE_LATEST)


api.include_router(pages)


def _document() -> dict[str, Any]:
    """The OpenAPI document. FastAPI would call problems application/json, too, if it described them by itself."""
    document = FastAPI.openapi(api)
    document["components"]["schemas"]["Problem"] = schema.Problem.model_json_schema()
    return document


api.openapi = _document  # type: ignore[method-assign]
if settings.api_access == "keys":
    api.include_router(sign_in)
    templates.globals["keys"] = True
    describe(api)


class _Revalidated(StaticFiles):
    """Files that a browser asks about each time, so that a new page never runs an old script."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        # What is no character can be in no file's name.
        return super().lookup_path(path) if path.isprintable() else ("", None)

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


api.mount("/assets", _Revalidated(directory=FOLDER / "assets"))


LOST = "rows of what was published are lost in the warehouse; the next night, or a new run of the day, brings them back"


async def _answer(
    found: Awaitable[Row | None], advertiser_id: str | None = None, model: str | None = None, date: Date | None = None
) -> Response:
    """What is found: text, version and, of lists, whether it will stay; or what is wrong with what was asked for."""
    try:
        if row := await found:
            return Published(*row) if row[0] else problem(503, LOST)
        seen = visible(advertiser_id) is not None
        detail = await what_is_wrong(api.state.database, advertiser_id, model, date, visible=seen)
        if detail.startswith(f"no model {settings.default_model!r}"):
            detail += f"; the API's own setting DEFAULT_MODEL says {settings.default_model}, and should be one of these"
        return problem(404, detail)
    except Unavailable as error:
        return problem(503, str(error))


@api.exception_handler(HTTPException)
async def _http_problem(request: Request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"no page {request.scope['raw_path'].decode('latin-1')!r}; /docs lists what there is"
    return problem(error.status_code, detail, error.headers)


@api.exception_handler(RequestValidationError)
async def _malformed(request: Request, error: RequestValidationError) -> Response:
    errors = [{"where": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in error.errors()]
    return problem(422, "; ".join(f"{e['where']}: {e['problem']}" for e in errors), errors=errors)


@api.exception_handler(Exception)
async def _unexpected(request: Request, error: Exception) -> Response:
    return problem(500, "a mistake of ours; it is in the log")


@api.exception_handler(Unavailable)
async def _unavailable(request: Request, error: Unavailable) -> Response:
    return problem(503, str(error))


app: ASGIApp = Edge(api, quick=[recommendations, default_list], log_each=settings.access_log)
if settings.cors_origins:
    # Outside of the memory: which origin asked must not be remembered with an answer.
    app = CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD"],
        allow_headers=["Authorization", "If-None-Match", "X-API-Key", "X-Request-Id"],
        expose_headers=["ETag", "Retry-After", "X-Request-Id"],
    )
