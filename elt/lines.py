"""An object's lines: with their header, as files for COPY, and in blocks that are tried together. Memory stays flat."""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from struct import Struct
from typing import IO, TypeVar

from elt.errors import PipelineError

CHUNK = 256 * 1024
"""Bytes handed to COPY at a time."""

BLOCK_LINES = 2_000
"""Lines tried together, when they are not so long that fewer of them have LONGEST_LINE bytes."""

PAGE = 8_000
"""Bytes of lines landed as one row, so that it fits PostgreSQL's page of 8 kB."""

SAMPLE = 2_000_000
"""Bytes at the beginning of an object that are looked at to see whether its lines repeat."""

REPEATED = 4
"""How often a line is to be expected again in an object whose lines are counted: from there on it costs less."""

COUNTED = 128
"""How often a line is to be expected in a portion that is counted at a time, if all were as likely: where a few lines
are most of a log, there are more different ones than its beginning tells."""

PORTION = 64_000_000
"""Bytes counted at a time, at least: while the one log's are counted, the other's are read. Of a log of many different
lines it is more, up to all of an object."""

ZIPPED = 5
"""Bytes of text that a zipped byte stands for, about."""

TIMES_OF_DAY = tuple(
    re.compile(
        rb"%b(?<=,\d\d\d\d-\d\d-\d\d.)(?>[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?+)?+"
        rb"(?:Z|\+00:00| UTC)?+(?=\r?+\n)" % between
    )
    for between in (b" ", b"T")
)
"""Times of day at the end of a line, after a day in figures (ISO 8601): it is the day in UTC, whatever the time.

Not 24:00 and not 23:59:60, which are of the day after; not a seventh digit of a second, which may round up to it. Two
patterns, each of which begins with a character: one that begins with a choice of two is found four times as slowly.
"""

LONGEST_LINE = 1024 * 1024
"""Bytes kept of a line, and of a record; no readable one is near it, and memory stays flat whatever is delivered."""


NumberedLine = TypeVar("NumberedLine", tuple[int, bytes], tuple[int, bytes, str])


class NotByLine(Exception):
    """The object can not be taken as a whole: its lines are not its rows, or too long."""


class EmptyObject(PipelineError):
    """The object has no byte, or is the gzip of none."""


