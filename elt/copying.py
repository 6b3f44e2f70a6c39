"""COPY, both ways: files into temporary tables, queries into files and gzipped objects. Knows no table."""

import io
import logging
import re
import time
from collections.abc import Iterator
from typing import IO, Any, cast

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor

from elt import s3 as objects
from elt.lines import CHUNK, Lines, Pages

log = logging.getLogger(__name__)

Numbered = list[tuple[int, bytes]]
"""Records (most are a line), each with the number of its first line in the object."""


def copy_in(cursor: Cursor, copy: str, file: Lines | Pages, lines: Lines) -> None:
    """Runs a COPY FROM STDIN of a file made of the lines. Raises what reading them raised, if that was it."""
    try:
        # psycopg2 needs `read` alone, whatever its stubs say.
        cursor.copy_expert(copy, cast(IO[bytes], file), CHUNK)
    except psycopg2.Error:
        if lines.failure:
            raise lines.failure from None
        raise


def copy_whole(cursor: Cursor, copy: str, file: IO[bytes], rows: int) -> bool:
    """Copies the file, if it is so many readable records. If not, nothing of it is copied."""
    cursor.execute("SAVEPOINT whole")
    try:
        cursor.copy_expert(copy, file, CHUNK)
        whole = cursor.rowcount == rows
    except (psycopg2.DataError, psycopg2.IntegrityError):
        whole = False
    cursor.execute("RELEASE SAVEPOINT whole" if whole else "ROLLBACK TO SAVEPOINT whole; RELEASE SAVEPOINT whole")
    return whole


def copy_readable(cursor: Cursor, copy: str, block: Numbered) -> Iterator[tuple[int, str]]:
    """Copies the readable ones of the records; yields the others, in order, each by its index and the reason.

    The reader is COPY, so that there is one definition of a readable record: PostgreSQL's and the table's.
    """
    pending = [(0, len(block))]
    while pending:
        begin, end = pending.pop()
        piece = block[begin:end]
        cursor.execute("SAVEPOINT piece")
        try:
            cursor.copy_expert(copy, io.BytesIO(b"".join(record + b"\n" for _, record in piece)), CHUNK)
            if cursor.rowcount == len(piece):
                cursor.execute("RELEASE SAVEPOINT piece")
                continue
            culprit, reason = None, "not one row"
        except (psycopg2.DataError, psycopg2.IntegrityError) as error:
            culprit, reason = _culprit(error, piece), reason_of(error)
        cursor.execute("ROLLBACK TO SAVEPOINT piece; RELEASE SAVEPOINT piece")
        if len(piece) == 1:
            yield begin, reason
        elif culprit is not None:
            pending += [(begin + culprit + 1, end), (begin + culprit, begin + culprit + 1), (begin, begin + culprit)]
        else:
            middle = begin + len(piece) // 2
            pending += [(middle, end), (begin, middle)]
        pending = [(begin, end) for begin, end in pending if begin < end]


def _culprit(error: psycopg2.Error, piece: Numbered) -> int | None:
    """The index of the line that COPY stopped at, or None where quotes make COPY's lines other than ours."""
    found = re.search(r"\bline (\d+)", error.diag.context or "")
    index = int(found[1]) - 1 if found else -1
    known = 0 <= index < len(piece) and not any(b'"' in line for _, line in piece[: index + 1])
    return index if known else None


def reason_of(error: psycopg2.Error) -> str:
    """Why PostgreSQL refused the line, without the line's own values, so that reasons can be counted."""
    diag = error.diag
    if isinstance(error, psycopg2.errors.CheckViolation):
        return str(diag.constraint_name)
    if isinstance(error, psycopg2.errors.NotNullViolation):
        return f"{diag.column_name} is empty"
    return re.sub(r"(: \".*|: 0x.*)", "", diag.message_primary or str(error), flags=re.DOTALL)


def copy_out(cursor: Cursor, query: str, file: Any, options: str = " WITH (FORMAT binary)", **params: Any) -> None:
    """Writes the query's rows to the file; by default as `fill` reads them."""
    bound = identifiers.SQL(cursor.mogrify(query, params or None).decode())
    cursor.copy_expert(identifiers.SQL("COPY (\n{}\n) TO STDOUT" + options).format(bound), file, CHUNK)


def fill(cursor: Cursor, table: str, file: IO[bytes]) -> None:
    """Reads into a temporary table what `copy_out` wrote in another session: its columns, of the same types."""
    file.seek(0)
    copy = identifiers.SQL("COPY pg_temp.{} FROM STDIN WITH (FORMAT binary)").format(identifiers.Identifier(table))
    cursor.copy_expert(copy, file, CHUNK)


def unload(cursor: Cursor, query: str, s3: Any, uri: str, **params: Any) -> None:
    """Writes the query's rows as gzipped CSV with a header to the object, in constant memory."""
    started = time.monotonic()
    with objects.gzip_writer(s3, uri) as file:
        copy_out(cursor, query, file, " WITH (FORMAT csv, HEADER)", **params)
    log.info("%s: %s rows in %.1f s", uri, f"{cursor.rowcount:,}", time.monotonic() - started)


def unload_repeated(cursor: Cursor, query: str, s3: Any, uri: str, load_id: str, **params: Any) -> None:
    """Like `unload`, but the query's last column says how often its row stands in the object; it is not written.

    The object says of itself which load it is of: `elt.s3.load_of`.
    """
    started = time.monotonic()
    with objects.gzip_writer(s3, uri, load=load_id) as file:
        repeated = _Repeated(file)
        copy_out(cursor, query, repeated, " WITH (FORMAT csv, HEADER)", **params)
    log.info("%s: %s lines written in %.1f s", uri, f"{repeated.lines:,}", time.monotonic() - started)


class _Repeated:
    """A file for COPY, which writes row by row: passes each on as often as its last column says, the header once."""

    MOST_AT_ONCE = 10_000
    """Rows, so that memory stays flat however often a row is repeated."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._header = True
        self.lines = 0

    def write(self, row: bytes) -> None:
        line, _, last = row.rpartition(b",")
        if self._header:
            self._header = False
            self._file.write(line + b"\n")
            return
        times = int(last)
        self.lines += times
        line += b"\n"
        while times > self.MOST_AT_ONCE:
            self._file.write(line * self.MOST_AT_ONCE)
            times -= self.MOST_AT_ONCE
        self._file.write(line * times)
