"""Landing delivered CSV objects in temporary tables: by typed COPY, line by line only where that fails.

A line costs COPY about a microsecond, and most lines of a log stand in it many times. So PostgreSQL first counts the
lines as they are, and the typed COPY reads each distinct one once. A log whose lines hardly repeat is copied directly.
"""

import csv
import io
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from elt import s3 as objects
from elt import sql, warehouse
from elt.errors import PipelineError

CHUNK = 256 * 1024
"""Bytes handed to COPY at a time."""

BLOCK_LINES = 2_000
"""Lines tried together, when they are not so long that fewer of them have LONGEST_LINE bytes."""

BLOCK = 8_000
"""Bytes of lines landed as one row, so that it fits PostgreSQL's page of 8 kB."""

SAMPLE = 2_000_000
"""Bytes at the beginning of an object that are looked at to see whether its lines repeat."""

REPEATED = 0.02
"""Share of the sample's lines from which on they are counted. A log of ten million lines, each ten times, has 0.02."""

LINES = "lines"
"""The column of a table that says how many lines of the log a row stands for."""

LONGEST_LINE = 1024 * 1024
"""Bytes kept of a line; no readable line is near it, and memory stays flat whatever is delivered."""

MOST_REJECTED = 1_000_000
"""Rejected lines of one object after which it is given up, so that the quarantine can not fill the disk."""

log = logging.getLogger(__name__)


@dataclass
class Landed:
    """What became of one object."""

    source: objects.SourceObject
    lines: int = 0
    """Lines delivered, without the header."""
    rejected: int = 0
    """Lines that could not be read. They are in `pg_temp.rejected_lines`."""


def land(cursor: Cursor, s3: Any, source: str, delivered: list[objects.SourceObject]) -> list[Landed]:
    """Creates `pg_temp.<source>` (sql/staging/<source>.sql) and copies the objects into it.

    Columns are matched by the names in each object's header, in any order; further columns are ignored. A table with a
    column `lines` may get one row for many identical lines. A line that PostgreSQL cannot read is rejected, the others
    go on. Lines are counted in the bytes, apart from the rows that COPY reports, so that a line can not get lost
    without being noticed.

    Raises PipelineError for an object without a usable header or with MOST_REJECTED unreadable lines.
    """
    warehouse.run(cursor, "staging/rejected_lines")
    warehouse.run(cursor, f"staging/{source}")
    warehouse.run(cursor, "staging/blocks")
    cursor.execute(
        "SELECT attname, atthasdef FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        (f"pg_temp.{source}",),
    )
    columns = dict(cursor.fetchall())
    delivered_columns = [name for name, has_default in columns.items() if not has_default]
    return [_land_object(cursor, s3, source, delivered_columns, item, counts=LINES in columns) for item in delivered]


def _land_object(
    cursor: Cursor, s3: Any, table: str, columns: list[str], source: objects.SourceObject, *, counts: bool
) -> Landed:
    started = time.monotonic()
    cursor.execute("SAVEPOINT object")
    try:
        with objects.reader(s3, source) as raw:
            lines = Lines(raw, source.uri)
            if counts and lines.repeat():
                landed = _land_counted(cursor, table, columns, lines, source)
            else:
                _copy_in(cursor, _copy_statement(cursor, table, columns, lines), lines, lines)
                if cursor.rowcount != lines.lines:
                    raise _NotByLine(f"{cursor.rowcount:,} rows in {lines.lines:,} lines")
                landed = Landed(source, lines.lines)
    except (psycopg2.DataError, psycopg2.IntegrityError, _NotByLine) as error:
        reason = _reason(error) if isinstance(error, psycopg2.Error) else error
        log.info("%s: %s; reading it line by line", source.uri, reason)
        cursor.execute("ROLLBACK TO SAVEPOINT object")
        with objects.reader(s3, source) as raw:
            lines = Lines(raw, source.uri)
            landed = _land_lines(cursor, table, _copy_statement(cursor, table, columns, lines), lines, source)
    cursor.execute("RELEASE SAVEPOINT object")
    # Not dropped: every table made costs locks until the transaction ends, and there may be thousands of objects.
    cursor.execute("TRUNCATE pg_temp.blocks, pg_temp.distinct_lines, pg_temp.unreadable_lines")
    log.info(
        "%s: %s lines (%.1f MB) in %.1f s%s",
        source.uri,
        f"{landed.lines:,}",
        source.size / 1e6,
        time.monotonic() - started,
        f", {landed.rejected:,} rejected" if landed.rejected else "",
    )
    return landed


class _NotByLine(Exception):
    """The object can not be taken as a whole: its lines are not its rows, or too long."""


