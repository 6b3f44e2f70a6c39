"""An embedded S3 server (moto) that speaks the real protocol on 127.0.0.1. What it holds is gone when it stops."""

import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from local import processes


@contextmanager
def s3_server(port: int) -> Iterator[str]:
    """A running server; yields its URL. Raises RuntimeError when it does not start."""
    url = f"http://127.0.0.1:{port}"
    process = processes.start([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], None)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the S3 server did not start on port {port}") from None
                time.sleep(0.05)
        yield url
    finally:
        processes.stop(process)


def environment(url: str) -> dict[str, str]:
    """What the SDK needs to use the server: the SDK's own variables."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