class Lines:
    """The lines after the header, as a file for COPY that counts them. A last one without its line end gets one."""

    def __init__(self, raw: IO[bytes], uri: str) -> None:
        self._raw = raw
        self._pending = b""
        while b"\n" not in self._pending and len(self._pending) < LONGEST_LINE and (chunk := raw.read(CHUNK)):
            self._pending += chunk
        if not self._pending:
            raise EmptyObject(f"{uri}: the object is empty; expected a header row")
        if self._pending.startswith(b"\x1f\x8b"):
            again = "gzip within gzip" if uri.endswith(".gz") else "gzip, but its name does not end in .gz"
            raise PipelineError(f"{uri}: {again}; expected gzip in an object .gz, once, or CSV as it is")
        first, _, self._pending = self._pending.partition(b"\n")
        self.uri = uri
        self.header = _names(first, uri)
        self._unfinished = 0
        self._open_since = 0
        self.time_of_day: re.Pattern[bytes] | None = None
        """What finds the times of day at the ends of lines, where only the day matters: `Pages` leaves them out."""
        self.lines = 0
        self.failure: Exception | None = None
        """What reading the object raised: psycopg2 shows it as an error of the query only."""

    def portion(self, size: int, *, end_in_a_day: bool) -> int:
        """How many bytes of the lines are worth counting at a time, in an object of so many; 0: they hardly repeat.

        If any line is as likely to come next, the chance that it has been there grows with the lines before it: it is
        to be expected REPEATED times in an object whose lines are counted, and COUNTED times in a portion. Where they
        `end_in_a_day`, their time of day is left out, if one of the first has one. Nothing is lost.
        """
        while len(self._pending) < SAMPLE and (chunk := self._raw.read(CHUNK)):
            self._pending += chunk
        whole = self._pending[: self._pending.rfind(b"\n") + 1]
        if end_in_a_day:
            first = whole[:PAGE]
            self.time_of_day = next((times for times in TIMES_OF_DAY if times.search(first)), None)
        sample = self.as_landed(whole).split(b"\n")[:-1]
        repeated = len(sample) - (distinct := len(set(sample)))
        text = size * ZIPPED if self.uri.endswith(".gz") else size
        if not sample or repeated * max(1.0, text / SAMPLE) < REPEATED * distinct:
            return 0
        # Where r of n lines repeat one before: n^2 / 2r different ones if few do (the birthday problem), else n - r.
        kinds = distinct * (len(sample) / max(repeated, 1) + 1) / 2
        return max(PORTION, int(COUNTED * kinds * len(whole) / len(sample)))

    def as_landed(self, lines: bytes) -> bytes:
        """The lines without their times of day, if they have any that do not matter."""
        return self.time_of_day.sub(b"", lines) if self.time_of_day else lines

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

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Records as delivered, without their line end, each with the number of its first line; the header is line 1.

        A record is a line, or all the lines that text in quotes goes over, where the quotes open and close a field. A
        quote that nothing closes so is its line's alone, and so is one inside a field. Raises PipelineError when quotes
        close so after more than LONGEST_LINE: what is in between has been given out as lines, and is none.
        """
        lines = self._watched()
        ahead: deque[bytes] = deque()
        number = 2
        while ahead or (ahead := deque(islice(lines, 1))):
            count, is_open = _lines_of_record(ahead, lines) if goes_on(ahead[0]) else (1, False)
            if is_open and not self._open_since:
                self._open_since = number
            record = b"\n".join(ahead.popleft() for _ in range(count))
            yield number, record.removesuffix(b"\r")[:LONGEST_LINE]
            number += count

    def _watched(self) -> Iterator[bytes]:
        """The lines, while it is looked whether quotes close that were open for longer than a record may be."""
        for line in self._whole():
            if self._open_since and not _STAYS_OPEN.fullmatch(line):
                if _CLOSES.match(line):
                    raise PipelineError(
                        f"{self.uri}: line {self._open_since}: the text in quotes that begins there goes on for more "
                        f"than {LONGEST_LINE:,} bytes; no record may: deliver the object again without it, or, if the "
                        "quote is a character of the text, doubled and in quotes"
                    )
                self._open_since = 0
            yield line

    def find(self, reasons: Mapping[bytes, str]) -> Iterator[tuple[int, bytes, str]]:
        """The lines that are landed as those that have a reason: number, line as delivered, and reason.

        Lines are told apart by nothing but their ends, whatever is in quotes; the header is line 1.
        """
        number, pending = 2, b""
        while chunk := self._read(CHUNK)[0]:
            text, end, pending = (pending + chunk).rpartition(b"\n")
            landed = self.as_landed(text + end).split(b"\n")
            for line, spelled in zip(text.split(b"\n") if end else (), landed, strict=False):
                if reason := reasons.get(spelled.removesuffix(b"\r")):
                    yield number, line.removesuffix(b"\r"), reason
                number += 1

    def _whole(self) -> Iterator[bytes]:
        """Lines with their carriage return, hardly more than the first LONGEST_LINE bytes of each."""
        pending = b""
        while chunk := self._read(CHUNK)[0]:
            *whole, pending = (pending + chunk).split(b"\n")
            yield from whole
            pending = pending[: LONGEST_LINE + 1]


def goes_on(line: bytes) -> bool:
    """Does the line end within a field in quotes, so that its record may go on in the next line?"""
    return b'"' in line and _OPENS.fullmatch(line) is not None


def _lines_of_record(ahead: deque[bytes], lines: Iterator[bytes]) -> tuple[int, bool]:
    """How many lines the record has whose first one goes on, and are its quotes still open after LONGEST_LINE?

    Those that were looked at are left in `ahead`.
    """
    size, count, closed = len(ahead[0]), 1, 1
    while size <= LONGEST_LINE:
        if count == len(ahead):
            ahead.extend(islice(lines, 1))
        if count == len(ahead):
            return closed, False
        line = ahead[count]
        size, count = size + len(line) + 1, count + 1
        if not (open_ := _STAYS_OPEN.fullmatch(line)):
            return (count if _CLOSES.match(line) else closed), False
        if open_[1]:  # in a later field
            closed = count
    return closed, True


_QUOTED = rb'(?:[^"]++|"")*+'
_OPEN = rb'(?:(?:"%b"|[^",]*+),)*+"%b' % (_QUOTED, _QUOTED)
_OPENS = re.compile(_OPEN)
"""Whole fields, then one whose quotes are still open at the end of the line."""
_STAYS_OPEN = re.compile(rb'%b(",%b)?' % (_QUOTED, _OPEN))
"""A line that begins within quotes and ends so, in the same field or in a later one."""
_CLOSES = re.compile(rb'%b"(?:,|\r?\Z)' % _QUOTED)
"""A line that begins within quotes, and they end where the field does."""


class Pages:
    """The lines, without their times of day, as files in COPY's binary format: a row is a page of whole lines.

    A file has about `portion` bytes of lines; when it has been read, and there are `more`, the next one begins.
    """

    def __init__(self, lines: Lines, portion: int) -> None:
        self._lines = lines
        self._portion = portion
        self._file: Iterator[bytes] | None = None
        self._rest = b""
        self.more = True
        self.lines = 0
        """In the pages, as PostgreSQL splits them: a page that is one empty line has none."""

    def read(self, size: int) -> bytes:
        """A chunk's pages; more bytes than asked for by one page at most."""
        self._file = self._file or self._one_file(size)
        if not (piece := next(self._file, b"")):
            self._file = None
        return piece

    def _one_file(self, size: int) -> Iterator[bytes]:
        yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
        left = self._portion
        while self.more and left > 0:
            chunk = self._lines.read(size)
            self.more = bool(chunk)
            left -= len(chunk)
            if pages := b"".join(self._cut(self._lines.as_landed(self._rest + chunk))):
                yield pages
        yield b"\xff\xff"

    def _cut(self, text: bytes) -> Iterator[bytes]:
        """The text's pages; what is left of it: less than a page, or a line without its end; in the end nothing."""
        begin = 0
        while len(text) - begin > PAGE:
            end = text.rfind(b"\n", begin, begin + PAGE)
            if end < 0 and (end := text.find(b"\n", begin)) < 0:
                break
            yield self._row(text[begin:end])
            begin = end + 1
        self._rest = text[begin:]
        if self._rest and not self.more:
            yield self._row(self._rest.removesuffix(b"\n"))

    def _row(self, page: bytes) -> bytes:
        self.lines += page.count(b"\n") + 1 if page else 0
        return _ROW.pack(1, len(page)) + page


_ROW = Struct("!hi")
"""A row of one column in COPY's binary format: the number of columns, the length of its value."""


def in_blocks(lines: Iterable[NumberedLine]) -> Iterator[list[NumberedLine]]:
    """The lines, each with its number, in lists that are tried or noted together."""
    block: list[NumberedLine] = []
    size = 0
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
