"""Sends to CloudWatch Logs what the machine has to say: `python -m deploy.report`, every 5 minutes by a timer.

That is the journal of Airflow's services since the last time, how full the disk is, and the age of the newest
publication, from which the stack makes the metrics behind its alarms. AWS's own agent would do the first two, not the
third, and stay in a memory of 2 GB all day.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import boto3
import psycopg2

UNITS = ("airflow-*", "recommendations-*", "cloud-final")
LONGEST_MS = 12 * 3600 * 1000
"""Lines older than this (milliseconds) stay on the machine: CloudWatch takes a day's span in one request."""
MOST_BYTES, MOST_EVENTS = 900_000, 5_000
"""Of one request; CloudWatch takes 1,048,576 bytes with 26 more for each event, and 10,000 events."""

Event = dict[str, Any]


def main() -> int:
    """Exit status 0 when all was sent, 1 when the warehouse did not say how old the newest publication is."""
    logs, group, stream = boto3.client("logs"), os.environ["MACHINE_LOG_GROUP"], socket.gethostname()
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    position = Path(os.environ["AIRFLOW_HOME"]) / "journal.cursor"
    for events, cursor in _batches(_journal(position.read_text() if position.exists() else "")):
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        position.write_text(cursor)
    disk = shutil.disk_usage("/")
    figures: dict[str, Any] = {"disk_used_percent": round(100 * disk.used / disk.total, 1)}
    status = 0
    try:
        figures |= publication_age()
    except psycopg2.Error as error:
        print(f"the warehouse did not say what is published: {str(error).strip()}", file=sys.stderr)
        status = 1
    event = {"timestamp": int(time.time() * 1000), "message": json.dumps(figures)}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
    return status


def publication_age() -> dict[str, Any]:
    """`hours_since_published_day` and `newest`, or `newest` None before the first publication."""
    with closing(psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=10)) as conn, conn.cursor() as cursor:
        cursor.execute(Path(__file__).with_name("publication_age.sql").read_text())
        row = cursor.fetchone()
    return {"hours_since_published_day": float(row[0]), "newest": str(row[1])} if row else {"newest": None}


def _journal(after: str) -> Iterator[tuple[Event, str]]:
    """The lines since the cursor, oldest first, each with its own cursor."""
    command = ["journalctl", "--output=json", "--no-pager", *(f"--unit={unit}" for unit in UNITS)]
    command += [f"--after-cursor={after}"] if after else []
    oldest = time.time() * 1000 - LONGEST_MS
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout
        for line in reader.stdout:
            entry = json.loads(line)
            at, text = int(entry["__REALTIME_TIMESTAMP"]) // 1000, entry.get("MESSAGE")
            if isinstance(text, list):  # bytes that are no text
                text = bytes(text).decode(errors="replace")
            if text and at > oldest:
                unit = entry.get("UNIT", entry.get("_SYSTEMD_UNIT", "")).removesuffix(".service")
                yield {"timestamp": at, "message": f"{unit}: {text}"[:100_000]}, entry["__CURSOR"]


def _batches(entries: Iterator[tuple[Event, str]]) -> Iterator[tuple[list[Event], str]]:
    """Requests that CloudWatch takes, each with the cursor of its last line."""
    events: list[Event] = []
    size, last = 0, ""
    for event, cursor in entries:
        length = len(event["message"].encode()) + 26
        if events and (size + length > MOST_BYTES or len(events) == MOST_EVENTS):
            yield sorted(events, key=lambda event: event["timestamp"]), last
            events, size = [], 0
        events.append(event)
        size, last = size + length, cursor
    if events:
        yield sorted(events, key=lambda event: event["timestamp"]), last


if __name__ == "__main__":
    sys.exit(main())
