"""Landing delivered CSV objects in temporary tables, in one of three ways: counted, directly, or line by line."""

import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

import psycopg2
from psycopg2 import sql as identifiers
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_values

from elt import s3 as objects
from elt import sql, warehouse
from elt.copying import copy_in, copy_readable, copy_whole, reason_of
from elt.errors import PipelineError
from elt.lines import CHUNK, EmptyObject, Lines, NotByLine, Pages, goes_on, in_blocks

DIRECTLY = "_directly"
"""How the name of the table ends into which lines are copied directly. It inherits the other, which shows both."""

LINES = "lines"
"""The column of a table that says how many lines of the log a row stands for."""

EMPTY_PAGES = "RELEASE SAVEPOINT object; TRUNCATE pg_temp.pages; SAVEPOINT object"
"""At the level that has made them, or their disk would stay until the transaction ends; before any row is landed."""

DAY = "date"
"""The column of which nothing but the day is wanted; dates at the ends of lines may be landed without their time."""

MOST_REJECTED = 1_000_000
"""Rejected lines of one object after which it is given up, so that the quarantine can not fill the disk."""

HOPELESS = 1_000
"""Rejected lines of one object after which it is given up if they are more than nine in ten of those tried: each costs
a time of trying, and an error in the server's log."""

MOST_REMEMBERED = 8_000_000
"""Bytes of an object's different lines that are remembered, to be looked for in it; beyond, each line is read."""

log = logging.getLogger(__name__)


@dataclass
class Landed:
    """What became of one object."""

    item: objects.SourceObject
    lines: int = 0
    """Lines delivered, without the header; a record in quotes that goes over several lines counts once."""
    rejected: int = 0
    """Of those, the ones that could not be read. They are in `pg_temp.rejected_lines`."""


def land(
    cursor: Cursor,
    s3: Any,
    table: str,
    delivered: list[objects.SourceObject],
    *,
    some_may_be_empty: bool = False,
    directly: bool = True,
) -> list[Landed]:
    """Creates `pg_temp.<table>` (sql/landing/<table>.sql) and copies the objects into it.

    Columns are matched by the names in each object's header, in any order; further columns are ignored. A table with a
    column `lines` may get one row for many identical lines. A line that PostgreSQL cannot read is rejected, the others
    go on. Lines are counted in the bytes, apart from the rows that COPY reports, so that a line can not get lost
    without being noticed.

    What is landed directly has dates that begin with a day, but nobody has read them yet: who reads them first may meet
    a psycopg2.DataError, and lands the objects again, not `directly`.

    Raises PipelineError for an object without a usable header, with MOST_REJECTED unreadable lines, or HOPELESS from
    its beginning; for an empty one, if there is no other or `some_may_be_empty` does not say that there are.
    """
    some_may_be_empty |= len(delivered) > 1
    for name in (table, "rejected_lines", "pages"):
        cursor.execute("SELECT to_regclass(%s) IS NULL", (f"pg_temp.{name}",))
        if cursor.fetchone() == (True,):  # another source may have landed in the session
            warehouse.run(cursor, f"landing/{name}")
    cursor.execute(
        "SELECT attname, atthasdef FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        (f"pg_temp.{table}",),
    )
    columns = dict(cursor.fetchall())
    wanted = [name for name, has_default in columns.items() if not has_default]
    if directly:
        cursor.execute(
            identifiers.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} () INHERITS (pg_temp.{})").format(
                identifiers.Identifier(f"{table}{DIRECTLY}"), identifiers.Identifier(table)
            )
        )
    landed = []
    for item in delivered:
        try:
            landed.append(_land_object(cursor, s3, table, wanted, item, counts=LINES in columns, directly=directly))
        except EmptyObject:
            if not some_may_be_empty:
                raise
            cursor.execute("RELEASE SAVEPOINT object")
            landed.append(Landed(item))
        except (psycopg2.errors.TooManyColumns, psycopg2.errors.ProgramLimitExceeded) as error:
            raise PipelineError(
                f"{item.uri}: more columns than PostgreSQL takes ({reason_of(error)}); "
                f"only {', '.join(wanted)} are needed"
            ) from error
    return landed


