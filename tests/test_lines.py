"""An object's lines as files for COPY: none lost, each with its number, and memory flat whatever is delivered."""

import io
import random
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt.errors import PipelineError
from elt.lines import CHUNK, COUNTED, LONGEST_LINE, PAGE, PORTION, SAMPLE, Lines, Pages

pytestmark = pytest.mark.model_blind

HEADER = b"a,b\n"


def lines_of(body: bytes, key: str = "key") -> Lines:
    return Lines(io.BytesIO(HEADER + body), f"s3://bucket/{key}")


def files_of(lines: Lines, portion: int = 1 << 60) -> tuple[list[list[bytes]], list[int]]:
    """The pages of each file in COPY's binary format, the sizes of what was read at a time."""
    file, files, sizes = Pages(lines, portion), [], []
    while file.more:
        pieces = list(iter(lambda: file.read(CHUNK), b""))
        sizes += [len(piece) for piece in pieces]
        stream, pages = io.BytesIO(b"".join(pieces)), []
        assert stream.read(19) == b"PGCOPY\n\xff\r\n\0" + bytes(8)
        while (columns := struct.unpack("!h", stream.read(2))[0]) == 1:
            (size,) = struct.unpack("!i", stream.read(4))
            pages.append(stream.read(size))
        assert (columns, stream.read()) == (-1, b"")
        files.append(pages)
    return files, sizes


@given(
    lengths=st.lists(st.one_of(st.integers(0, 9), st.sampled_from([PAGE - 1, PAGE, PAGE + 1, 3 * PAGE])), max_size=40),
    end=st.booleans(),
    portion=st.sampled_from([1, CHUNK, 1 << 60]),
)
def test_pages_are_the_lines_in_order(lengths: list[int], end: bool, portion: int) -> None:
    delivered = [b"x" * length for length in lengths]
    while not end and delivered and not delivered[-1]:
        delivered.pop()  # an empty line without an end is none
    lines = lines_of(b"\n".join(delivered) + b"\n" * (end and bool(delivered)))
    files, _ = files_of(lines, portion)
    assert lines.lines == len(delivered)
    pages = [page for file in files for page in file]
    found = [line for page in pages for line in page.split(b"\n")]
    # An empty line between two pages may be lost here: who counts the lines notices.
    assert found == delivered or (len(found) < len(delivered) and [*filter(None, found)] == [*filter(None, delivered)])
    assert all(len(page) <= PAGE or b"\n" not in page for page in pages)


def test_a_file_ends_after_a_portion_and_the_next_goes_on() -> None:
    delivered = [b"%07d" % n for n in range(300_000)]
    files, _ = files_of(lines_of(b"\n".join(delivered)), portion=1_000_000)
    assert [b"\n".join(file).split(b"\n") for file in files] != [delivered]
    assert b"\n".join(page for file in files for page in file).split(b"\n") == delivered
    assert all(1_000_000 - PAGE <= sum(map(len, file)) <= 1_000_000 + CHUNK for file in files[:-1])


def test_a_long_line_among_short_ones_does_not_gather_what_follows_it() -> None:
    long, short = b"x" * 30_000, [b"short"] * 400_000
    lines = lines_of(b"\n".join([b"first", long, *short, long, *short, b""]))
    (pages,), sizes = files_of(lines)
    assert lines.lines == 800_003
    assert max(sizes) <= 2 * CHUNK
    assert [page for page in pages if len(page) > PAGE] == [long] * 2


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
    lines = lines_of(body, key)
    assert bool(lines.portion(size, end_in_a_day=False)) is repeat
    assert b"".join(iter(lambda: lines.read(CHUNK), b"")) == body, "nothing is lost by looking"


def test_more_is_counted_at_a_time_the_more_lines_there_are() -> None:
    """A line of a portion is to be expected COUNTED times in it, however few of them the sample has shown twice."""
    for kinds in (100, 10_000, 100_000, 1_000_000):
        chance = random.Random(1)
        body = b"".join(b"%09d\n" % chance.randrange(kinds) for _ in range(SAMPLE // 10))
        portion = lines_of(body).portion(1 << 40, end_in_a_day=False)
        assert portion == PORTION or portion == pytest.approx(COUNTED * kinds * 10, rel=0.2)
        assert (portion > PORTION) == (kinds > 50_000)


@pytest.mark.parametrize(
    ("time", "is_left_out"),
    [
        (b" 00:00:00", True),
        (b" 23:59:59", True),
        (b"T23:59:59", True),
        (b" 10:00", True),
        (b"T10:00:00.123456Z", True),
        (b" 10:00:00+00:00", True),
        (b" 10:00:00.5 UTC", True),
        (b" 24:00:00", False),
        (b" 23:59:60", False),
        (b" 23:60:00", False),
        (b" 23:59:59.9999999", False),
        (b" 10:00:00-03:00", False),
        (b" 10:00:00+03", False),
        (b" 10", False),
        (b"  10:00:00", False),
        (b" 10:00:00 ", False),
        (b't10:00:00"', False),
        (b"-03 10:00:00", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_time_of_day_is_left_out_where_it_tells_nothing_of_the_day(
    time: bytes, is_left_out: bool, end: bytes
) -> None:
    day = b"p,2024-11-20"
    body = (day + time + end) * 50_000 + day + time
    pages = lambda lines: b"\n".join(files_of(lines)[0][0]).split(b"\n")  # noqa: E731
    lines, untouched = lines_of(body), lines_of(body)
    assert lines.portion(len(body), end_in_a_day=True)
    assert untouched.portion(len(body), end_in_a_day=False)
    landed = day + end.removesuffix(b"\n") if is_left_out else (day + time + end).removesuffix(b"\n")
    assert pages(lines) == [landed] * 50_000 + [day if is_left_out else day + time]
    assert pages(untouched) == [(day + time + end).removesuffix(b"\n")] * 50_000 + [day + time]


@given(
    picked=st.lists(st.sampled_from([b"a", b"b 10:00", b",2024-11-20 10:00", b",2024-11-20", b"", b"\r"]), max_size=30),
    reasons=st.dictionaries(st.sampled_from([b"a", b",2024-11-20", b"", b"b 10:00"]), st.just("it is bad")),
)
def test_a_line_that_was_refused_is_found_as_it_was_delivered(picked: list[bytes], reasons: dict[bytes, str]) -> None:
    delivered = [b",2024-11-20 23:00", *picked, b"last"]
    first = lines_of(b"\n".join(delivered))
    first.portion(1 << 40, end_in_a_day=True)
    lines = lines_of(b"\n".join(delivered))
    lines.time_of_day = first.time_of_day
    expected = [
        (number, line.removesuffix(b"\r"))
        for number, line in enumerate(delivered, 2)
        if re.sub(rb"(?<=,2024-11-20) \d\d:\d\d$", b"", line.removesuffix(b"\r")) in reasons
    ]
    assert [(number, line) for number, line, _ in lines.find(reasons)] == expected


def test_a_header_may_be_longer_than_what_is_read_at_once() -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(3)

    lines = Lines(Dripping(b"advertiser_id,product_id,date\nACME,p,2024-11-20"), "s3://bucket/key")
    assert lines.header == ["advertiser_id", "product_id", "date"]
    assert b"".join(iter(lambda: lines.read(CHUNK), b"")) == b"ACME,p,2024-11-20\n"
    assert lines.lines == 1
