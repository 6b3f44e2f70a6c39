"""The built image, run for real: `IMAGE=recommendations-api make test ARGS=tests/test_image.py`."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import cloud
import httpx
import psutil
import psycopg2
import pytest
from conftest import Night, Warehouse
from test_secrets import TlsFront, tls_front

from elt.settings import PROJECT
from local.airflow import free_port
from local.postgres import MASTER

IMAGE = os.environ.get("IMAGE", "")
DOCKER = bool(IMAGE) and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not IMAGE, reason="IMAGE names no built image")


@contextmanager
def container(*command: str, ca: Path | None = None, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A container of the image on the host's network: by Docker, else by buildah. `ca` is for RDS."""
    settings = [item for name, value in env.items() for item in ("--env", f"{name}={value}")]
    settings += ["--volume", f"{ca}:/srv/ca/rds.pem:ro"] if ca else []
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
        # buildah alone would leave the container's own process running.
        left = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
        for one in (process, *left):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        if made:
            subprocess.run(["buildah", "rm", made.strip()], capture_output=True, check=True)


def terminate(container: subprocess.Popen[str]) -> None:
    """SIGTERM to the container's own process. Docker passes it on; buildah would end it and the process at once."""
    if DOCKER:
        return container.send_signal(signal.SIGTERM)
    (api,) = [p for p in psutil.Process(container.pid).children(recursive=True) if p.cmdline()[-2:] == ["-m", "api"]][
        -1:
    ]
    api.terminate()


def output(*command: str) -> str:
    with container(*command) as process:
        return process.communicate(timeout=60)[0]


@pytest.fixture
def front(warehouse: Warehouse, tmp_path: Path) -> Iterator[tuple[TlsFront, Path]]:
    with tls_front(warehouse, tmp_path) as running:
        yield running


@pytest.fixture
def serving(delivered: Night, front: tuple[TlsFront, Path]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The container and its address, started with the very variables that the template gives it, over verified TLS."""
    delivered.run()
    server, ca = front
    ca.chmod(0o644)
    ca.parent.chmod(0o755)
    template = cloud.template()
    properties = template["Resources"]["ApiOnExpress"]["Properties"]["PrimaryContainer"]
    env = {item["Name"]: item["Value"] for item in properties["Environment"]}
    env["API_ACCESS"] = template["Parameters"][env["API_ACCESS"]["Ref"]]["Default"]
    assert env["DATABASE_URL"] == "postgresql:///recommendations"
    password = delivered.warehouse.postgres.password
    here = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), **{s["Name"]: password for s in properties["Secrets"]}}
    assert set(here) <= set(env) | {"PGPASSWORD"}
    # The database of a test has a name of its own, and the port is not the container's alone as it is there.
    port = free_port()
    here |= {"DATABASE_URL": f"postgresql:///{delivered.warehouse.name}", "PORT": str(port)}
    with container(*(() if DOCKER else ("/opt/venv/bin/python", "-m", "api")), ca=ca, **env | here) as process:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while True:
            try:
                assert httpx.get(f"{url}/health/live").json()["status"] == "live"
                break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield process, url


def test_it_serves_with_nothing_but_the_variables_of_the_template(
    serving: tuple[subprocess.Popen[str], str], front: tuple[TlsFront, Path]
) -> None:
    _, url = serving
    assert httpx.get(f"{url}/health/ready").json()["status"] == "ready"
    assert httpx.get(f"{url}/health/live").json()["version"] == (PROJECT / "VERSION").read_text().strip()
    assert httpx.get(f"{url}/recommendations/ACME/TopCTR").json()["count"] == 20
    assert "assets/page.js" in httpx.get(f"{url}/").text
    assert httpx.get(f"{url}/assets/page.js").status_code == 200
    assert front[0].encrypted


def test_it_stops_within_5_seconds_and_answers_what_it_was_asked(
    serving: tuple[subprocess.Popen[str], str], warehouse: Warehouse
) -> None:
    """The balancer sends nothing new to a container that it stops; what is under way is answered.

    A lock in the database keeps requests under way until the signal has been sent; others come and go all the time. No
    two are the same, so that each is asked of the database.
    """
    process, url = serving
    draining, answers, number = threading.Event(), [], count()

    def keep_asking() -> None:
        while not draining.is_set():
            answers.append(httpx.get(f"{url}/history/BOLT?{'&' * next(number)}", timeout=20).status_code)

    def under_way() -> int:
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'marts.recommendations'::regclass"
        return warehouse.rows(query, role=MASTER)[0][0]

    with ThreadPoolExecutor(8) as pool, closing(psycopg2.connect(warehouse.url(MASTER))) as holder:
        busy = [pool.submit(keep_asking) for _ in range(4)]
        while len(answers) < 50:
            time.sleep(0.01)
        holder.cursor().execute("LOCK TABLE marts.recommendations IN ACCESS EXCLUSIVE MODE")
        held = [pool.submit(httpx.get, f"{url}/history/ACME?{'&' * next(number)}", timeout=20) for _ in range(4)]
        draining.set()
        deadline = time.monotonic() + 3
        while under_way() + sum(asked.done() for asked in busy + held) < 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started = time.monotonic()
        terminate(process)
        time.sleep(0.2)
        holder.rollback()
        process.wait(20)
        assert time.monotonic() - started < 5
        for asked in busy:
            asked.result()
        assert [asked.result().status_code for asked in held] == [200] * 4
    assert set(answers) == {200}
    assert len(answers) >= 50


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