def _land_object(
    cursor: Cursor, s3: Any, table: str, wanted: list[str], item: objects.SourceObject, *, counts: bool, directly: bool
) -> Landed:
    """Lands one object.

    Counted, if its lines repeat: a line costs COPY about a microsecond, and most logs say the same few lines over and
    over; so PostgreSQL counts them as they are, and the typed COPY reads each distinct one once. Directly, if they
    hardly repeat: counting would be in vain. Line by line, if that fails: the only way that tells which lines can not
    be read, whatever is wrong with them.
    """
    started = time.monotonic()
    cursor.execute("SAVEPOINT object")
    try:
        with objects.reader(s3, item) as raw:
            lines = Lines(raw, item.uri)
            portion = lines.portion(item.size, end_in_a_day=lines.header[-1] == DAY) if counts else 0
            if portion:
                landed = _counted(cursor, s3, table, wanted, lines, item, portion)
            elif directly:
                landed = _directly(cursor, table, wanted, lines, item)
            else:
                raise NotByLine("it, or another object of its session, has a date that can not be read")
    except (psycopg2.DataError, psycopg2.IntegrityError, NotByLine) as error:
        reason = reason_of(error) if isinstance(error, psycopg2.Error) else error
        log.info("%s: %s; reading it line by line", item.uri, reason)
        cursor.execute(f"ROLLBACK TO SAVEPOINT object; {EMPTY_PAGES}")
        with objects.reader(s3, item) as raw:
            landed = _line_by_line(cursor, table, wanted, Lines(raw, item.uri), item)
    cursor.execute("RELEASE SAVEPOINT object")
    log.info(
        "%s: %s lines (%.1f MB) in %.1f s%s",
        item.uri,
        f"{landed.lines:,}",
        item.size / 1e6,
        time.monotonic() - started,
        f", {landed.rejected:,} rejected" if landed.rejected else "",
    )
    return landed


def _counted(
    cursor: Cursor, s3: Any, table: str, wanted: list[str], lines: Lines, item: objects.SourceObject, portion: int
) -> Landed:
    """Lets PostgreSQL count the lines as they are, a portion at a time, and copies each distinct one of a portion once,
    with its count before it. What can not be read is looked for in the object once more, for its line numbers.

    Raises NotByLine for what only reading line by line tells apart: an empty line that is lost between pages, control
    characters that the way of the distinct lines needs, text in quotes that may go on in the next line, hardly a line
    that can be read, more than can be remembered. Raises PipelineError for MOST_REJECTED unreadable lines.
    """
    copy = _copy_statement(cursor, table, wanted, lines, LINES)
    pages, refused, counted = Pages(lines, portion), _Refused(item), 0
    with TemporaryFile() as file:
        while pages.more:
            copy_in(cursor, "COPY pg_temp.pages FROM STDIN WITH (FORMAT binary)", pages, lines)
            if not pages.more and pages.lines != lines.lines:
                raise NotByLine("empty lines")
            cursor.copy_expert(sql.read("landing/count_lines"), file, CHUNK)
            counted += cursor.rowcount
            cursor.execute(EMPTY_PAGES)
        landed = Landed(item, lines.lines)
        file.seek(0)
        if copy_whole(cursor, copy, file, counted):
            return landed
        file.seek(0)
        reasons = _copy_distinct(cursor, copy, file, refused, lines.lines)
    with objects.reader(s3, item) as raw:
        again = Lines(raw, item.uri)
        again.time_of_day = lines.time_of_day
        _reject(cursor, table, landed, again.find(reasons))
    if landed.rejected != refused.lines:
        raise NotByLine(f"{landed.rejected:,} of {refused.lines:,} unreadable lines were found again")
    return landed


def _copy_distinct(cursor: Cursor, copy: str, file: IO[bytes], refused: "_Refused", lines: int) -> dict[bytes, str]:
    """Copies the readable ones of the file's counted lines, `lines` in all. Returns the others, each with its reason.

    Raises as `_counted` does.
    """
    reasons: dict[bytes, str] = {}
    tried, remembered = 0, 0
    for block in in_blocks(enumerate((line.removesuffix(b"\n") for line in file), 1)):
        unknown = []
        for number, counted in block:
            times, _, line = counted.partition(b",")
            if line in reasons:  # of an earlier portion
                refused.again(reasons[line], int(times))
            else:
                unknown.append((number, counted))
        for index, reason in copy_readable(cursor, copy, unknown):
            times, _, line = unknown[index][1].partition(b",")
            if line in reasons:
                refused.again(reason, int(times))
                continue
            if not times.isdigit():
                raise NotByLine("control characters")
            if goes_on(line):
                raise NotByLine("quotes that are still open at the end of a line")
            refused.add(f"{int(times):,} times", reason, line, int(times))
            if refused.hopeless(tried + index + 1):
                raise NotByLine(f"hardly one of {tried + index + 1:,} lines that were tried can be read")
            reasons[line] = reason
            if (remembered := remembered + len(line) + len(reason)) > MOST_REMEMBERED:
                raise NotByLine(f"{len(reasons):,} different lines can not be read")
        tried += len(unknown)
        refused.check(lines)
    return reasons


