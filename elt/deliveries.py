"""What was delivered under a source URI: its objects, and whether a marker says that they are all there."""

import json
from typing import Any

from elt import s3 as objects
from elt.errors import NotYet, PipelineError

MANIFEST = '{"objects": [{"name": "part-0.csv.gz", "size": 12345}, ...]}, names under the prefix, sizes in bytes'
"""What a marker that ends in `.json`, or in `.json.gz`, says."""


def find(s3: Any, uri: str, marker: str = "", *, incomplete: bool = False) -> list[objects.SourceObject]:
    """The objects that a source URI means (elt.s3.find), under a prefix without the marker.

    Where a marker is agreed on, a prefix is a delivery once the marker is there: it is looked for first, since it is
    written last. One that ends in `.json` or `.json.gz` is a manifest, and must name what is there. Unless it is wanted
    `incomplete`.

    Raises NotYet when the marker is missing or the objects are not those of the manifest, PipelineError when that can
    not be read.
    """
    if not marker or not uri.endswith("/"):
        return objects.find(s3, uri)
    listed = None if incomplete else _listed(s3, uri, marker)
    found = [item for item in objects.find(s3, uri) if item.uri != uri + marker]
    if listed is not None:
        _compare(found, listed, uri + marker)
    if not found:
        raise NotYet(f"{uri}: no object under this prefix yet but {marker}")
    return found


def _listed(s3: Any, uri: str, marker: str) -> dict[str, int] | None:
    """Waits for the marker. The sizes of the objects that it lists, by URI; None when it is no manifest."""
    try:
        (mark,) = objects.find(s3, uri + marker)
    except NotYet as error:
        raise NotYet(f"{error}; it says that the delivery is whole (COMPLETE_MARKER)") from error
    if not marker.removesuffix(".gz").endswith(".json"):
        return None
    with objects.reader(s3, mark) as file:
        text = file.read()
    try:
        listed = {str(item["name"]): int(item["size"]) for item in json.loads(text)["objects"]}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise PipelineError(
            f"{mark.uri}: not a manifest ({type(error).__name__}: {error}); expected {MANIFEST}"
        ) from error
    # An empty object is no part of a delivery.
    return {name if name.startswith("s3://") else uri + name: size for name, size in listed.items() if size}


def _compare(found: list[objects.SourceObject], listed: dict[str, int], manifest: str) -> None:
    there = {item.uri: item.size for item in found}
    wrong = [f"{uri} is missing" for uri in listed if uri not in there]
    wrong += [
        f"{uri} has {there[uri]:,} bytes, not {size:,}" for uri, size in listed.items() if there.get(uri, size) != size
    ]
    wrong += [f"{uri} is not in it" for uri in there if uri not in listed]
    if wrong:
        more = f"; {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
        raise NotYet(f"{manifest}: {'; '.join(wrong[:5])}{more}")
