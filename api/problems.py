"""Errors as RFC 9457 problem details: what is wrong, and what would be right."""

from collections.abc import Mapping
from datetime import date as Date
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from api import log
from api.database import Database

PROBLEM = "application/problem+json"

RETRY_AFTER = {"Retry-After": "2"}
"""Header of every 503 and 429: the seconds after which to ask again."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """The response for an error, which no cache keeps; `more` are further members of the problem."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    body |= {"request_id": log.request_id(), **more}
    said = {"Cache-Control": "no-store", **(RETRY_AFTER if status in (429, 503) else {}), **(headers or {})}
    return JSONResponse(body, status, said, PROBLEM)


async def what_is_wrong(
    database: Database, advertiser_id: str | None, model: str | None, date: Date | None, *, visible: bool = True
) -> str:
    """Why there is no answer, and what would have one. An advertiser that is not `visible` is one that there is not."""
    row = await database.fetch("what_exists", advertiser_id=advertiser_id if visible else None)
    assert row is not None
    models, first_day, last_day, last_active = row
    day = str(date or last_day)
    if last_day is None:
        return "nothing is published yet"
    if advertiser_id is not None and last_active is None:
        return f"no advertiser {advertiser_id!r} on the active list of any published day, {first_day} to {last_day}"
    if model is not None and spelling(model) not in map(spelling, models):
        return f"no model {model!r}; the models are {', '.join(models)}"
    if not first_day <= day <= last_day:
        return f"nothing is published for {day}; the published days are {first_day} to {last_day}"
    if advertiser_id is None:
        return f"nothing is published for {day}, a gap in the published days {first_day} to {last_day}"
    return (
        f"advertiser {advertiser_id!r} has no list for {day}: it was not active, or the model or the day not published"
    )


def spelling(model: str) -> str:
    """The one that all spellings of a model's name have."""
    return model.replace("-", "").replace("_", "").lower()
