"""The built image, run for real: `IMAGE=recommendations-api make test ARGS=tests/test_image.py`."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from conftest import Night

from local.airflow import free_port

IMAGE = os.environ.get("IMAGE", "")
DOCKER = bool(IMAGE) and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not IMAGE, reason="IMAGE names no built image")


@contextmanager
def container(*command: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A container of the image on the host's network: by Docker, else by buildah."""
    settings = [item for name, value in env.items() for item in ("--env", f"{name}={value}")]
    made = ""
    if DOCKER:
        start = ["docker", "run", "--rm", "--init", "--read-only", "--network", "host", *settings, IMAGE, *command]
    else:
        assert shutil.which("buildah"), "neither Docker nor buildah"
        made = subprocess.run(
            ["buildah", "from", f"localhost/{IMAGE}"], capture_output=True, text=True, check=True
        ).stdout
        start = ["buildah", "run", "--isolation", "chroot", *settings, made.strip(), "--", *command]
    process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if made:
            subprocess.run(["buildah", "rm", made.strip()], capture_output=True, check=True)


def output(*command: str) -> str:
    with container(*command) as process:
        return process.communicate(timeout=60)[0]


def test_it_serves_with_nothing_but_its_two_variables_and_stops_when_told(delivered: Night) -> None:
    delivered.run()
    port = free_port()
    env = {"DATABASE_URL": delivered.warehouse.url("recommendations_api"), "PORT": str(port)}
    command = () if DOCKER else ("/opt/venv/bin/python", "-m", "api")
    with container(*command, **env) as process:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health/ready").json()["status"] == "ready"
                break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert httpx.get(f"http://127.0.0.1:{port}/recommendations/ACME/TopCTR").json()["count"] == 20
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert time.monotonic() - started < 5


def test_it_holds_the_api_and_nothing_else() -> None:
    assert output("id", "-u").strip().splitlines()[-1] == "10001"
    listing = output("sh", "-c", "ls /srv /srv/api; which gcc cc make pip pip3 git; ls /opt/venv/bin; true")
    for absent in ("gcc", "elt", "tests", "dags", ".git", "Makefile", "pip"):
        assert absent not in listing.split(), listing
    assert "main.py" in listing
    written = output("sh", "-c", "touch /srv/x /opt/venv/x /usr/x && echo written")
    assert "written" not in written
    shown = output("env").upper()
    assert "PASSWORD" not in shown
    assert "SECRET" not in shown
