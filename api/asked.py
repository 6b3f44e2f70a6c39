"""What may be asked: ids and days in the form that they have, and no parameter that there is none of."""

import re
from collections import Counter
from datetime import date as Date
from functools import partial
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import unquote

from fastapi import Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator

LONGEST_ID = 64
"""Characters of an id in a path."""

SLASH = "\udc2f"
"""Stands for the slash of an id (%2F) where the routes look for the borders of ids. No path can have it: half a pair of
UTF-16 is no character."""


def with_slashes_of_ids(path: str, raw_path: bytes) -> str:
    """The path (which the server has decoded) with SLASH for every slash that was sent encoded."""
    if b"%2f" not in raw_path.lower():
        return path
    return "/".join(unquote(part).replace("/", SLASH) for part in raw_path.decode("latin-1").split("/"))


def the_id(part: str) -> str:
    """The id that stands in a path."""
    return part.replace(SLASH, "/")


def _iso(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("a date is written YYYY-MM-DD")
    return value


Id = partial(Path, min_length=1, max_length=LONGEST_ID, pattern=r"^[^\x00]+$")
AdvertiserId = Annotated[str, BeforeValidator(the_id), Id(description="As in the logs; a slash of it is written %2F")]
ProductId = AdvertiserId
ModelName = Annotated[str, BeforeValidator(the_id), Id(description="Capitals, - and _ make no difference")]
Day = Annotated[Date | None, BeforeValidator(_iso), Query(description="A published day; by default the newest")]


async def nothing_else(request: Request) -> None:
    """Raises RequestValidationError for a parameter that the route has none of, or that is given twice.

    Who asks for health and metrics is a machine: one that adds a parameter to every address is not to call this ill.
    """
    asked = Counter(name for name, _ in request.query_params.multi_items())
    route = request.scope["route"]
    if not asked or "operation" in route.tags:
        return
    there_are = {field.alias: field for field in route.dependant.query_params}
    right = f"there are: {', '.join(there_are)}" if there_are else "there are none here"
    wrong = {name: f"there is no such parameter; {right}" for name in asked if name not in there_are} | {
        name: "is given more than once"
        for name, times in asked.items()
        if times > 1 and name in there_are and not _is_list(there_are[name].field_info.annotation)
    }
    if wrong:
        raise RequestValidationError([{"loc": ("query", name), "msg": said} for name, said in wrong.items()])


def _is_list(annotation: Any) -> bool:
    return any(get_origin(one) is list for one in (annotation, *get_args(annotation)))
