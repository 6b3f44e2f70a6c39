"""An object's lines: with their header, as files for COPY, and in blocks that are tried together. Memory stays flat."""

import csv
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import IO

from elt.errors import PipelineError

CHUNK = 256 * 1024
"""Bytes handed to COPY at a time."""

BLOCK_LINES = 2_000
"""Lines tried together, when they are not so long that fewer of them have LONGEST_LINE bytes."""

PAGE = 8_000
"""Bytes of lines landed as one row, so that it fits PostgreSQL's page of 8 kB."""

SAMPLE = 2_000_000
"""Bytes at the beginning of an object that are looked at to see whether its lines repeat."""

REPEATED = 0.02
"""Share of the sample's lines from which on they are counted. A log of ten million lines, each ten times, has 0.02."""

LONGEST_LINE = 1024 * 1024
"""Bytes kept of a line; no readable line is near it, and memory stays flat whatever is delivered."""


class NotByLine(Exception):
    """The object can not be taken as a whole: its lines are not its rows, or too long."""


class Lines:
    """The lines after the header, as a file for COPY that counts them. A last one without its line end gets one."""

    def __init__(self, raw: IO[bytes], uri: str) -> None:
        self._raw = raw
        self._pending = b""
        while b"\n" not in self._pending and len(self._pending) < LONGEST_LINE and (chunk := raw.read(CHUNK)):
            self._pending += chunk
        if not self._pending:
            raise PipelineError(f"{uri}: the object is empty; expected a header row")
        first, _, self._pending = self._pending.partition(b"\n")
        self.uri = uri
        self.header = _names(first, uri)
        self._unfinished = 0
        self.lines = 0
        self.failure: Exception | None = None
        """What reading the object raised: psycopg2 shows it as an error of the query only."""

    def repeat(self) -> bool:
        """Do the first of them stand there often enough to be worth counting? Nothing is lost by looking."""
        while len(self._pending) < SAMPLE and (chunk := self._raw.read(CHUNK)):
            self._pending += chunk
        sample = self._pending.split(b"\n")[:-1]
        return bool(sample) and len(set(sample)) <= (1 - REPEATED) * len(sample)

    def read(self, size: int) -> bytes:
        """At most `size` bytes, a CHUNK. Raises NotByLine for a line that is longer than LONGEST_LINE."""
        try:
            chunk, longest = self._read(size)
            if longest > LONGEST_LINE:
                raise NotByLine(f"a line is longer than {LONGEST_LINE:,} bytes")
        except Exception as error:
            self.failure = error
            raise
        return chunk

    def _read(self, size: int) -> tuple[bytes, int]:
        """The next bytes, and how long the first line in them has become, which may have begun in earlier ones."""
        chunk, self._pending = self._pending or self._raw.read(size), b""
        if len(chunk) > size:
            chunk, self._pending = chunk[:size], chunk[size:]
        elif not chunk and self._unfinished:
            chunk = b"\n"
        self.lines += chunk.count(b"\n")
        newline = chunk.find(b"\n")
        longest = self._unfinished + (len(chunk) if newline < 0 else newline)
        self._unfinished = longest if newline < 0 else len(chunk) - 1 - chunk.rfind(b"\n")
        return chunk, longest

    def __iter__(self) -> Iterator[bytes]:
        """Lines as delivered, without their line end, the first LONGEST_LINE bytes of each."""
        pending = b""
        while chunk := self._read(CHUNK)[0]:
            *whole, pending = (pending + chunk).split(b"\n")
            for line in whole:
                yield line.removesuffix(b"\r")[:LONGEST_LINE]
            pending = pending[:LONGEST_LINE]


class Pages:
    """The lines as a file in COPY's binary format: rows of a page of whole lines and its first number."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._begun = self._ended = False
        self._next = 2
        self._rest = b""

    def read(self, size: int) -> bytes:
        """A chunk's pages; more bytes than asked for by one page at most."""
        if not self._begun:
            self._begun = True
            return b"PGCOPY\n\xff\r\n\0" + bytes(8)
        pages: list[bytes] = []
        while not pages and not self._ended:
            chunk = self._lines.read(size)
            self._ended = not chunk
            self._rest = self._cut(self._rest + chunk, pages)
        return b"".join(pages)

    def _cut(self, text: bytes, pages: list[bytes]) -> bytes:
        """Appends the text's pages; returns what remains: less than a page, or a line without its end."""
        begin = 0
        while len(text) - begin > PAGE:
            end = text.rfind(b"\n", begin, begin + PAGE)
            if end < 0 and (end := text.find(b"\n", begin)) < 0:
                break
            pages.append(self._row(text[begin:end]))
            begin = end + 1
        rest = text[begin:]
        if self._ended:
            if rest:
                pages.append(self._row(rest.removesuffix(b"\n")))
            pages.append(b"\xff\xff")
        return rest

    def _row(self, page: bytes) -> bytes:
        first, self._next = self._next, self._next + page.count(b"\n") + 1
        return _ROW.pack(2, 8, first, len(page)) + page


_ROW = Struct("!hiqi")
"""A row in COPY's binary format: the number of columns, the length and value of the first, the length of the second."""


def in_blocks(lines: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """The lines in lists that are tried together."""
    block, size = [], 0
    for line in lines:
        block.append(line)
        size += len(line[1])
        if len(block) == BLOCK_LINES or size >= LONGEST_LINE:
            yield block
            block, size = [], 0
    if block:
        yield block


def _names(header: bytes, uri: str) -> list[str]:
    try:
        (names,) = csv.reader([header.decode("utf-8-sig").rstrip("\r")], strict=True)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise PipelineError(f"{uri}: the first line is not a CSV header in UTF-8: {header[:200]!r} ({error})") from None
    return [name.strip().lower() for name in names]