def _copy_in(cursor: Cursor, copy: str, file: Any, lines: "Lines") -> None:
    """Runs a COPY FROM STDIN of a file made of the lines. Raises what reading them raised, if that was it."""
    try:
        cursor.copy_expert(copy, file, CHUNK)
    except psycopg2.Error:
        if lines.failure:
            raise lines.failure from None
        raise


def _land_counted(
    cursor: Cursor, table: str, columns: list[str], lines: "Lines", source: objects.SourceObject
) -> Landed:
    """Lets PostgreSQL count the lines as they are, and copies each distinct one once, with its count before it.

    Raises _NotByLine for what only reading line by line tells apart: an empty line that is lost between blocks, control
    characters that the way of the distinct lines needs. Raises PipelineError for MOST_REJECTED unreadable lines.
    """
    copy = _copy_statement(cursor, table, columns, lines, LINES)
    _copy_in(cursor, "COPY pg_temp.blocks FROM STDIN WITH (FORMAT binary)", Blocks(lines), lines)
    warehouse.run(cursor, "staging/distinct_lines")
    cursor.execute("SELECT coalesce(sum(lines), 0) FROM pg_temp.distinct_lines")
    if cursor.fetchone() != (lines.lines,):
        raise _NotByLine("empty lines")
    refused = _Refused(source)
    with TemporaryFile() as file:
        cursor.copy_expert(sql.read("staging/distinct_lines_out"), file, CHUNK)
        file.seek(0)
        for block in _in_blocks(enumerate(line.removesuffix(b"\n") for line in file)):
            for _, reason, counted in _copy_block(cursor, copy, block):
                times, _, line = counted.partition(b",")
                if not times.isdigit():
                    raise _NotByLine("control characters")
                refused.add(f"{int(times):,} times", reason, line, int(times))
                cursor.execute("INSERT INTO pg_temp.unreadable_lines VALUES (%s, %s)", (line.decode(), reason))
            refused.check(lines.lines)
    if refused.lines:
        warehouse.run(cursor, "staging/unreadable_lines", source=table, uri=source.uri)
        if cursor.rowcount != refused.lines:
            raise _NotByLine("lines that differ in their ends only")
    return Landed(source, lines.lines, refused.lines)


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
        """At most `size` bytes, a CHUNK. Raises _NotByLine for a line that is longer than LONGEST_LINE."""
        try:
            chunk, longest = self._read(size)
            if longest > LONGEST_LINE:
                raise _NotByLine(f"a line is longer than {LONGEST_LINE:,} bytes")
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


class Blocks:
    """The lines as a file in COPY's binary format: rows of a block of whole lines and its first number."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._begun = self._ended = False
        self._next = 2
        self._rest = b""

    def read(self, size: int) -> bytes:
        """A chunk's blocks; more bytes than asked for by one block at most."""
        if not self._begun:
            self._begun = True
            return b"PGCOPY\n\xff\r\n\0" + bytes(8)
        blocks: list[bytes] = []
        while not blocks and not self._ended:
            chunk = self._lines.read(size)
            self._ended = not chunk
            self._rest = self._cut(self._rest + chunk, blocks)
        return b"".join(blocks)

    def _cut(self, text: bytes, blocks: list[bytes]) -> bytes:
        """Appends the text's blocks; returns what remains: less than a block, or a line without its end."""
        begin = 0
        while len(text) - begin > BLOCK:
            end = text.rfind(b"\n", begin, begin + BLOCK)
            if end < 0 and (end := text.find(b"\n", begin)) < 0:
                break
            blocks.append(self._row(text[begin:end]))
            begin = end + 1
        rest = text[begin:]
        if self._ended:
            if rest:
                blocks.append(self._row(rest.removesuffix(b"\n")))
            blocks.append(b"\xff\xff")
        return rest

    def _row(self, block: bytes) -> bytes:
        first, self._next = self._next, self._next + block.count(b"\n") + 1
        return _ROW.pack(2, 8, first, len(block)) + block


_ROW = Struct("!hiqi")
"""A row in COPY's binary format: the number of columns, the length and value of the first, the length of the second."""


def _names(header: bytes, uri: str) -> list[str]:
    try:
        (names,) = csv.reader([header.decode("utf-8-sig").rstrip("\r")], strict=True)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise PipelineError(f"{uri}: the first line is not a CSV header in UTF-8: {header[:200]!r} ({error})") from None
    return [name.strip().lower() for name in names]


