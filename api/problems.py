"""Errors as RFC 9457 problem details: what is wrong, and what would be right."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

PROBLEM = "application/problem+json"

RETRY_AFTER = {"Retry-After": "2"}
"""Header of every 503: the seconds after which to ask again."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> JSONResponse:
    """The response for an error, which no cache keeps; `more` are further members of the problem."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    said = {"Cache-Control": "no-store", **(RETRY_AFTER if status == 503 else {}), **(headers or {})}
    return JSONResponse(body, status, said, PROBLEM)
