"""Tools for breaking things: a reader that never stops looking, a proxy that fails on purpose, sizes of the runs."""

import json
import os
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from shutil import copyfile
from typing import Any

import httpx
import psycopg2
from conftest import Night, Warehouse

from local.airflow import free_port
from local.api import serve
from local.postgres import BIN, MASTER, Postgres

LONG = bool(os.environ.get("CHAOS"))

figures: list[str] = []
"""What the run survived, printed at its end."""


def scale(short: int, long: int) -> int:
    """How often: the short form runs in `make test`, the long one in `make chaos`."""
    return long if LONG else short


class Reader(threading.Thread):
    """Asks the API for an advertiser's lists, again and again, and remembers every answer that it saw."""

    def __init__(self, url: str, day: str, advertisers: tuple[str, ...] = ("ACME", "BOLT")) -> None:
        super().__init__(daemon=True)
        self.url, self.day, self.advertisers = url, day, advertisers
        self.statuses: Counter[int] = Counter()
        self.seen: set[tuple[str, str]] = set()
        self.slowest = 0.0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as http:
            # Not without a pause: the others need the machine, too.
            while not self._stop_asked.wait(0.002):
                for advertiser in self.advertisers:
                    answer = http.get(f"/history/{advertiser}")
                    self.statuses[answer.status_code] += 1
                    self.slowest = max(self.slowest, answer.elapsed.total_seconds())
                    if answer.status_code == 200:
                        lists = answer.json()["history"].get(self.day, {})
                        self.seen.add((advertiser, json.dumps(lists, sort_keys=True)))

    def finish(self) -> set[tuple[str, str]]:
        """Stops; returns every (advertiser, lists of the day) that was ever answered."""
        self._stop_asked.set()
        self.join(60)
        assert not self.is_alive(), "the reader hangs"
        return self.seen


@contextmanager
def reading(url: str, day: str) -> Iterator[Reader]:
    reader = Reader(url, day)
    reader.start()
    yield reader
    reader.finish()


def lists_now(url: str, day: str) -> set[tuple[str, str]]:
    """What a reader sees at this moment, in the form of `Reader.seen`."""
    reader = Reader(url, day)
    for advertiser in reader.advertisers:
        answer = httpx.get(f"{url}/history/{advertiser}", timeout=30).raise_for_status()
        reader.seen.add((advertiser, json.dumps(answer.json()["history"].get(day, {}), sort_keys=True)))
    return reader.seen


def night_process(night: Night, s3_url: str, day: str) -> subprocess.Popen[str]:
    """Starts the steps of the day as a process; returns when it is about to begin the first."""
    env = os.environ | night.environment(s3_url)
    script = Path(__file__).with_name("night_process.py")
    process = subprocess.Popen(
        [sys.executable, str(script), day], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
    return process


def set_read_only(warehouse: Warehouse, read_only: bool) -> None:
    """What new connections meet, as at a server that was the standby a moment ago."""
    setting = "on" if read_only else "off"
    warehouse.rows(
        f"SET TRANSACTION READ WRITE; ALTER DATABASE {warehouse.name} SET default_transaction_read_only = {setting}",
        role=MASTER,
    )


class FaultyProxy(socketserver.ThreadingTCPServer):
    """Stands before an HTTP server. Asks `next_fault()` what to do to a request:
    None: pass it on; an int of 400 or more: answer with that status; a smaller one: pass on so many kB, then reset."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, target: tuple[str, int], next_fault: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target, self.next_fault = target, next_fault
        self.injected: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.BaseRequestHandler):
    server: FaultyProxy

    def handle(self) -> None:
        fault = self.server.next_fault()
        if fault is not None and fault >= 400:
            self.server.injected[str(fault)] += 1
            self.request.recv(65536)
            body = b"<Error><Code>InternalError</Code><Message>injected</Message></Error>"
            head = f"HTTP/1.1 {fault} Injected\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.request.sendall(head.encode() + body)
            return
        with socket.create_connection(self.server.target) as upstream:
            pump = threading.Thread(target=self._pump, args=(self.request, upstream), daemon=True)
            pump.start()
            left = fault * 1024 if fault is not None else None
            while data := upstream.recv(16384):
                if left is not None and len(data) >= left:
                    self.server.injected["reset"] += 1
                    self.request.sendall(data[:left])
                    # A socket that another thread reads is not closed by closing it: end the reading first.
                    self.request.shutdown(socket.SHUT_RD)
                    pump.join()
                    # Linger of zero: closing sends a reset instead of an orderly end.
                    self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.request.close()
                    return
                if left is not None:
                    left -= len(data)
                self.request.sendall(data)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        try:
            # One request a connection, so that every request can have its fault.
            target.sendall(source.recv(16384).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            while data := source.recv(16384):
                target.sendall(data)
        except OSError:
            pass


class Address(socketserver.ThreadingTCPServer):
    """What a host's name is to its clients: connections lead to the server of the moment, and stay there."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Route)
        self.port, self.target = self.server_address[1], port
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def in_place_of(self, url: str) -> str:
        """The URL of the server that it leads to, by this name."""
        return url.replace(f":{self.target}/", f":{self.port}/")

    def leads_to(self, port: int) -> None:
        """From now on, who connects."""
        self.target = port

    def __exit__(self, *error: Any) -> None:
        self.shutdown()
        super().__exit__(*error)


class _Route(socketserver.BaseRequestHandler):
    server: Address

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.target)) as upstream:
            back = threading.Thread(target=self._pass_on, args=(upstream, self.request), daemon=True)
            back.start()
            self._pass_on(self.request, upstream)
            back.join()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def instances(url: str, folder: Path, names: str = "ab", **settings: str) -> Iterator[list[httpx.Client]]:
    """Clients of the API: two, as behind a load balancer."""
    with ExitStack() as stack:
        found = []
        for name in names:
            port = free_port()
            stack.enter_context(serve(port, url, folder / f"{name}.log", **settings))
            found.append(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)))
        yield found


@contextmanager
def standby_of(primary: Postgres, folder: Path) -> Iterator[Postgres]:
    folder.parent.mkdir()
    if primary.user:
        folder.parent.chmod(0o777)
    subprocess.run(
        [str(BIN / "pg_basebackup"), "-d", primary.url("postgres", ""), "-D", str(folder), "-R", "-c", "fast"],
        user=primary.user,
        check=True,
        cwd="/",
    )
    copyfile(primary.folder.with_suffix(".password"), folder.with_suffix(".password"))
    with Postgres(folder, free_port()) as server:
        wait_until(lambda: streams(primary), "no replication")
        yield server


def streams(primary: Postgres) -> bool:
    with closing(psycopg2.connect(primary.url("postgres", "postgres"))) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_replication WHERE state = 'streaming'")
        return cursor.rowcount > 0


def wait_until(true: Callable[[], Any], what: str = "still not") -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
