"""A load of HTTP requests from one core: keep-alive connections, each with one request at a time.

`python -m bench.load PORT CONNECTIONS SECONDS KEY < PATHS` prints a JSON line: answers a second, latencies in
milliseconds, answers by status. The paths are asked in turn. It speaks just enough HTTP to count what a whole answer
is; Python's HTTP clients would be slower than the server.
"""

import json
import select
import socket
import sys
import time
from collections import Counter
from itertools import cycle
from typing import Any


def load(port: int, connections: int, seconds: float, key: str, paths: list[str]) -> dict[str, Any]:
    """Asks 127.0.0.1 for `seconds`. Raises RuntimeError when the server closes a connection."""
    headers = f"Host: bench\r\nAuthorization: Bearer {key}\r\n\r\n"
    requests = cycle([f"GET {path} HTTP/1.1\r\n{headers}".encode() for path in paths])
    poll = select.epoll()
    sockets, asked, pending = {}, {}, {}
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        poll.register(client.fileno(), select.EPOLLIN)
        sockets[client.fileno()] = client
        pending[client.fileno()] = b""
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    now = time.perf_counter
    begun = now()
    end = begun + seconds
    for number, client in sockets.items():
        asked[number] = now()
        client.send(next(requests))
    while (moment := now()) < end:
        for number, _ in poll.poll(0.1):
            client = sockets[number]
            data = client.recv(262144)
            if not data:
                raise RuntimeError("the server closed a connection")
            if pending[number]:
                data = pending[number] + data
            head = data.find(b"\r\n\r\n")
            start = data.find(b"content-length: ")
            if head < 0 or len(data) < head + 4 + int(data[start + 16 : data.index(b"\r", start)]):
                pending[number] = data
                continue
            pending[number] = b""
            moment = now()
            latencies.append(moment - asked[number])
            statuses[data[9:12].decode()] += 1
            asked[number] = moment
            client.send(next(requests))
    latencies.sort()
    return {
        "per_second": len(latencies) / (moment - begun),
        "p50": 1000 * latencies[len(latencies) // 2],
        "p99": 1000 * latencies[len(latencies) * 99 // 100],
        "statuses": statuses,
    }


if __name__ == "__main__":
    port, connections, seconds, key = sys.argv[1:5]
    print(json.dumps(load(int(port), int(connections), float(seconds), key, sys.stdin.read().split())))
