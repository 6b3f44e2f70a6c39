"""The API under uvicorn, as a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from elt.settings import PROJECT
from local import processes


@contextmanager
def serve(port: int, database_url: str, log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """The API on 127.0.0.1 once it answers, `settings` in its environment. Raises RuntimeError when it does not."""
    command = [sys.executable, "-m", "uvicorn", "api.main:app", "--app-dir", str(PROJECT), "--port", str(port)]
    process = processes.start(command, log, env={"DATABASE_URL": database_url, **settings})
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health/live").raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the API did not start on port {port}; see {log}") from None
                time.sleep(0.05)
        yield process
    finally:
        processes.stop(process)
