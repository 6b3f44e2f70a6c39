"""The pages for people: what SQL has put together, as HTML that needs no script.

The scripts (assets/page.js) draw a picture of every table that stands in a figure, so that a table is behind every
picture, and what is shown has one source.
"""

import gzip
import json
import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from datetime import date as Date
from difflib import unified_diff
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.asked import AdvertiserId, Day, ProductId
from api.database import Unavailable
from api.memory import Answer, understands_gzip
from api.problems import RETRY_AFTER, spelling, what_is_wrong

FOLDER = Path(__file__).parent

Found = dict[str, Any]


class Page(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_or_problem(request: Request) -> Response:
            try:
                return await answer(request)
            except Unavailable as error:
                return _problem(request, 503, str(error))
            except HTTPException as error:
                return _problem(request, error.status_code, error.detail)
            except RequestValidationError as error:
                return _problem(request, 422, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()))

        return answer_or_problem


pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse, route_class=Page)

path = partial(quote, safe="")
"""An id as a segment of an address."""

WITHOUT_ADDRESS = (".", "..")
"""Ids that no address can have: browsers take them for a way up, in whatever spelling."""


def number(value: Any) -> str:
    """As people write it: thousands apart, a fraction with four digits, a dash for nothing."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def period(days: list[str] | None) -> str:
    """Days, from the first to the last, and how many they are; a dash where that was not recorded yet."""
    if not days:
        return "\N{EN DASH}"
    return days[0] if len(days) == 1 else f"{min(days)} to {max(days)} ({len(days)})"


def percent(share: float | None, digits: int = 2) -> str:
    """A share of 1, as people write it."""
    return "\N{EN DASH}" if share is None else f"{100 * share:.{digits}f} %"


def figure(value: Any, name: str) -> str:
    """A model's figure by its name: a rate as a share of 100."""
    return percent(value) if name.endswith("ctr") else number(value)


