"""Answers kept in memory that are never behind the warehouse: they are given only under a lease, or after asking.

A lease (marts.lease) says which version of the published lists is the current one, and that none will become visible
while it lasts. Without one, the warehouse is asked whether what is kept is still current: once for all requests that
wait. There is no listener to lose: what has not been confirmed is not given.
"""

import asyncio
import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from time import monotonic

from prometheus_client import Gauge

Headers = list[tuple[bytes, bytes]]
Key = tuple[str, bytes]
"""Path and query string of a request."""

OVERHEAD = 1500
"""Bytes that an answer takes in memory beside its body and the request: headers, objects."""

WORTH_ZIPPING = 1000
"""Bytes of a body; a smaller one fits into one packet as it is."""

LARGE = 100_000
"""Bytes of a body that are zipped beside the event loop: what takes milliseconds would keep all others waiting."""

PATIENCE = 0.5
"""Seconds that an answer in memory waits at most for the warehouse to confirm it, and between two tries."""


BYTES = Gauge("recommendations_memory_bytes", "What the answers in memory take", multiprocess_mode="livesum")
ANSWERS = Gauge("recommendations_memory_answers", "How many they are", multiprocess_mode="livesum")
LEASES = Gauge(
    "recommendations_leases", "Processes whose last request for a lease was granted", multiprocess_mode="livesum"
)


@dataclass(slots=True)
class Answer:
    """An answer of 200, ready to be sent."""

    body: bytes
    headers: Headers
    """As the application set them; those that depend on the representation are added here."""
    version: int
    """What it was made from; the number says nothing but whether two are the same (marts.version)."""
    route: str
    etag: bytes = b""
    plain: Headers = field(default_factory=list)
    zipped: tuple[Headers, bytes] | None = None

    def __post_init__(self) -> None:
        # Strong, as the bytes decide it: what is published again with the same lists stays the same answer.
        self.etag = hashlib.blake2b(self.body, digest_size=12).hexdigest().encode()
        self.headers = [pair for pair in self.headers if pair[0] != b"content-length"]
        if len(self.body) >= WORTH_ZIPPING:
            self.headers.append((b"vary", b"Accept-Encoding"))
        self.plain = self._headers_of(self.body, b'"%s"' % self.etag)

    def representation(self, zips: bool) -> tuple[Headers, bytes]:
        """Headers and body for a client; `zips`: it understands gzip."""
        if not zips or len(self.body) < WORTH_ZIPPING:
            return self.plain, self.body
        if self.zipped is None:
            body = gzip.compress(self.body, 6, mtime=0)
            headers = self._headers_of(body, b'"%s-gzip"' % self.etag)
            self.zipped = ([*headers, (b"content-encoding", b"gzip")], body)
        return self.zipped

    def is_what_the_client_has(self, if_none_match: bytes) -> bool:
        """Does the header (RFC 9110, 13.1.2) name this answer, in whichever encoding?"""
        named = {tag.strip().removeprefix(b"W/").strip(b'"') for tag in if_none_match.split(b",")}
        return not named.isdisjoint({b"*", self.etag, self.etag + b"-gzip"})

    @property
    def size(self) -> int:
        """Bytes in memory, at most, without the request."""
        return 2 * len(self.body) + OVERHEAD

    def _headers_of(self, body: bytes, etag: bytes) -> Headers:
        return [*self.headers, (b"etag", etag), (b"content-length", str(len(body)).encode())]


