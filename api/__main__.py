"""`python -m api`: uvicorn on PORT, as the image starts it, with as many processes as WEB_CONCURRENCY says."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import uvicorn

from api.settings import Settings

with ExitStack() as stack:
    if int(os.environ.get("WEB_CONCURRENCY") or 1) > 1:
        # What the processes count is added up in files: in memory where that can be, which a read-only container has.
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        for left in Path(shared or gettempdir()).glob("api-metrics-[0-9]*-*"):
            # By one that was killed.
            if not Path("/proc", left.name.split("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)
        folder = stack.enter_context(TemporaryDirectory(prefix=f"api-metrics-{os.getpid()}-", dir=shared))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    uvicorn.run(
        "api.main:app",
        host="0.0.0.0",
        port=int(os.environ.get("PORT", "8080")),
        server_header=False,
        # Whose word is taken for where a request comes from: a proxy before it, by address or network.
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        # No log line a request by uvicorn: it would cost as much as the answer. /metrics counts them; ACCESS_LOG logs.
        access_log=False,
        timeout_keep_alive=Settings().keep_alive,
        # After SIGTERM what is under way is answered; what takes longer than this (seconds) is given up.
        timeout_graceful_shutdown=4,
    )