def moment(text: str, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A time of the warehouse, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime(form)


def age(text: str) -> str:
    """How long ago a time of the warehouse was."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    count, unit = next((int(seconds // size), unit) for unit, size in AGES if seconds >= size or size == 1)
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


def words(name: str) -> str:
    """A name of a column or an audit, as people write it."""
    return name.replace("_", " ").replace("ctr", "CTR")


AGES = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))

templates = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
templates.globals["without_address"] = WITHOUT_ADDRESS
templates.filters |= {
    "number": number,
    "path": path,
    "period": period,
    "percent": percent,
    "spelling": spelling,
    "age": age,
    "figure": figure,
    "moment": moment,
    "times": lambda ratio: "\N{EN DASH}" if ratio is None else f"{ratio:.2f}",
    "short": lambda revision: re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", revision),
    "literal": lambda text: "'" + text.replace("'", "''") + "'",
    "words": words,
    "heading": lambda name: words(name)[:1].upper() + words(name)[1:],
    "slug": lambda text: re.sub(r"\W+", "-", text.lower()).strip("-"),
}


@pages.get("/")
async def overview(request: Request) -> Response:
    ended = datetime.now(UTC).date() - timedelta(1)
    found = await _find(request, "page_overview", {"ended": ended}) | {"ended": str(ended)}
    names = [of["model"] for of in found["models"]]
    for night in found["nights"]:
        night |= _what_became_of(night) | {"month": night["date"][:7]}
    for of in found["models"]:
        of["verdict"] = _verdict(of["advantage_low"], of["advantage_high"])
    return _render(
        request,
        "overview.html",
        found,
        status=_status(found["newest"], found["ended"], found["nights"]),
        names=names,
        done=[night for night in found["nights"] if night["revision"]],
        top=_top(found["outcomes"]),
        variations=[(week["date"], *(week["by_model"].get(name) for name in names)) for week in found["weeks"]],
        agreed=_by_pair(found["agreement"]),
    )


@pages.get("/advertisers/{advertiser_id}")
async def advertiser(request: Request, advertiser_id: AdvertiserId, date: Day = None) -> Response:
    found = await _find(request, "page_advertiser", advertiser_id=advertiser_id, date=date)
    if not found:
        raise HTTPException(404, await what_is_wrong(request.app.state.database, advertiser_id, None, date))
    ranks: dict[str, dict[str, dict[str, int]]] = {}
    for of in found["ranks"]:
        ranks.setdefault(of["model"], {})[of["product_id"]] = of["by_day"]
    lists = [_list(of["model"], of["entries"], ranks.get(of["model"], {}), found["days"]) for of in found["lists"]]
    return _render(
        request,
        "advertiser.html",
        found | {"lists": lists},
        advertiser_id=advertiser_id,
        names=[of["model"] for of in lists],
        default=spelling(request.app.state.default_model),
        agreed=_by_pair(found["agreement"]),
    )


@pages.get("/advertisers/{advertiser_id}/products/{product_id}")
async def product(request: Request, advertiser_id: AdvertiserId, product_id: ProductId, date: Day = None) -> Response:
    found = await _find(request, "page_product", advertiser_id=advertiser_id, product_id=product_id, date=date)
    if found["date"] is None:
        raise HTTPException(404, await what_is_wrong(request.app.state.database, None, None, date))
    found["ranks"] = [(day["date"], *(day["by_model"].get(of) for of in found["models"])) for day in found["ranks"]]
    status = 200 if found["known"] else 404
    return _render(request, "product.html", found, status, advertiser_id=advertiser_id, product_id=product_id)


@pages.get("/nights")
async def any_night(request: Request, date: Date) -> Response:
    return RedirectResponse(f"{_root(request)}/nights/{date}", 303)


@pages.get("/nights/{date}")
async def night(request: Request, date: Date) -> Response:
    found = await _find(request, "page_night", date=date)
    for model in found["models"]:
        before, now = model["sql_text_before"], model["sql_text"]
        lines = unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=2) if before and now else ()
        model["difference"] = list(lines)[2:]
    slowest = max((step["seconds"] for step in found["steps"]), default=0) or 1
    return _render(request, "night.html", found, date=str(date), slowest=slowest)


@pages.get("/search")
async def search(
    request: Request, q: Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]
) -> Response:
    found = await _find(request, "page_search", typed=q.strip())
    if q.strip() in found["advertisers"] and q.strip() not in WITHOUT_ADDRESS:
        return RedirectResponse(f"{_root(request)}/advertisers/{path(q.strip())}", 303)
    return _render(request, "search.html", found, q=q.strip())


@pages.get("/docs")
async def docs(request: Request) -> Response:
    return _render(request, "docs.html", {})


async def _find(request: Request, query: str, now: Found | None = None, **params: Any) -> Found:
    """What the page's query finds now, empty when it finds no row; `now`: its parameters that the clock says.

    `read_at` says when the warehouse said it. When that can not be asked, it is what memory has, and `away`.
    """
    memory, key = request.app.state.memory, (query, repr(params).encode())
    try:
        row = await request.app.state.database.fetch(query, **(now or {}), **params)
    except Unavailable:
        answer, _ = await memory.confirmed(key)
        if answer is None:
            raise
        return {**json.loads(answer.body), "away": True}
    if row is None:
        return {}
    found = {"read_at": str(datetime.now(UTC)), **json.loads(row[0])}
    memory.keep(key, Answer(json.dumps(found).encode(), [], row[1], query))
    return found


def _render(request: Request, name: str, found: Found, status_code: int = 200, **more: Any) -> Response:
    """The page of the template `name`. No cache keeps it: whether lists are late depends on the clock."""
    always = {"root": _root(request), "away": False, "read_at": None, "q": "", "newest": None}
    always["late"] = _behind(newest) > 1 if (newest := found.get("newest")) else False
    body = templates.get_template(name).render(always | found | more).encode()
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if understands_gzip(request.headers.get("accept-encoding", "").encode()):
        body, headers["Content-Encoding"] = gzip.compress(body, 4, mtime=0), "gzip"
    return HTMLResponse(body, status_code, headers)


def _problem(request: Request, status: int, detail: str) -> Response:
    more = {"title": HTTPStatus(status).phrase, "detail": detail}
    response = _render(request, "problem.html", {}, status, **more)
    response.headers.update(RETRY_AFTER if status == 503 else {})
    return response


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


def _behind(newest: str, ended: str | None = None) -> int:
    """Days that ended since the newest published one; `ended`: the last of them, by default yesterday."""
    last = Date.fromisoformat(ended) if ended else datetime.now(UTC).date() - timedelta(1)
    return (last - Date.fromisoformat(newest)).days


def _status(newest: str | None, ended: str, nights: list[Found]) -> dict[str, str]:
    """Is everything all right? A colour, a word, the reason."""
    if newest is None:
        return {"colour": "warn", "word": "Empty", "reason": "Nothing is published yet."}
    behind = _behind(newest, ended)
    if behind <= 0:
        reason = f"The lists of {newest}, the day that ended last, are published."
        return {"colour": "good", "word": "Fresh", "reason": reason}
    last = nights[-1]
    refused = "Held" if last["held"] else "Refused"
    word = "Withdrawn" if last["withdrawn"] else refused if last["refused"] else "Late"
    since = "1 day has" if behind == 1 else f"{behind} days have"
    reason = f"The newest lists are those of {newest}. {since} ended since, the last on {ended}"
    why = f": {last['said']}." if word != "Late" and last["date"] == ended else "."
    return {"colour": "warn" if behind == 1 and word == "Late" else "bad", "word": word, "reason": reason + why}


def _what_became_of(night: Found) -> dict[str, str]:
    """Of a night: how it is shown, and what is said of it."""
    revision = night["revision"]
    if revision is None:
        if night["withdrawn"]:
            return {"state": "missing", "said": f"withdrawn: {night['withdrawn']}"}
        if night["held"]:
            return {"state": "held", "said": f"held, since less arrived than usual: {night['refused']}"}
        return {"state": "missing", "said": f"refused by {night['refused']}" if night["refused"] else "not published"}
    said = "published" if revision == 1 else f"published again ({revision})"
    lines = f"{night['rejected'] or 0:,} of {night['delivered'] or 0:,} lines unreadable"
    return {"state": "once" if revision == 1 else "again", "said": f"{said}; {lines}"}


def _verdict(low: float | None, high: float | None) -> dict[str, str]:
    """What the interval of an advantage says: nothing, while it holds 1."""
    if low is None or high is None:
        return {"colour": "", "word": "not known"}
    if low <= 1 <= high:
        return {"colour": "", "word": "can not be told"}
    return {"colour": "yes", "word": "yes"} if low > 1 else {"colour": "no", "word": "no, worse"}


def _top(outcomes: list[Found]) -> float:
    """Where the axis of advantages ends: at the highest interval, unless that is far above all advantages."""
    days = [day for of in outcomes for day in of["days"] if day["advantage"] is not None]
    highest = max((day["advantage"] for day in days), default=1)
    return float(max(1.5, min(1.5 * highest, max((day["high"] or 0 for day in days), default=1))))


def _by_pair(agreement: list[Found]) -> dict[str, dict[str, float]]:
    """How far a model, the first by name, agrees with another."""
    cells: dict[str, dict[str, float]] = {}
    for pair in agreement:
        cells.setdefault(pair["model"], {})[pair["other_model"]] = pair["jaccard"]
    return cells


def _list(model: str, entries: list[Found], ranks: dict[str, dict[str, int]], days: list[str]) -> Found:
    """A model's list as the page shows it; `ranks` are those of every product on the last `days`, oldest first."""
    names = [name for name in entries[0] if name not in ("rank", "product_id")] if entries else []
    # What a model ranks by stands first among its numbers; before it may be words, as where an entry comes from.
    figure = next((name for name in names if isinstance(entries[0][name], int | float)), "rank")
    largest = max((entry[figure] or 0 for entry in entries), default=0)
    before = days[-2] if len(days) > 1 else None
    for entry in entries:
        entry["share"] = (entry[figure] or 0) / largest if largest else 0
        entry["moved"] = _moved(entry["rank"], ranks[entry["product_id"]].get(before)) if before else ""
    products = [entry["product_id"] for entry in entries]
    others = [name for name in names if name not in (figure, "clicks", "impressions")]
    # What is the same in all rows is said once.
    same = [name for name in others if len({str(entry[name]) for entry in entries}) == 1 < len(entries)]
    return {
        "model": model,
        "entries": entries,
        "figure": figure,
        "evidence": {"clicks", "impressions"} <= set(names),
        "others": [name for name in others if name not in same],
        "same": [(name, entries[0][name]) for name in same],
        "products": products,
        "lost": sorted(one for one, by_day in ranks.items() if before in by_day and one not in products),
        "movement": [(day, *(ranks[one].get(day) for one in products)) for day in days],
    }


def _moved(rank: int, before: int | None) -> str:
    if before is None:
        return "new"
    return f"▲ {before - rank}" if before > rank else f"▼ {rank - before}" if before < rank else "="