class Memory:
    """The answers of one version, at most `limit` bytes of them, the longest unasked ones given up first.

    One of more than a hundredth of it is not kept: it would push out lists, of which there is room for thousands.
    """

    def __init__(self, ask: Callable[[], Awaitable[tuple[bool, int, float]]], unavailable: type[Exception], limit: int):
        """`ask` asks the warehouse for a lease (Database.lease), and raises `unavailable`."""
        self._ask, self._unavailable, self._limit = ask, unavailable, limit
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._bytes = 0
        self.version: int | None = None
        """What the answers were made from."""
        self.heard = 0.0
        """When the warehouse said last what is current (monotonic seconds)."""
        self._leased_until = self._renew_after = self._retry_at = self._begun = 0.0
        self._away = False
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def leased(self, key: Key) -> Answer | None:
        """The answer, if it is in memory and a lease says that it is current."""
        now = monotonic()
        if now >= self._leased_until or (answer := self._answers.get(key)) is None:
            return None
        self._renew(now)
        self._answers.move_to_end(key)
        return answer

    async def confirmed(self, key: Key) -> tuple[Answer | None, bool]:
        """The answer, if it is in memory and current now; and whether the warehouse said so.

        With a warehouse that does not say, it is the answer of the last version known.
        """
        if key not in self._answers:
            return None, True
        current = await self.confirm()
        return self._answers.get(key), current

    async def settled(self) -> bool:
        """Is `version` the current one, at some moment since now? Where no lease says so, the warehouse is asked.

        False: it is away.
        """
        now = monotonic()
        if now >= self._leased_until:
            return await self.confirm()
        self._renew(now)
        return True

    def begin(self, version: int) -> None:
        """Makes it the version, unless the warehouse has named one."""
        if self.version is None:
            self.version = version

    def is_leased(self, version: int | None) -> bool:
        """Does a lease say that the version is the current one?"""
        return version == self.version and monotonic() < self._leased_until

    def keep(self, key: Key, answer: Answer) -> None:
        """Keeps an answer made from the version that is kept.

        Of another one it may be the first, or have been on its way too long: versions have no order, only `ask` can say
        which is current. So it is asked, for the answers that follow.
        """
        if _size(key, answer) > self._limit / 100:
            return
        self.begin(answer.version)
        if answer.version != self.version:
            if self._running is None and monotonic() >= max(self._leased_until, self._retry_at):
                self._start()
            return
        if previous := self._answers.pop(key, None):
            self._bytes -= _size(key, previous)
        self._answers[key] = answer
        self._bytes += _size(key, answer)
        while self._bytes > self._limit:
            self._bytes -= _size(*self._answers.popitem(last=False))
        self._measure()

    def doubt(self) -> None:
        """Gives nothing without asking first: the lease may be of a warehouse that is not the one any more."""
        self._leased_until = 0.0

    def _renew(self, now: float) -> None:
        """Asks for the next lease in the second half of this one."""
        if now >= self._renew_after and self._running is None:
            self._start()

    def _become(self, version: int) -> None:
        self._answers.clear()
        self._bytes = 0
        self.version = version
        self._measure()

    def _measure(self) -> None:
        BYTES.set(self._bytes)
        ANSWERS.set(len(self._answers))

    async def confirm(self) -> bool:
        """Asks the warehouse, beginning now. One that hangs is waited for PATIENCE, then it is away.

        While it is away nobody waits longer than for the try that is due, and that no longer than PATIENCE.
        """
        now = monotonic()
        until = now + PATIENCE
        if self._away:
            if self._running is not None:
                until = self._begun + PATIENCE
            if until <= now or (self._running is None and now < self._retry_at):
                return False
        if self._running is None:
            check = self._start()
        else:
            # The one under way began before this request: what it will say may have changed since.
            check = self._next = self._next or asyncio.create_task(self._after())
        try:
            await asyncio.wait_for(asyncio.shield(check), until - now)
        except TimeoutError:
            self._away = True
        return not self._away

    async def _after(self) -> None:
        while self._running is not None:
            await self._running
        self._next = None
        await self._start()

    def _start(self) -> asyncio.Task[None]:
        self._running = asyncio.create_task(self._check())
        return self._running

    async def _check(self) -> None:
        begun = self._begun = monotonic()
        try:
            granted, version, seconds = await self._ask()
        except self._unavailable:
            self._away, self._retry_at = True, monotonic() + PATIENCE
            LEASES.set(0)
            return
        finally:
            self._running = None
        self._away, self.heard = False, begun
        LEASES.set(granted)
        if version != self.version:
            self._become(version)
        if granted:
            self._leased_until, self._renew_after = begun + seconds, begun + seconds / 2


def _size(key: Key, answer: Answer) -> int:
    return answer.size + len(key[0]) + len(key[1])


@lru_cache(1000)
def understands_gzip(accept_encoding: bytes) -> bool:
    """Does the header (RFC 9110, 12.5.3) allow gzip? `*` speaks for what is not named."""
    allowed = {}
    for item in accept_encoding.lower().split(b","):
        coding, _, weight = item.partition(b";")
        allowed[coding.strip()] = weight.replace(b" ", b"").rstrip(b"0").rstrip(b".") not in (b"q=", b"q=0")
    return next((allowed[coding] for coding in (b"gzip", b"x-gzip", b"*") if coding in allowed), False)
