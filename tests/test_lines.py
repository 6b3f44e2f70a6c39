"""An object's lines as files for COPY: none lost, each with its number, and memory flat whatever is delivered."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.errors import PipelineError
from elt.lines import CHUNK, LONGEST_LINE, PAGE, SAMPLE, Lines, Pages

pytestmark = pytest.mark.model_blind

HEADER = b"a,b\n"


def pages_of(body: bytes) -> tuple[list[tuple[int, bytes]], list[int], Lines]:
    """The rows (number of the first line, page) of COPY's binary format, the sizes of what was read at a time."""
    lines = Lines(io.BytesIO(HEADER + body), "s3://bucket/key")
    file = Pages(lines)
    pieces = list(iter(lambda: file.read(CHUNK), b""))
    stream, rows = io.BytesIO(b"".join(pieces)), []
    assert stream.read(19) == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    while (columns := struct.unpack("!h", stream.read(2))[0]) == 2:
        eight, first, size = struct.unpack("!iqi", stream.read(16))
        assert eight == 8
        rows.append((first, stream.read(size)))
    assert (columns, stream.read()) == (-1, b"")
    return rows, [len(piece) for piece in pieces], lines


@given(
    lengths=st.lists(st.one_of(st.integers(0, 9), st.sampled_from([PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])), max_size=40),
    end=st.booleans(),
)
def test_pages_are_the_lines_with_their_numbers(lengths: list[int], end: bool) -> None:
    delivered = [b"x" * length for length in lengths]
    while not end and delivered and not delivered[-1]:
        delivered.pop()  # an empty line without an end is none
    body = b"\n".join(delivered) + b"\n" * (end and bool(delivered))
    rows, _, lines = pages_of(body)
    assert lines.lines == len(delivered)
    found = [(first + n, line) for first, page in rows for n, line in enumerate(page.split(b"\n"))]
    numbered = list(enumerate(delivered, 2))
    # An empty line between two pages may be lost here: who counts the lines notices.
    assert found == numbered or len(found) < len(numbered)
    assert all(len(page) <= PAGE or b"\n" not in page for _, page in rows)


def test_a_long_line_among_short_ones_does_not_gather_what_follows_it() -> None:
    long, short = b"x" * 30_000, [b"short"] * 400_000
    rows, sizes, lines = pages_of(b"\n".join([b"first", long, *short, long, *short, b""]))
    assert lines.lines == 800_003
    assert max(sizes) <= 2 * CHUNK
    assert [page for _, page in rows if len(page) > PAGE] == [long] * 2


def test_of_an_object_without_a_line_end_no_more_is_read_than_a_line_may_have() -> None:
    raw = io.BytesIO(b"x" * 5 * LONGEST_LINE)
    with pytest.raises(PipelineError, match="the first line is not a CSV header"):
        Lines(raw, "s3://bucket/key")
    assert raw.tell() <= LONGEST_LINE + CHUNK


@pytest.mark.parametrize(
    ("key", "size", "distinct", "repeat"),
    [
        ("key", 300, 20, True),
        ("key", 300, 21, False),
        ("key", 10 * SAMPLE, 71, True),  # ten times what is looked at: a line that stands there already, ten times
        ("key", 10 * SAMPLE, 72, False),
        ("key.gz", 2 * SAMPLE, 71, True),
        ("key.gz", 2 * SAMPLE, 72, False),
    ],
)
def test_lines_repeat_where_each_is_expected_four_times_again(key: str, size: int, distinct: int, repeat: bool) -> None:
    body = b"".join(b"%d\n" % min(n, distinct - 1) for n in range(100))
    lines = Lines(io.BytesIO(HEADER + body), f"s3://bucket/{key}")
    assert lines.repeat(size) is repeat
    assert b"".join(iter(lambda: lines.read(CHUNK), b"")) == body, "nothing is lost by looking"


def test_a_header_may_be_longer_than_what_is_read_at_once() -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(3)

    lines = Lines(Dripping(b"advertiser_id,product_id,date\nACME,p,2024-11-20"), "s3://bucket/key")
    assert lines.header == ["advertiser_id", "product_id", "date"]
    assert b"".join(iter(lambda: lines.read(CHUNK), b"")) == b"ACME,p,2024-11-20\n"
    assert lines.lines == 1