def _copy_statement(cursor: Cursor, table: str, columns: list[str], lines: Lines, *before: str) -> str:
    """COPY into the columns in the header's order, after those that stand before them in the file.

    Columns that nobody asked for go into throw-away ones.
    """
    header = lines.header
    wrong = [f"no column {name!r}" for name in columns if name not in header]
    wrong += [f"column {name!r} twice" for name in columns if header.count(name) > 1]
    if wrong:
        raise PipelineError(
            f"{lines.uri}: {', '.join(wrong)} in the header {','.join(header)!r}; "
            f"expected {','.join(columns)} (in any order, further columns are ignored)"
        )
    target = identifiers.Identifier(table)
    names = [name if name in columns else f"ignored {place}" for place, name in enumerate(header, 1)]
    for name in names:
        if name not in columns:
            cursor.execute(
                identifiers.SQL("ALTER TABLE pg_temp.{} ADD COLUMN IF NOT EXISTS {} text").format(
                    target, identifiers.Identifier(name)
                )
            )
    return (
        identifiers.SQL("COPY pg_temp.{} ({}) FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8')")
        .format(target, identifiers.SQL(", ").join(map(identifiers.Identifier, [*before, *names])))
        .as_string(cursor)
    )


def _land_lines(cursor: Cursor, table: str, copy: str, lines: "Lines", source: objects.SourceObject) -> Landed:
    """Copies the lines block by block; in a block that fails, finds the lines that can not be read.

    The reader is the same COPY, so that there is one definition of a readable line: PostgreSQL's and the table's.
    """
    landed = Landed(source)
    refused = _Refused(source)
    for block in _in_blocks(enumerate(lines, 2)):
        rejected = _copy_block(cursor, copy, block)
        if rejected:
            execute_values(
                cursor,
                "INSERT INTO pg_temp.rejected_lines (source, uri, line_number, reason, line) VALUES %s",
                [(table, source.uri, number, reason, line) for number, reason, line in rejected],
            )
        for number, reason, line in rejected:
            refused.add(f"line {number}", reason, line)
        landed.lines += len(block)
        landed.rejected += len(rejected)
        refused.check(landed.lines)
    return landed


class _Refused:
    """An object's unreadable lines, counted by their reason."""

    def __init__(self, source: objects.SourceObject) -> None:
        self.lines = 0
        self._uri = source.uri
        self._reasons: Counter[str] = Counter()
        self._first: list[str] = []

    def add(self, place: str, reason: str, line: bytes, times: int = 1) -> None:
        self.lines += times
        self._reasons[reason] += times
        if len(self._first) < 5:
            self._first.append(f"    {place}: {reason}: {line[:200]!r}")

    def check(self, lines: int) -> None:
        """Raises PipelineError when MOST_REJECTED of so many lines are refused."""
        if self.lines >= MOST_REJECTED:
            raise PipelineError(
                f"{self._uri}: gave up after {lines:,} lines: {self.lines:,} can not be read. "
                f"By reason: {dict(self._reasons.most_common())}. The first:\n" + "\n".join(self._first)
            )


def _in_blocks(lines: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
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


def _copy_block(cursor: Cursor, copy: str, block: list[tuple[int, bytes]]) -> list[tuple[int, str, bytes]]:
    """Copies the readable ones of the numbered lines; returns the others as (number, reason, line), in order."""
    rejected = []
    pending = [block]
    while pending:
        piece = pending.pop()
        cursor.execute("SAVEPOINT piece")
        try:
            cursor.copy_expert(copy, io.BytesIO(b"".join(line + b"\n" for _, line in piece)), CHUNK)
            if cursor.rowcount == len(piece):
                cursor.execute("RELEASE SAVEPOINT piece")
                continue
            culprit, reason = None, "not one row"
        except (psycopg2.DataError, psycopg2.IntegrityError) as error:
            culprit, reason = _culprit(error, piece), _reason(error)
        cursor.execute("ROLLBACK TO SAVEPOINT piece; RELEASE SAVEPOINT piece")
        if len(piece) == 1:
            ((number, line),) = piece
            rejected.append((number, reason, line))
        elif culprit is not None:
            pending += [piece[culprit + 1 :], piece[culprit : culprit + 1], piece[:culprit]]
        else:
            pending += [piece[len(piece) // 2 :], piece[: len(piece) // 2]]
        pending = [piece for piece in pending if piece]
    return rejected


def _culprit(error: psycopg2.Error, piece: list[tuple[int, bytes]]) -> int | None:
    """The index of the line that COPY stopped at, or None where quotes make COPY's lines other than ours."""
    found = re.search(r"\bline (\d+)", error.diag.context or "")
    index = int(found[1]) - 1 if found else -1
    known = 0 <= index < len(piece) and not any(b'"' in line for _, line in piece[: index + 1])
    return index if known else None


def _reason(error: psycopg2.Error) -> str:
    """Why PostgreSQL refused the line, without the line's own values, so that reasons can be counted."""
    diag = error.diag
    if isinstance(error, psycopg2.errors.CheckViolation):
        return str(diag.constraint_name)
    if isinstance(error, psycopg2.errors.NotNullViolation):
        return f"{diag.column_name} is empty"
    return re.sub(r"(: \".*|: 0x.*)", "", diag.message_primary or str(error), flags=re.DOTALL)
