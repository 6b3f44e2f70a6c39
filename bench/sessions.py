"""Many objects: FiltrarDatos over logs of 300 objects on an S3 that answers late, by the sessions that land them."""

import io
import os
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3

from bench.night import bench, say
from bench.objects import DAY
from elt import steps
from elt.settings import load_settings
from elt.warehouse import opens
from local import sample

OBJECTS = 300
LATENCY = 0.04
"""Seconds before S3 answers a request."""
LINES = 300_000
"""Of each log."""


def tables(quick: bool) -> str:
    """Markdown. Raises RuntimeError when the kept logs are not the same bytes whatever the number of sessions."""
    lines = [
        f"Logs of {OBJECTS} objects and {LINES:,} lines each, {LATENCY * 1000:.0f} ms before S3 answers a request.",
        "",
        "| LANDING_SESSIONS | FiltrarDatos | of one session's |",
        "|---|---|---|",
    ]
    with bench(0) as place:
        deliver(place.s3)
        late = boto3.client("s3")
        late.meta.events.register("before-send.s3", lambda **_: time.sleep(LATENCY))
        taken: dict[int, float] = {}
        kept: set[tuple[bytes, ...]] = set()
        for sessions in (1, 8) if quick else (1, 2, 4, 8):
            taken[sessions] = load(late, sessions)
            kept.add(tuple(read(place.s3, f"intermediate/date={DAY}/{log}.csv.gz") for log in steps.LOGS))
            say(f"{OBJECTS} objects, {sessions} sessions: {taken[sessions]:.1f} s")
            lines.append(f"| {sessions} | {taken[sessions]:.1f} s | {taken[sessions] / taken[1]:.2f} |")
    if len(kept) > 1:
        raise RuntimeError("the kept logs differ by the number of sessions")
    return "\n".join(lines)


def deliver(s3: Any) -> None:
    """Puts each log on S3 as OBJECTS objects under a prefix."""
    with TemporaryDirectory() as name:
        sample.write(sample.make_world(advertisers=100), Path(name), [date.fromisoformat(DAY)], LINES)
        for log in steps.LOGS:
            header, *lines = (Path(name) / DAY / log).read_bytes().splitlines(keepends=True)
            for n in range(OBJECTS):
                body = b"".join([header, *lines[n::OBJECTS]])
                s3.upload_fileobj(io.BytesIO(body), "bench", f"many/{log}/{n:03}")
            os.environ[f"{log.upper()}_URI"] = f"s3://bench/many/{log}/"
        s3.upload_file(str(Path(name) / DAY / "advertiser_ids"), "bench", "advertiser_ids")


def load(s3: Any, sessions: int) -> float:
    """Seconds that FiltrarDatos takes."""
    settings = load_settings().model_copy(update={"landing_sessions": sessions})
    assert settings.database_url
    connect = opens(settings.database_url.get_secret_value())
    begun = time.perf_counter()
    steps.filter_events(DAY, connect, s3, settings, run_id="bench", reload=True)
    return time.perf_counter() - begun


def read(s3: Any, key: str) -> bytes:
    body: bytes = s3.get_object(Bucket="bench", Key=key)["Body"].read()
    return body
