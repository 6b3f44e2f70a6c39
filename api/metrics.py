"""What /metrics tells: of this process, or of all that `python -m api` has started. What else is measured stands where
it happens; names are OpenTelemetry's where it has one for the thing."""

import os
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

NEWEST = Gauge(
    "recommendations_newest_day_end_timestamp_seconds",
    "When the newest published log day ended; NaN: none is known",
    multiprocess_mode="mostrecent",
)
AGE = Gauge("recommendations_newest_day_age_seconds", "How long ago that was", multiprocess_mode="mostrecent")


def exposition(newest: str | None) -> bytes:
    """All metrics in Prometheus' text format; `newest` is the newest published day, None if it is not known."""
    now = datetime.now(UTC)
    end = datetime.fromisoformat(newest).replace(tzinfo=UTC) + timedelta(1) if newest else None
    NEWEST.set(end.timestamp() if end else nan)
    AGE.set((now - end).total_seconds() if end else nan)
    if (folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR")) is None:
        return generate_latest(REGISTRY)
    for file in Path(folder).glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
    every = CollectorRegistry()
    MultiProcessCollector(every, folder)  # type: ignore[no-untyped-call]
    return generate_latest(every)