def _directly(cursor: Cursor, table: str, wanted: list[str], lines: Lines, item: objects.SourceObject) -> Landed:
    """Copies the lines as they come. Their dates are not read. Raises NotByLine when they are not as many rows."""
    copy_in(cursor, _copy_statement(cursor, f"{table}{DIRECTLY}", wanted, lines), lines, lines)
    if cursor.rowcount != lines.lines:
        raise NotByLine(f"{cursor.rowcount:,} rows in {lines.lines:,} lines")
    return Landed(item, lines.lines)


def _line_by_line(cursor: Cursor, table: str, wanted: list[str], lines: Lines, item: objects.SourceObject) -> Landed:
    """Copies the records block by block; in a block that fails, finds those that can not be read.

    Raises PipelineError for MOST_REJECTED unreadable ones, or when it is HOPELESS.
    """
    copy = _copy_statement(cursor, table, wanted, lines)
    landed, refused = Landed(item), _Refused(item)
    for block in in_blocks(lines):
        rejected: list[tuple[int, bytes, str]] = []
        for index, reason in copy_readable(cursor, copy, block):
            number, line = block[index]
            rejected.append((number, line, reason))
            refused.add(f"line {number}", reason, line)
            if refused.hopeless(tried := landed.lines + index + 1):
                raise refused.given_up(tried)
        landed.lines += len(block)
        _reject(cursor, table, landed, rejected)
        refused.check(landed.lines)
    return landed


def _reject(cursor: Cursor, table: str, landed: Landed, rejected: Iterable[tuple[int, bytes, str]]) -> None:
    """Notes and counts the object's lines that can not be read: number, line, reason."""
    insert = "INSERT INTO pg_temp.rejected_lines (source, uri, line_number, line, reason) VALUES %s"
    for block in in_blocks(rejected):
        execute_values(cursor, insert, [(table, landed.item.uri, *line) for line in block], page_size=len(block))
        landed.rejected += len(block)


def _copy_statement(cursor: Cursor, table: str, wanted: list[str], lines: Lines, *before: str) -> str:
    """COPY into the columns in the header's order, after those that stand before them in the file.

    Columns that nobody wants go into throw-away ones. Raises PipelineError when the header lacks one that is wanted.
    """
    header = lines.header
    wrong = [f"no column {name!r}" for name in wanted if name not in header]
    wrong += [f"column {name!r} twice" for name in wanted if header.count(name) > 1]
    if wrong:
        raise PipelineError(
            f"{lines.uri}: {', '.join(wrong)} in the header {','.join(header)!r}; "
            f"expected {','.join(wanted)} (in any order, further columns are ignored)"
        )
    target = identifiers.Identifier(table)
    names = [name if name in wanted else f"ignored {place}" for place, name in enumerate(header, 1)]
    for name in names:
        if name not in wanted:
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


class _Refused:
    """An object's unreadable lines, counted by their reason."""

    def __init__(self, item: objects.SourceObject) -> None:
        self.lines = 0
        self._distinct = 0
        self._uri = item.uri
        self._reasons: Counter[str] = Counter()
        self._first: list[str] = []

    def add(self, place: str, reason: str, line: bytes, times: int = 1) -> None:
        self.again(reason, times)
        self._distinct += 1
        if len(self._first) < 5:
            self._first.append(f"    {place}: {reason}: {line[:200]!r}")

    def again(self, reason: str, times: int) -> None:
        """A line that has been added stands in the object so many times more."""
        self.lines += times
        self._reasons[reason] += times

    def hopeless(self, tried: int) -> bool:
        """Of so many that were tried, are these HOPELESS and more than nine in ten?"""
        return self._distinct >= HOPELESS and self._distinct * 10 > tried * 9

    def check(self, lines: int) -> None:
        """Raises PipelineError when MOST_REJECTED of so many lines are refused."""
        if self.lines >= MOST_REJECTED:
            raise self.given_up(lines)

    def given_up(self, lines: int) -> PipelineError:
        """Says what is wrong with them, and where to look."""
        date = any("date" in reason for reason in self._reasons)
        return PipelineError(
            f"{self._uri}: gave up after {lines:,} lines: {self.lines:,} can not be read. "
            f"By reason: {dict(self._reasons.most_common())}. "
            + "Is LOG_DATE_FORMAT the one of this log? " * date
            + "The first:\n"
            + "\n".join(self._first)
        )
