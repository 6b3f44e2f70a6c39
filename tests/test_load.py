"""FiltrarDatos: every way that logs are delivered, and what becomes of lines that can not be read."""

import csv
import gzip
import io
import random
import threading
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from botocore.exceptions import ClientError
from chaos import FaultyProxy, scale
from conftest import DAY, MODELS, Night, as_csv, ordinary_logs, s3_client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from oracle import event, records
from pydantic import SecretStr

from elt import land, steps, warehouse
from elt import s3 as objects
from elt.copying import unload_repeated
from elt.errors import NotYet, PipelineError
from elt.lines import LONGEST_LINE, REPEATED
from elt.shares import share_out
from local.postgres import MASTER

pytestmark = pytest.mark.model_blind

HEADER = b"advertiser_id,product_id,date"
NEVER = float("inf")
"""REPEATED, so that no line is counted."""
LINES = [f"ACME,p{n},{DAY}".encode() for n in range(5)]


def views_of(night: Night, day: str = DAY) -> dict[str, int]:
    rows = night.warehouse.rows(
        "SELECT product_id, views FROM staging.product_daily WHERE date = %s AND views > 0", day
    )
    return dict(rows)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\n".join([HEADER, *LINES]), id="no last newline"),
        pytest.param(b"\n".join([HEADER, *LINES, b""]), id="LF"),
        pytest.param(b"\r\n".join([HEADER, *LINES, b""]), id="CRLF"),
        pytest.param(b"\r\n".join([HEADER, *LINES]), id="CRLF, no last newline"),
        pytest.param(b"\xef\xbb\xbf" + b"\n".join([HEADER, *LINES, b""]), id="BOM"),
        pytest.param(
            b"\n".join(
                [
                    HEADER.replace(b",", b'","').join([b'"', b'"']),
                    *(b'"' + line.replace(b",", b'","') + b'"' for line in LINES),
                ]
            ),
            id="quoted",
        ),
        pytest.param(
            b"\n".join([b"date,extra,product_id,advertiser_id", *(f"{DAY},,p{n},ACME".encode() for n in range(5))]),
            id="reordered, one more column",
        ),
        pytest.param(b"\n".join([b" Advertiser_ID ,PRODUCT_ID, Date", *LINES]), id="header in capitals and spaces"),
        pytest.param(b"\n".join([HEADER, *(line + b" 23:59:59" for line in LINES)]), id="time of day"),
        pytest.param(b"\n".join([HEADER, *(line + b"T23:59:59Z" for line in LINES)]), id="time of day, ISO"),
        pytest.param(b"\n".join([HEADER, *LINES[:3]]) + b"\r\n" + b"\r\n".join(LINES[3:]), id="mixed line ends"),
    ],
)
def test_the_same_events_however_the_csv_is_written(delivered: Night, body: bytes) -> None:
    delivered.put("product_views", body)
    delivered.load()
    assert views_of(delivered) == {f"p{n}": 1 for n in range(5)}
    assert delivered.accounting("product_views") == {
        "delivered": 5,
        "kept": 5,
        "other_day": 0,
        "inactive": 0,
        "rejected": 0,
    }


def test_gzip_by_the_name_even_of_several_members(delivered: Night) -> None:
    first, second = b"\n".join([HEADER, *LINES[:2], b""]), b"\n".join(LINES[2:])
    delivered.put("views.csv.gz", gzip.compress(first) + gzip.compress(second))
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/views.csv.gz")
    delivered.load()
    assert delivered.accounting("product_views")["kept"] == 5


def test_a_prefix_means_every_object_under_it_each_with_its_own_header(delivered: Night) -> None:
    for n in range(4):
        delivered.put(f"views/part-{n}", as_csv(("advertiser_id", "product_id", "date"), [("ACME", f"p{n}", DAY)]))
    delivered.put(
        "views/sub/part.gz",
        gzip.compress(as_csv(("date", "product_id", "advertiser_id"), [(DAY, "p9", "ACME")]).encode()),
    )
    delivered.put("views/_SUCCESS", b"")
    delivered.put("views/.part-9.crc", b"crc")
    delivered.put("views/empty-folder/", b"")
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/views/")
    delivered.load()
    assert views_of(delivered) == {"p0": 1, "p1": 1, "p2": 1, "p3": 1, "p9": 1}
    recorded = delivered.warehouse.rows(
        "SELECT count(*), sum(lines), bool_and(length(etag) = 32 AND size_bytes > 0) FROM staging.source_objects "
        "WHERE source = 'product_views'"
    )
    assert recorded == [(5, 5, True)]


def test_a_prefix_may_hold_more_objects_than_s3_lists_at_once(delivered: Night) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: delivered.put(f"many/{n:04}", b"x"), range(1_001)))
    found = objects.find(delivered.s3, f"s3://{delivered.bucket}/many/")
    assert [item.uri.rpartition("/")[2] for item in found] == [f"{n:04}" for n in range(1_001)]


def test_ds_in_a_uri_is_the_day(delivered: Night) -> None:
    delivered.put(f"raw/{DAY}/views", b"\n".join([HEADER, *LINES]))
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/raw/{{ds}}/views")
    delivered.load()
    assert delivered.accounting("product_views")["kept"] == 5
    with pytest.raises(NotYet, match=r"raw/2024-11-21/views: no such object yet"):
        delivered.load("2024-11-21")


def test_dates_as_the_setting_says_and_never_guessed(delivered: Night) -> None:
    delivered.put(
        "product_views", b"\n".join([HEADER, b"ACME,p1,20/11/2024", b"ACME,p2,2024-11-20", b"ACME,p3,1/2/2024"])
    )
    delivered.change(log_date_format="D/M/YYYY", max_rejected_share=1.0)
    delivered.load()
    assert views_of(delivered) == {"p1": 1, "p2": 1}
    assert delivered.accounting("product_views")["other_day"] == 1
    delivered.change(log_date_format="YYYY-MM-DD")
    delivered.load()
    assert delivered.accounting("product_views") == {
        "delivered": 3,
        "kept": 1,
        "other_day": 0,
        "inactive": 0,
        "rejected": 2,
    }


def test_a_file_of_many_days_gives_each_day_its_own(night: Night) -> None:
    days = ["2024-11-19", DAY, "2024-11-21"]
    views = [row for day in days for row in ordinary_logs(day)[1]]
    ads = [row for day in days for row in ordinary_logs(day)[2]]
    night.deliver(["ACME", "BOLT"], views, ads)
    for day in days:
        night.load(day)
        sums = night.accounting("product_views", day)
        assert sums["kept"] == sum(1 for a, _, d in views if d == day and a != "GONE")
        assert sums["other_day"] == sum(1 for _, _, d in views if d != day)
        assert sums["delivered"] == sum(sums.values()) - sums["delivered"]


def test_what_is_kept_is_on_s3_as_the_raw_log_is(delivered: Night) -> None:
    active, views, ads = ordinary_logs()
    delivered.load()
    for key, header, rows in (
        ("product_views", ("advertiser_id", "product_id", "date"), views),
        ("ads_views", ("advertiser_id", "product_id", "type", "date"), ads),
    ):
        kept = gzip.decompress(delivered.object(f"intermediate/date={DAY}/{key}.csv.gz")).decode()
        assert kept == as_csv(header, [row for row in rows if row[0] in active])


def test_every_kept_event_is_one_line_on_s3_whatever_the_ids_and_the_order_of_delivery(night: Night) -> None:
    ads = [("ACME", product, kind, DAY) for product in ("a,b", 'q"q', "a b", "ä") for kind in ("click",) * 3]
    ads += [("ACME", f"p{n}", "click", DAY) for n in range(2_000)]
    ads += [("ACME", "popular", "impression", DAY)] * 25_001 + [("GONE", "p", "click", DAY)]
    views = [("ACME", 'q"q', DAY)] * 2 + [("ACME", "p", "2024-11-19")]
    files = []
    for _ in range(2):
        night.deliver(["ACME"], views, ads)
        night.load()
        files.append([night.object(f"intermediate/date={DAY}/{log}.csv.gz") for log in ("ads_views", "product_views")])
        random.Random(1).shuffle(ads)
    kept_ads, kept_views = (list(csv.reader(io.StringIO(gzip.decompress(f).decode(), newline=""))) for f in files[0])
    assert sorted(kept_ads[1:]) == sorted(list(row) for row in ads if row[0] == "ACME")
    assert kept_views == [["advertiser_id", "product_id", "date"], *[["ACME", 'q"q', DAY]] * 2]
    assert files[0] == files[1], "the same events give the same bytes"


def test_a_second_run_reads_nothing_and_reload_reads_again(delivered: Night) -> None:
    assert delivered.load() is True
    before = delivered.warehouse.rows("TABLE staging.loads")
    assert delivered.load() is False
    assert delivered.warehouse.rows("TABLE staging.loads") == before
    assert delivered.load(reload=True) is True
    assert delivered.warehouse.rows("TABLE staging.loads") != before
    delivered.s3.delete_object(Bucket=delivered.bucket, Key=f"intermediate/date={DAY}/ads_views.csv.gz")
    assert delivered.load() is True, "an output that is missing is written again"


def test_a_redelivered_log_is_noticed(delivered: Night) -> None:
    delivered.load()
    delivered.put("product_views", b"\n".join([HEADER, *LINES]))
    assert delivered.load() is True
    assert delivered.accounting("product_views")["delivered"] == 5


def test_a_log_that_is_replaced_between_listing_and_reading_is_not_read(delivered: Night, s3_url: str) -> None:
    delivered.run()
    before = delivered.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1")
    delivered.put("product_views", b"\n".join([HEADER, *LINES]))
    replaced_by = [b"\n".join([HEADER, *LINES[:3]])]
    working, delivered.s3 = delivered.s3, s3_client(s3_url, attempts=3)

    def replace(params: dict, **_) -> None:
        if params["url_path"] == "/product_views" and replaced_by:
            working.put_object(Bucket=delivered.bucket, Key="product_views", Body=replaced_by.pop())

    delivered.s3.meta.events.register("before-call.s3.GetObject", replace)
    with pytest.raises(NotYet, match=r"/product_views: the object was replaced while it was being read"):
        delivered.run()
    assert replaced_by == []
    assert delivered.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1") == before
    delivered.run()
    assert delivered.accounting("product_views")["delivered"] == 3, "the retry reads what is there now"


def test_a_log_that_is_replaced_while_a_broken_connection_resumes_is_not_mixed(delivered: Night, s3_url: str) -> None:
    """Both versions are of one length, so that the rest of one would fit the beginning of the other."""
    delivered.run()
    before = delivered.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1")
    old, new = (
        b"\n".join([HEADER, *(f"ACME,{version}{n:05},{DAY}".encode() for n in range(20_000))])
        for version in ("old", "new")
    )
    delivered.put("product_views", old)
    host, port = s3_url.removeprefix("http://").split(":")
    working, lock = delivered.s3, threading.Lock()
    replaced: list[Any] = []

    def reset_once_then_replace() -> int | None:
        """After 64 kB: of the objects only this one is so long."""
        with lock:
            if not proxy.injected:
                return 64
            if not replaced:
                replaced.append(working.put_object(Bucket=delivered.bucket, Key="product_views", Body=new))
            return None

    proxy = FaultyProxy((host, int(port)), reset_once_then_replace)
    delivered.s3 = s3_client(proxy.url, attempts=3)
    with pytest.raises(NotYet, match=r"/product_views: the object was replaced while it was being read"):
        delivered.run()
    proxy.shutdown()
    assert (dict(proxy.injected), len(replaced)) == ({"reset": 1}, 1)
    assert delivered.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1") == before
    delivered.s3 = working
    delivered.run()
    assert set(views_of(delivered)) == {f"new{n:05}" for n in range(20_000)}


def test_an_advertiser_that_the_active_list_names_twice_is_active_once(delivered: Night) -> None:
    def results() -> list:
        rows = delivered.warehouse.rows
        return [
            delivered.lists(),
            rows("TABLE staging.active_advertisers ORDER BY 1, 2"),
            rows("TABLE marts.active_advertisers ORDER BY 1, 2"),
            rows("TABLE marts.advertiser_daily ORDER BY 1, 2"),
            rows("TABLE marts.daily"),
            rows("TABLE staging.accounting ORDER BY source"),
            [delivered.object(f"intermediate/date={DAY}/{log}.csv.gz") for log in ("ads_views", "product_views")],
        ]

    delivered.run()
    once = results()
    assert once[1] == once[2] == [(date.fromisoformat(DAY), "ACME"), (date.fromisoformat(DAY), "BOLT")]
    delivered.put("advertiser_ids", 'advertiser_id\nACME\nBOLT\nACME\r\n"BOLT"\nACME\n')
    delivered.run()
    assert results() == once


WIDE = [b",".join([HEADER, *[b"x"] * 1_200]), b",".join([LINES[0], *[b"twelve bytes"] * 1_200])]


@pytest.mark.parametrize(
    ("key", "body", "message"),
    [
        ("product_views", b"", r"product_views: the object is empty; expected a header row"),
        ("product_views", HEADER, r"no line of 2024-11-20 yet in: product_views \(s3://.*: 0 lines"),
        (
            "product_views",
            b"advertiser_id,date\nACME,2024-11-20\n",
            r"no column 'product_id' in the header 'advertiser_id,date'; expected advertiser_id,product_id,date",
        ),
        ("product_views", b"date,date,advertiser_id,product_id\n", r"column 'date' twice"),
        ("product_views", b"\xff\xfe\x00", r"the first line is not a CSV header in UTF-8"),
        (
            "product_views",
            b",".join([HEADER, *[b"x"] * 1_600]),
            r"product_views: more columns than PostgreSQL takes \(tables can have",
        ),
        ("product_views", b"\n".join(WIDE), r"product_views: more columns than PostgreSQL takes \(row is too big"),
        ("advertiser_ids", b"advertiser_id\n", r"someone_is_active.sql: broken"),
        (
            "ads_views",
            b"advertiser_id,product_id,type,date\nACME,p,click,2020-01-01\n",
            r"no line of 2024-11-20 yet in: ads_views .*: 1 lines, 1 of other days",
        ),
    ],
)
def test_an_unusable_object_fails_the_day_and_says_what_is_wrong(
    delivered: Night, key: str, body: bytes, message: str
) -> None:
    delivered.put(key, body)
    with pytest.raises(PipelineError, match=message):
        delivered.load()
    assert delivered.warehouse.rows("TABLE staging.loads") == []
    assert delivered.warehouse.rows("TABLE staging.product_daily") == []


def test_a_cut_gzip_is_refused(delivered: Night) -> None:
    whole = gzip.compress(b"\n".join([HEADER, *LINES * 5000]))
    delivered.put("views.gz", whole[: len(whole) // 2])
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/views.gz")
    with pytest.raises(PipelineError, match=r"views\.gz: not a whole gzip file"):
        delivered.load()
    # So large that COPY has begun when the end or the damage is met.
    chance = random.Random(1)
    lines = (f"ACME,{chance.randbytes(6).hex()},{DAY}".encode() for _ in range(100_000))
    whole = gzip.compress(b"\n".join([HEADER, *lines]), 1)
    assert len(whole) > 800_000
    damaged = bytearray(whole)
    damaged[700_000:700_100] = bytes(100)
    no_block = bytearray(whole)
    no_block[10] = 7  # the first byte after gzip's header: there is no such kind of block
    for body in (whole[:-10], bytes(damaged), bytes(no_block)):
        delivered.put("views.gz", body)
        with pytest.raises(PipelineError, match=r"views\.gz: not a whole gzip file") as failure:
            delivered.load()
        assert not isinstance(failure.value, NotYet)
    delivered.put("views.gz", zlib.compress(b"not gzip"))
    with pytest.raises(PipelineError, match=r"views\.gz: not a whole gzip file"):
        delivered.load()


def test_what_is_missing_may_still_come(delivered: Night) -> None:
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/nothing/here/")
    with pytest.raises(NotYet, match=r"nothing/here/: no object under this prefix yet"):
        delivered.load()
    delivered.change(product_views_uri="s3://no-such-bucket/product_views/")
    with pytest.raises(PipelineError, match="there is no bucket 'no-such-bucket'; check the URI") as failure:
        delivered.load()
    assert not isinstance(failure.value, NotYet), "waiting does not make a bucket"


@pytest.mark.parametrize("days_from_now", [0, 1, 3650])
def test_a_day_that_has_not_ended_is_refused_at_once(night: Night, days_from_now: int) -> None:
    """Today, and what a mistyped year makes: with logs or without them."""
    day = str(datetime.now(UTC).date() + timedelta(days_from_now))
    for _ in range(2):
        with pytest.raises(PipelineError, match=f"^{day} has not ended: it does at ") as failure:
            night.load(day)
        assert not isinstance(failure.value, NotYet)
        night.deliver(*ordinary_logs(day))


@pytest.mark.parametrize("name", ["ads_views", "TopProduct"])
def test_an_output_that_can_not_be_written_leaves_what_was_there_and_the_retry_succeeds(
    delivered: Night, s3_url: str, name: str
) -> None:
    """S3 takes all of it and fails at the end."""
    delivered.run()
    delivered.deliver(*ordinary_logs(shift=1))
    step: Callable[[], Any] = delivered.load
    if name not in delivered.settings.sources(DAY):
        delivered.load()
        step = delivered.rank

    def now() -> list[Any]:
        tables = ("staging.loads", "staging.product_daily", "staging.source_objects")
        rows = [delivered.warehouse.rows(f"SELECT t::text FROM {table} AS t ORDER BY 1") for table in tables]
        for table in ("models.builds", "models.candidates"):
            rows.append(delivered.warehouse.rows(f"SELECT t::text FROM {table} AS t WHERE model = 'TopProduct'"))
        return [*rows, delivered.object(f"intermediate/date={DAY}/{name}.csv.gz")]

    def fail(params: dict[str, Any], **_: Any) -> None:
        if params["url_path"].endswith(f"/{name}.csv.gz"):
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "injected"}}, "PutObject")

    before = now()
    working, delivered.s3 = delivered.s3, s3_client(s3_url, attempts=1)
    for last in ("PutObject", "UploadPart", "CompleteMultipartUpload"):
        delivered.s3.meta.events.register(f"before-call.s3.{last}", fail)
    with pytest.raises(NotYet, match=rf"/{name}\.csv\.gz: S3 answered SlowDown: injected"):
        step()
    delivered.s3 = working
    assert now() == before
    assert sorted(delivered.run()) == sorted(MODELS)


@pytest.mark.parametrize(
    ("operation", "code", "status", "may_pass"),
    [
        ("GetObject", "AccessDenied", 403, False),
        ("GetObject", "InvalidAccessKeyId", 403, False),
        ("GetObject", "SignatureDoesNotMatch", 403, False),
        ("GetObject", "InvalidObjectState", 403, False),
        ("GetObject", "ExpiredToken", 400, True),
        ("GetObject", "SlowDown", 503, True),
        ("GetObject", "InternalError", 500, True),
        ("CreateMultipartUpload", "AccessDenied", 403, False),
        ("CompleteMultipartUpload", "InvalidAccessKeyId", 403, False),
        ("CompleteMultipartUpload", "SlowDown", 503, True),
    ],
)
def test_what_s3_answers_is_told_with_the_object_in_its_own_words(
    delivered: Night, s3_url: str, operation: str, code: str, status: int, may_pass: bool
) -> None:
    """What waiting cures is left to the retries, and nothing else."""
    words = "User: etl is not authorized to perform: kms:Decrypt"

    def refuse(**_: Any) -> None:
        answer: Any = {"Error": {"Code": code, "Message": words}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, operation)

    delivered.s3 = s3_client(s3_url, attempts=1)
    delivered.s3.meta.events.register(f"before-call.s3.{operation}", refuse)
    with pytest.raises(PipelineError, match=rf"s3://{delivered.bucket}/.*S3 answered {code}: {words}") as failure:
        delivered.load()
    assert isinstance(failure.value, NotYet) is may_pass


@pytest.mark.parametrize(("key", "times"), [("views", 1), ("views.gz", 2)])
def test_gzip_that_the_name_does_not_say_is_named(delivered: Night, key: str, times: int) -> None:
    body = b"\n".join([HEADER, *LINES])
    for _ in range(times):
        body = gzip.compress(body)
    delivered.put(key, body)
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/{key}")
    with pytest.raises(PipelineError, match=r"/views.*: gzip.*expected gzip in an object \.gz, once") as failure:
        delivered.load()
    assert not isinstance(failure.value, NotYet)


def test_what_a_writer_leaves_behind_is_no_part_of_a_delivery(delivered: Night) -> None:
    """Under the prefix only: its own name may begin as it likes."""
    leftovers = ["_temporary/0/part", ".hive-staging_x/part", "day/_x/y/part", "part-1._COPYING_", "day_$folder$", "d/"]
    for name in (*leftovers, "day/part", "part_2"):
        delivered.put(f"_raw/.views/{name}", b"\n".join([HEADER, *LINES]))
    delivered.put("_raw/.views/part-3", b"")
    delivered.put("_raw/.views/part-4.gz", gzip.compress(b""))
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/_raw/.views/")
    assert delivered.load() is True
    assert views_of(delivered) == {f"p{n}": 2 for n in range(5)}
    assert delivered.load() is False
    quality = "SELECT objects, repeated_objects, delivered FROM marts.data_quality WHERE source = 'product_views'"
    assert delivered.warehouse.rows(quality) == [(3, 1, 10)]
    for name in ("day/part", "part_2"):
        delivered.s3.delete_object(Bucket=delivered.bucket, Key=f"_raw/.views/{name}")
    delivered.s3.delete_object(Bucket=delivered.bucket, Key="_raw/.views/part-4.gz")
    with pytest.raises(NotYet, match=r"no object under this prefix yet.*\(7 are empty, or leftovers"):
        delivered.load()


def test_a_step_that_fails_while_it_writes_leaves_no_cut_object(delivered: Night) -> None:
    uri = f"s3://{delivered.bucket}/written.gz"

    def fail_half_way() -> None:
        with objects.gzip_writer(delivered.s3, uri) as file:
            file.write(b"half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    with pytest.raises(NotYet):
        objects.find(delivered.s3, uri)
    with objects.gzip_writer(delivered.s3, uri) as file:
        file.write(b"all of it")
    assert gzip.decompress(delivered.object("written.gz")) == b"all of it"


def test_lines_that_can_not_be_read_are_kept_with_their_reason_and_the_others_go_on(delivered: Night) -> None:
    bad = {
        3: (b"ACME,p,impression", 'missing data for column "date"'),
        4: (b"ACME,p,impression,2024-11-20,more", "extra data after last expected column"),
        6: (b"ACME,p,impression,2024-13-45", "date/time field value out of range"),
        7: (b"ACME,p,hover,2024-11-20", "type_is_not_impression_or_click"),
        8: (b",p,click,2024-11-20", "advertiser_id is empty"),
        9: (b'ACME,"",click,2024-11-20', "product_id_is_not_1_to_64_bytes"),
        10: (b"ACME," + b"x" * 65 + b",click,2024-11-20", "product_id_is_not_1_to_64_bytes"),
        12: (b'ACME,"open,click,2024-11-20', "unterminated CSV quoted field"),
        13: (b"ACME,nul\x00,click,2024-11-20", 'invalid byte sequence for encoding "UTF8"'),
        14: (b"ACME,\xff\xfe,click,2024-11-20", 'invalid byte sequence for encoding "UTF8"'),
        15: (b"", 'missing data for column "product_id"'),
        17: (b"\\.", None),
        18: (b'ACME,"a', "unterminated CSV quoted field"),
        19: (b'"b",click,2024-11-20', None),
    }
    good = b"ACME,good,click,2024-11-20"
    lines = [b"advertiser_id,product_id,type,date"] + [bad.get(n, (good,))[0] for n in range(2, 21)]
    delivered.put("ads_views", b"\n".join(lines))
    delivered.change(max_rejected_share=1.0)
    delivered.load()
    kept = delivered.warehouse.rows(
        "SELECT line_number, reason, line FROM staging.rejected_lines WHERE source = 'ads_views' ORDER BY line_number"
    )
    assert {number: bytes(line) for number, _, line in kept} == {number: line for number, (line, _) in bad.items()}
    for number, reason, _ in kept:
        assert bad[number][1] in (reason, None), number
    first = {reason: (number, line) for number, reason, line in reversed(kept)}
    told = delivered.warehouse.rows(
        "SELECT reason, lines, uri, line_number, example::bytea FROM marts.rejected_reasons WHERE date = %s", DAY
    )
    assert {reason: (number, line) for reason, _, _, number, line in told} == first
    assert {(reason, lines) for reason, lines, *_ in told} == set(Counter(reason for _, reason, _ in kept).items())
    assert {uri for _, _, uri, *_ in told} == {delivered.settings.ads_views_uri}
    assert delivered.accounting("ads_views") == {
        "delivered": 19,
        "kept": 19 - len(bad),
        "other_day": 0,
        "inactive": 0,
        "rejected": len(bad),
    }


@pytest.mark.parametrize(
    ("trouble", "timed"),
    [
        ("", False),
        ("", True),
        ("a giant line", False),
        ("a line just too long", True),
        ("an empty line between long ones", True),
        ("not UTF-8", False),
    ],
)
def test_bad_lines_keep_their_numbers_in_a_log_of_many_pages(
    delivered: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str, timed: bool
) -> None:
    """Lines that repeat are landed in pages, and counted; where that can not be, the object is read line by line."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setattr("elt.lines.PORTION", 100_000)
    monkeypatch.setattr("elt.lines.COUNTED", 1)
    time = lambda n: f" {n % 24:02}:{n % 60:02}:{n % 59:02}" * timed  # noqa: E731
    events = [f"ACME,päge{n % 50},click,{DAY}{time(n)}".encode() for n in range(30_000)]
    bad = {3: b"nonsense", 4: b"", 4_711: b"nonsense", 20_000: b"long," + b"x" * 9_000, 30_001: b"ACME,ends"}
    bad |= {n: f"ACME,,click,{DAY}{time(n)}".encode() for n in (30, 25_000)}
    if trouble == "an empty line between long ones":
        bad |= {20_001: b"", 20_002: bad[20_000]}
    if trouble == "not UTF-8":
        bad[15_000] = b"\xc3"
    if trouble == "a giant line":
        bad[15_000] = b"giant," + b"x" * (LONGEST_LINE + 300_000)
    if trouble == "a line just too long":
        bad[15_000] = b"giant," + b"x" * LONGEST_LINE
    for number, line in bad.items():
        events[number - 2] = line
    delivered.put("ads_views", b"\n".join([b"advertiser_id,product_id,type,date", *events]))
    with caplog.at_level("INFO"):
        delivered.load()
    assert ("line by line" in caplog.text) is (trouble != "")
    kept = delivered.warehouse.rows(
        "SELECT line_number, line FROM staging.rejected_lines WHERE source = 'ads_views' ORDER BY line_number"
    )
    assert {number: bytes(line) for number, line in kept} == {n: line[:LONGEST_LINE] for n, line in bad.items()}
    assert delivered.accounting("ads_views")["kept"] == 30_000 - len(bad)
    clicks = delivered.warehouse.rows("SELECT sum(clicks) FROM staging.product_daily WHERE product_id LIKE 'päge%%'")
    assert clicks == [(30_000 - len(bad),)]


@pytest.mark.parametrize(
    ("log", "place"),
    [("advertiser_ids", 0), ("product_views", 0), ("product_views", 1), ("ads_views", 0), ("ads_views", 1)],
)
def test_an_id_has_1_to_64_bytes(delivered: Night, log: str, place: int) -> None:
    header, good = {
        "advertiser_ids": ("advertiser_id", ["ACME"]),
        "product_views": ("advertiser_id,product_id,date", ["ACME", "p", DAY]),
        "ads_views": ("advertiser_id,product_id,type,date", ["ACME", "p", "click", DAY]),
    }[log]
    ids = ["x", "x" * 64, "ä" * 32, "", '""', "x" * 65, "ä" * 32 + "x"]
    lines = [",".join([*good[:place], value, *good[place + 1 :]]) for value in ids]
    # A further column, or an empty id would be a line without any value.
    delivered.put(log, "\n".join([f"{header},more", ",".join([*good, "."]), *(f"{line},." for line in lines)]))
    delivered.change(max_rejected_share=1.0)
    delivered.load()
    kept = delivered.warehouse.rows("SELECT line_number FROM staging.rejected_lines ORDER BY 1")
    assert [number - 3 for (number,) in kept] == [3, 4, 5, 6]


def test_a_log_with_nothing_but_inactive_advertisers_on_the_day_is_not_late(delivered: Night) -> None:
    for log, line in (("ads_views", f"GONE,p,click,{DAY}"), ("product_views", f"GONE,p,{DAY}")):
        body = delivered.object(log)
        delivered.put(log, body.splitlines()[0] + b"\n" + line.encode())
        assert delivered.load() is True
        assert delivered.accounting(log) == {"delivered": 1, "kept": 0, "other_day": 0, "inactive": 1, "rejected": 0}
        delivered.put(log, body)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_log_whose_lines_repeat_is_counted_however_lines_end_and_bad_ones_among_them(
    delivered: Night, caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    """Line by line, every line that stands there often would be read as often."""
    lines = [*LINES * 100, b"nonsense", *LINES * 100, b"nonsense"]
    delivered.put("product_views", end.join([HEADER, *lines, b""]))
    with caplog.at_level("INFO"):
        delivered.load()
    assert "line by line" not in caplog.text
    assert views_of(delivered) == {f"p{n}": 200 for n in range(5)}
    kept = delivered.warehouse.rows("SELECT line_number, reason, line FROM staging.rejected_lines ORDER BY 1")
    assert [(number, bytes(line)) for number, _, line in kept] == [(502, b"nonsense"), (1_003, b"nonsense")]


def test_a_carriage_return_alone_ends_no_line(delivered: Night) -> None:
    """COPY would take the first one for every line's end, and so the line feed within quotes for a value's."""
    lines = [b'ACME,p1,2024-11-20\rACME,"p', b'2",2024-11-20']
    delivered.put("product_views", b"\n".join([HEADER, *lines]))
    delivered.change(max_rejected_share=1.0)
    with pytest.raises(NotYet, match="1 lines, 0 of other days, 1 unreadable"):
        delivered.load()
    kept = delivered.warehouse.rows("SELECT line FROM staging.rejected_lines ORDER BY line_number")
    assert [bytes(line) for (line,) in kept] == [b"\n".join(lines)]


def test_any_number_of_objects_are_counted_each_with_its_own_numbers(delivered: Night) -> None:
    """Counted, counted with a further column, read line by line (not UTF-8), counted again; without more locks."""
    good, bad = b"ACME,p1,click," + DAY.encode(), b"ACME,p1,hover," + DAY.encode()
    header = b"advertiser_id,product_id,type,date"
    parts = [
        [header, good, bad, good, good],
        [b"first," + header, b"1," + good, b"1," + good, b"1," + bad],
        [header, b"\xc3", good, bad],
        [header, bad, bad, good],
    ]
    for n, part in enumerate(parts):
        delivered.put(f"ads/{n}", b"\n".join(part))
    locks = []
    with delivered.warehouse.connect() as conn, conn.cursor() as cursor:
        conn.set_client_encoding("UTF8")
        found = objects.find(delivered.s3, f"s3://{delivered.bucket}/ads/")
        for times in (1, 1, 10):  # the first in a session was seen with fewer locks, of toast tables
            landed = land.land(cursor, delivered.s3, "ads_views", found * times)
            assert [(item.lines, item.rejected) for item in landed] == [(4, 1), (3, 1), (3, 2), (3, 2)] * times
            cursor.execute("SELECT sum(lines) FROM pg_temp.ads_views")
            assert cursor.fetchone() == (7 * times,)
            cursor.execute(
                "SELECT right(uri, 1)::integer, array_agg(DISTINCT line_number), count(*) FROM pg_temp.rejected_lines "
                "GROUP BY uri ORDER BY uri"
            )
            assert cursor.fetchall() == [
                (0, [3], times),
                (1, [4], times),
                (2, [2, 4], 2 * times),
                (3, [2, 3], 2 * times),
            ]
            cursor.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()")
            locks += cursor.fetchone()
            conn.rollback()
    assert locks[1] == locks[2]


def test_pages_leave_no_disk_behind_when_they_are_counted_or_given_up(
    delivered: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of their own for each object or portion would stay until the transaction ends, however many they are.

    COPY writes a thousand rows at a time, here of a page each: of fewer nothing is there when it fails.
    """
    monkeypatch.setattr("elt.lines.PORTION", 2_000_000)
    monkeypatch.setattr("elt.lines.COUNTED", 1)
    lines = [b"ACME,p1,click," + DAY.encode()] * 400_000
    for n, last in enumerate([b"", b"\xc3", b"\xc3"]):
        delivered.put(f"ads/{n}", b"\n".join([b"advertiser_id,product_id,type,date", *lines, last]))
    with delivered.warehouse.connect() as conn, conn.cursor() as cursor:
        conn.set_client_encoding("UTF8")
        files = []
        for item in objects.find(delivered.s3, f"s3://{delivered.bucket}/ads/"):
            land.land(cursor, delivered.s3, "ads_views", [item])
            cursor.execute("SELECT pg_relation_filenode('pg_temp.pages'), pg_table_size('pg_temp.pages') < 10000")
            files += cursor.fetchall()
    assert files == [(files[0][0], True)] * 3


def test_lines_that_can_not_be_read_are_counted_once_however_many_portions_there_are(
    delivered: Night, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Fifty different ones among five that can: in every portion again, they would be more than nine in ten."""
    monkeypatch.setattr("elt.lines.PORTION", 1)
    monkeypatch.setattr("elt.lines.COUNTED", 0)
    monkeypatch.setattr("elt.land.HOPELESS", 60)
    bad = [f"ACME,q{n},hover,{DAY}" for n in range(50)]
    lines = (bad + [f"ACME,p{n % 5},click,{DAY}" for n in range(10_000)]) * 5
    delivered.put("ads_views", "\n".join(["advertiser_id,product_id,type,date", *lines]))
    with caplog.at_level("INFO"):
        delivered.load()
    assert "line by line" not in caplog.text
    assert delivered.accounting("ads_views")["rejected"] == 250


@pytest.mark.parametrize("different", [5, 30])
def test_memory_is_flat_however_long_the_lines_are_that_can_not_be_read(
    delivered: Night, caplog: pytest.LogCaptureFixture, different: int
) -> None:
    """A few are remembered and looked for; an object with many is read line by line."""
    lines = [f"ACME,p{n % 5},click,{DAY}".encode() for n in range(60_000)]
    giants = [b"%d" % (n % different) + b"x" * 1_000_000 for n in range(30)]
    delivered.put("ads_views", b"\n".join([b"advertiser_id,product_id,type,date", *lines, *giants]))
    tracemalloc.start()
    try:
        with caplog.at_level("INFO"):
            delivered.load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert delivered.accounting("ads_views")["rejected"] == 30
    assert ("line by line" in caplog.text) is (different == 30)
    assert peak < 25_000_000


def test_however_many_sessions_land_a_log_and_wherever_the_counts_and_the_kept_lines_are_the_same(
    delivered: Night,
) -> None:
    """Objects of all sizes: one that repeats, one that hardly does and has a date that is none, one of nothing."""
    header = "advertiser_id,product_id,type,date"
    distinct = [f"ACME,p{n},click,{DAY} 10:00:00.{n}" for n in range(300)]
    parts = [
        [f"ACME,p{n % 9},impression,{DAY}" for n in range(900)],
        [*distinct[:150], "ACME,p1,click,2024-11-31", *distinct[150:]],
        [f" ACME,p{n},click,2024-11-19" for n in range(40)],
        [f"BOLT,p{n}, click,{DAY}" for n in range(3)],
        [f"ACME ,p1,impression,{DAY}"],
    ]
    for n, part in enumerate(parts):
        delivered.put(f"ads/{n}", "\n".join([header, *part]))
    delivered.put("ads/5.gz", gzip.compress(b""))
    delivered.change(ads_views_uri=f"s3://{delivered.bucket}/ads/", max_rejected_share=1.0)
    found = []
    elsewhere = delivered.warehouse.postgres.url(MASTER, "postgres")
    for sessions, places in [(1, None), (2, None), (3, f"{elsewhere},{elsewhere}"), (10, None)]:
        delivered.change(landing_sessions=sessions, landing_urls=places and SecretStr(places))
        delivered.load(reload=True)
        relations = [
            "TABLE staging.product_daily ORDER BY advertiser_id, product_id",
            "TABLE staging.accounting ORDER BY source",
            "SELECT uri, lines, rejected FROM staging.source_objects ORDER BY uri",
            "SELECT uri, line_number, reason, line FROM staging.rejected_lines ORDER BY uri, line_number",
        ]
        found.append(
            [delivered.warehouse.rows(relation) for relation in relations]
            + [delivered.object(f"intermediate/date={DAY}/{log}.csv.gz") for log in steps.LOGS]
        )
    assert all(one == found[0] for one in found)
    assert (date.fromisoformat(DAY), "ACME", "p1", 101, 1, 0) in found[0][0], "100 of one object, 1 of another"
    ads_kept = delivered.object(f"intermediate/date={DAY}/{steps.LOGS[-1]}.csv.gz")
    assert gzip.decompress(ads_kept).count(f"ACME,p1,impression,{DAY}\n".encode()) == 101
    assert delivered.accounting("ads_views") | {"kept": 1201, "other_day": 40, "rejected": 4} == (
        delivered.accounting("ads_views")
    )
    delivered.change(landing_urls=SecretStr(f"{elsewhere} postgresql://nobody:secret@127.0.0.1:1/nowhere"))
    with pytest.raises(psycopg2.OperationalError, match="port 1 failed") as away:
        delivered.load(reload=True)
    assert "secret" not in str(away.value)


@given(sizes=st.lists(st.integers(0, 10**9), min_size=1, max_size=40), sessions=st.integers(1, 12))
def test_objects_are_shared_out_by_their_bytes(sizes: list[int], sessions: int) -> None:
    delivered = [objects.SourceObject(f"s3://bucket/{n}", str(n), size) for n, size in enumerate(sizes)]
    shares = share_out(delivered, sessions)
    assert sorted((item for share in shares for item in share), key=lambda item: int(item.etag)) == delivered
    assert len(shares) == min(sessions, len(sizes))
    assert all(shares), "a session without an object is none"
    weights = [sum(item.size for item in share) for share in shares]
    assert max(weights) - min(weights) <= max(sizes)


def test_too_many_bad_lines_fail_the_day_with_counts_and_the_first_lines(delivered: Night) -> None:
    delivered.put("product_views", b"\n".join([HEADER, *LINES, *[b"ACME,p,20-11-2024x"] * 3, b"only one field"]))
    with pytest.raises(PipelineError) as failure:
        delivered.load()
    message = str(failure.value)
    assert "rejected_share.sql: broken" in message
    assert "lines=9, rejected=4" in message or "lines=Decimal('9'), rejected=Decimal('4')" in message
    assert "lines_with_this_reason=3" in message
    assert "first_line=7" in message
    assert "ACME,p,20-11-2024x" in message
    assert len(delivered.warehouse.rows("TABLE staging.rejected_lines")) == 4
    assert delivered.warehouse.rows("TABLE staging.product_daily") == []


def test_what_is_rejected_is_told_in_one_order_and_once(delivered: Night) -> None:
    """Objects that begin with the same bad line, reasons that are equally frequent."""
    for n in (3, 1, 2):
        delivered.put(f"views/{n}", b"\n".join([HEADER, b"x,y,z", b"x,y", b"x", *LINES]))
    delivered.change(product_views_uri=f"s3://{delivered.bucket}/views/")
    with pytest.raises(PipelineError) as failure:
        delivered.load()
    told = [line for line in str(failure.value).splitlines() if "reason=" in line]
    assert [line.split(", reason=")[1].split(", uri=")[0] for line in told] == [
        "'date_does_not_begin_with_a_day', lines_with_this_reason=3",
        "'missing data for column \"date\"', lines_with_this_reason=3",
        "'missing data for column \"product_id\"', lines_with_this_reason=3",
    ]
    assert all(f"/views/1', first_line={n}" in line for n, line in enumerate(told, 2))


@pytest.mark.parametrize("bad", [b"ACME,p,hover,%s", b"ACME,p,hover,%s 10:00", b"ACME,p,,2024-1120 %.0s"])
def test_a_bad_day_shows_among_good_ones_and_does_not_stop_them(delivered: Night, bad: bytes) -> None:
    """8 of the day's 10 lines, in a log of 100, or of 1,000 where the date is unreadable: it may be any day's."""
    other = [b"ACME,p1,impression,2024-11-19"] * (990 if b"1120" in bad else 90)
    lines = [*other, *[b"ACME,p1,impression,2024-11-20"] * 2, *[bad % DAY.encode()] * 8]
    delivered.put("ads_views", b"\n".join([b"advertiser_id,product_id,type,date", *lines]))
    with pytest.raises(PipelineError, match=r"rejected_share.sql: broken(?s:.*)source='ads_views', .*rejected=8"):
        delivered.load()
    days = delivered.warehouse.rows("SELECT DISTINCT line_date::text FROM staging.rejected_lines")
    assert days == [(None if b"1120" in bad else DAY,)]
    delivered.put("product_views", as_csv(("advertiser_id", "product_id", "date"), [("ACME", "p", "2024-11-19")]))
    assert delivered.load("2024-11-19") is True


def test_a_day_in_a_rejected_line_is_read_as_the_logs_spell_days(delivered: Night) -> None:
    dates = {"30/2/2024": None, "20/11/2024 ": DAY, "2024-11-20x": DAY, "11/20/2024": None, "2024-02-30": None}
    dates |= {"1/2/2024x": "2024-02-01", "120/11/2024": None, "x": None}
    lines = [f"ACME,p,{date},".encode() for date in dates]
    delivered.put("product_views", b"\n".join([HEADER, *LINES, *lines]))
    delivered.change(log_date_format="D/M/YYYY", max_rejected_share=1.0)
    delivered.load()
    found = "SELECT line_date::text FROM staging.rejected_lines ORDER BY line_number"
    assert [day for (day,) in delivered.warehouse.rows(found)] == list(dates.values())
    delivered.change(log_date_format="YYYY-MM-DD")
    delivered.load()
    iso = [day if "-" in date else None for date, day in dates.items()]
    assert [day for (day,) in delivered.warehouse.rows(found)] == iso


def test_a_blank_line_at_the_end_of_a_short_active_list_stops_nobody(delivered: Night) -> None:
    delivered.put("advertiser_ids", "advertiser_id\nACME\nBOLT\n\n \r\n")
    assert delivered.load() is True
    assert delivered.warehouse.rows("SELECT count(*) FROM staging.active_advertisers") == [(2,)]


def test_a_list_and_logs_that_have_no_advertiser_in_common_are_shown_side_by_side(delivered: Night) -> None:
    delivered.put("advertiser_ids", "advertiser_id\nACME.\nbolt\n")
    told = r"no active advertiser has an event on 2024-11-20.*\['ACME\.', 'bolt'\].*\['ACME', 'BOLT', 'GONE'\]"
    with pytest.raises(PipelineError, match=told):
        delivered.load()


def test_clicks_only_are_named(delivered: Night) -> None:
    active, views, ads = ordinary_logs()
    delivered.deliver(active, views, [row for row in ads if row[2] == "click"])
    with pytest.raises(PipelineError, match=r"ads_have_impressions\.sql: broken(?s:.*)impressions=.*0"):
        delivered.run()


def test_an_active_list_that_lost_most_of_its_advertisers_is_not_believed(delivered: Night) -> None:
    many = [f"A{n}" for n in range(10)]
    delivered.put("advertiser_ids", as_csv(("advertiser_id",), [(a,) for a in ["ACME", *many]]))
    rows = [row for day in ("2024-11-19", DAY) for row in ordinary_logs(day)[1]]
    delivered.put("product_views", as_csv(("advertiser_id", "product_id", "date"), rows))
    rows = [row for day in ("2024-11-19", DAY) for row in ordinary_logs(day)[2]]
    delivered.put("ads_views", as_csv(("advertiser_id", "product_id", "type", "date"), rows))
    delivered.load("2024-11-19")
    delivered.put("advertiser_ids", "advertiser_id\nACME\n")
    with pytest.raises(PipelineError, match=r"did_not_vanish.sql: broken(?s:.*)advertisers_then=11, advertisers_now=1"):
        delivered.load(DAY)
    delivered.change(max_advertiser_drop=1.0)
    assert delivered.load(DAY) is True


def test_the_active_list_is_compared_with_that_of_the_last_day_that_is_loaded(delivered: Night) -> None:
    """Half of it may go, not more; and the newest list before the day counts, however long ago it was."""
    days = ["2024-11-10", "2024-11-12", DAY]
    logs = [ordinary_logs(day) for day in days]
    for day, advertisers in zip(days, (9, 4, 2), strict=True):
        active = [("ACME", *(f"A{n}" for n in range(8)))[n] for n in range(advertisers)]
        delivered.deliver(active, [v for log in logs for v in log[1]], [a for log in logs for a in log[2]])
        delivered.change(max_advertiser_drop=1.0 if day == days[1] else 0.5)
        assert delivered.load(day) is True
    delivered.put("advertiser_ids", "advertiser_id\nACME\n")
    with pytest.raises(PipelineError, match=r"previous_day=.*2024, 11, 12.*advertisers_then=4, advertisers_now=1"):
        delivered.load(DAY)


def test_an_accounting_that_does_not_close_fails_the_day(delivered: Night) -> None:
    """No log is known that makes one; so the sums are made wrong."""
    delivered.load()
    delivered.warehouse.rows("UPDATE staging.accounting SET kept = kept - 1 WHERE source = 'ads_views'")
    with closing(delivered.warehouse.connect()) as conn, conn.cursor() as cursor:
        with pytest.raises(PipelineError, match=r"accounting_closes\.sql: broken(?s:.*)source='ads_views'") as failure:
            warehouse.audit(cursor, "load", ds=DAY, run_id="test", max_rejected_share=0, max_advertiser_drop=0)
    assert "product_views" not in str(failure.value)


def test_a_hopeless_object_is_given_up_early(delivered: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(land, "MOST_REJECTED", 3000)
    delivered.put("product_views", HEADER + b"\n" + b"nonsense\n" * 20_000)
    counted = r"gave up after 20,000 lines: 20,000 can not be read. By reason: \{.missing data.*20000\}. The first:"
    with pytest.raises(PipelineError, match=rf"{counted}\n *20,000 times: .*'nonsense'$"):
        delivered.load()
    mixed = b"".join(b"nonsense %d\nACME,p%d,2024-11-20\n" % (n, n) for n in range(20_000))
    delivered.put("product_views", HEADER + b"\n" + mixed)
    with pytest.raises(PipelineError, match=r"gave up after 6,000 lines: 3,000 can.*\n *line 2: .*e 0'(?:\n.*){4}$"):
        delivered.load()


@pytest.mark.parametrize(("of_each", "first"), [(1, b"ACME,p,2024-11-20\n"), (2, b"")])
def test_a_log_that_can_not_be_read_at_all_is_given_up_in_seconds_and_says_where_to_look(
    delivered: Night, of_each: int, first: bytes
) -> None:
    """Every line that is refused is an error in the server's log, which may not have the room for a log's."""
    server_log = delivered.warehouse.postgres.folder / "server.log"
    lines = [b"ACME,p%d,20/11/2024\n" % n for n in range(100_000 // of_each) for _ in range(of_each)]
    delivered.put("product_views", HEADER + b"\n" + first + b"".join(lines))
    before, started = server_log.stat().st_size, time.monotonic()
    with pytest.raises(PipelineError, match=r"gave up after 1,00\d lines: 1,000 can.*LOG_DATE_FORMAT") as failure:
        delivered.load()
    assert "line 3: date/time field value out of range: b'ACME,p" in str(failure.value)
    assert time.monotonic() - started < 60
    assert server_log.stat().st_size - before < 4_000_000
    delivered.put("product_views", HEADER + b"\n" + first + b"".join(lines).replace(b"ACME", b"x" * 65))
    with pytest.raises(PipelineError, match=r"advertiser_id_is_not_1_to_64_bytes.: 1000\}\. The first"):
        delivered.load()


FORGED = [
    b'ACME,p1,impression,2024-11-20,"shoes',
    b"ACME,evil,click,2024-11-20,",
    b"ACME,evil,impression,2024-11-20,",
    b'"',
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("repeated", [REPEATED, 0, NEVER])
def test_text_in_quotes_over_several_lines_is_one_event_and_its_lines_are_none(
    delivered: Night, monkeypatch: pytest.MonkeyPatch, end: bytes, repeated: float
) -> None:
    monkeypatch.setattr("elt.lines.REPEATED", repeated)
    ordinary = b"ACME,p2,impression,2024-11-20,tv"
    stray = b'ACME,p3,impression,2024-11-20,55" tv'
    broken = [b'ACME,p4,impression,2024-11-20,"a', b'ACME,p5,impression,2024-11-20,"b "c"', b"", *FORGED[1:]]
    unclosed = [b'ACME,p6,impression,2024-11-20,"cut off', ordinary]
    header = b"advertiser_id,product_id,type,date,query"
    lines = [header, ordinary, *FORGED, stray, ordinary, b'A,"p', b'7",hover,2024-11-20,', *broken, ordinary, *unclosed]
    delivered.put("ads_views", end.join([*lines, b""]))
    delivered.change(max_rejected_share=1.0)
    delivered.load()
    counts = delivered.warehouse.rows(
        "SELECT product_id, impressions, clicks FROM staging.product_daily WHERE impressions + clicks > 0 ORDER BY 1"
    )
    # After quotes that do not close as CSV says the next line is a line: 12 is broken, so 13 and what follows are not.
    assert counts == [("evil", 1, 1), ("p1", 1, 0), ("p2", 4, 0)]
    kept = delivered.warehouse.rows("SELECT line_number, line FROM staging.rejected_lines ORDER BY 1")
    assert [(number, bytes(line)) for number, line in kept] == [
        (7, stray),
        (9, end.join(lines[8:10])),
        (11, broken[0]),
        (12, broken[1]),
        (13, b""),
        (16, b'"'),
        (18, unclosed[0]),
    ]
    sums = delivered.accounting("ads_views")
    assert (sums["delivered"], sums["kept"], sums["rejected"]) == (14, 7, 7)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_text_in_quotes_that_is_longer_than_a_record_may_be_gives_the_object_up(delivered: Night, end: bytes) -> None:
    """Its lines would be events."""
    forged = [b"ACME,evil%d,click,2024-11-20," % (n % 50) for n in range(40_000)]
    first = b"ACME,p,impression,2024-11-20,tv"
    body = [b"advertiser_id,product_id,type,date,query", first, FORGED[0], *forged, b'","x"', first]
    assert sum(map(len, forged)) > LONGEST_LINE
    delivered.put("ads_views", end.join(body))
    with pytest.raises(PipelineError, match=r"ads_views: line 3: the text in quotes .* 1,048,576 bytes; no record may"):
        delivered.load()
    body[-2] = b'" x"'
    delivered.put("ads_views", end.join(body))
    delivered.load()
    assert delivered.accounting("ads_views")["rejected"] == 2, "a quote within a field closes nothing"


def test_quotes_that_stay_open_swallow_no_more_than_their_line(delivered: Night) -> None:
    """A writer was cut off within quotes: none of the lines after it is lost, however many come before a quote."""
    cut = b'ACME,p,click,2024-11-20,"cut off'
    lines = [b"ACME,p%d,click,2024-11-20,%s" % (n % 50, b"x" * 50) for n in range(30_000)]
    body = [b"advertiser_id,product_id,type,date,query", lines[0], cut, *lines[1:], b'ACME,p,click,2024-11-20,"x"']
    delivered.put("ads_views", b"\n".join(body))
    delivered.load()
    assert sum(map(len, lines)) > LONGEST_LINE
    assert delivered.accounting("ads_views")["kept"] == 30_001
    kept = delivered.warehouse.rows("SELECT line_number, line FROM staging.rejected_lines")
    assert [(number, bytes(line)) for number, line in kept] == [(3, cut)]


@pytest.mark.parametrize("repeated", [0, NEVER])
def test_a_time_with_an_offset_is_of_the_day_that_it_was_in_utc(
    delivered: Night, monkeypatch: pytest.MonkeyPatch, repeated: float
) -> None:
    monkeypatch.setattr("elt.lines.REPEATED", repeated)
    dates = {
        "2024-11-20T23:30:00-03:00": False,
        "2024-11-19T23:30:00-03:00": True,
        "2024-11-20T23:30:00+03:00": True,
        "2024-11-20T01:30:00+03:00": False,
        "2024-11-21 01:30:00+03": True,
        "2024-11-20 23:30:00 America/Sao_Paulo": False,
        "2024-11-20T23:59:59.999Z": True,
        "2024-11-20T23:59:59+00:00": True,
        "2024-11-20 23:59:59.999999": True,
        "2024-11-20": True,
        "20241120": True,
        "20/11/2024 23:30:00": True,
        "20/11/2024 23:30:00 -03:00": False,
    }
    rows = [("ACME", f"p{n:02}", date) for n, date in enumerate(dates)]
    delivered.put("product_views", as_csv(("advertiser_id", "product_id", "date"), rows))
    delivered.change(log_date_format="D/M/YYYY")
    delivered.load()
    assert views_of(delivered) == {f"p{n:02}": 1 for n, of_the_day in enumerate(dates.values()) if of_the_day}
    assert delivered.accounting("product_views")["other_day"] == sum(not of_the_day for of_the_day in dates.values())


@pytest.mark.parametrize("repeated", [0, NEVER])
def test_a_word_is_no_date_though_postgresql_knows_one(
    delivered: Night, monkeypatch: pytest.MonkeyPatch, repeated: float
) -> None:
    monkeypatch.setattr("elt.lines.REPEATED", repeated)
    day = str(date.today() - timedelta(1))
    words = [
        "yesterday",
        "now",
        "today",
        "tomorrow",
        "infinity",
        "-infinity",
        "epoch",
        "Yesterday",
        " yesterday",
        "NOW",
    ]
    words += ["10:00 yesterday", "yesterday 10:00", "2024-11-20 yesterday", "10:00-03 yesterday"]
    rows = [("ACME", "p", day), *(("ACME", f"w{n}", word) for n, word in enumerate(words))]
    delivered.put("product_views", as_csv(("advertiser_id", "product_id", "date"), rows))
    delivered.put("ads_views", as_csv(("advertiser_id", "product_id", "type", "date"), [("ACME", "p", "click", day)]))
    delivered.change(max_rejected_share=1.0)
    delivered.load(day)
    assert delivered.accounting("product_views", day) == {
        "delivered": 1 + len(words),
        "kept": 1,
        "other_day": 0,
        "inactive": 0,
        "rejected": len(words),
    }


def test_blanks_around_an_id_are_not_of_it(delivered: Night) -> None:
    blanks = [" ", "\t", "\xa0", " \xa0\t", "\n"]
    ids = ["{}", *(f"{blank}{{}}" for blank in blanks), *(f"{{}}{blank}" for blank in blanks)]
    delivered.put("advertiser_ids", as_csv(("advertiser_id",), [("ACME\xa0",), (" BOLT",), ("ACME",), ("in side",)]))
    views = [(ids[n].format("ACME"), ids[-n].format("p 0"), DAY) for n in range(len(ids))]
    views += [("in side", "x" * 64 + " " * 9, DAY), ("ACME", "\xa0", DAY), ("ACME", " ", DAY), ("\t", "p", DAY)]
    delivered.put("product_views", as_csv(("advertiser_id", "product_id", "date"), views))
    delivered.change(max_rejected_share=1.0)
    delivered.load()
    active = delivered.warehouse.rows("SELECT advertiser_id FROM staging.active_advertisers ORDER BY 1")
    assert active == [("ACME",), ("BOLT",), ("in side",)]
    counts = delivered.warehouse.rows(
        "SELECT advertiser_id, product_id, views FROM staging.product_daily WHERE views > 0 ORDER BY 1"
    )
    assert counts == [("ACME", "p 0", len(ids)), ("in side", "x" * 64, 1)]
    assert delivered.accounting("product_views")["rejected"] == 3
    kept = gzip.decompress(delivered.object(f"intermediate/date={DAY}/product_views.csv.gz")).decode()
    assert kept == as_csv(
        ("advertiser_id", "product_id", "date"), [("ACME", "p 0", DAY)] * len(ids) + [("in side", "x" * 64, DAY)]
    )


fields = st.one_of(
    st.sampled_from(
        [
            b"ACME",
            b"GONE",
            b"p1",
            b"impression",
            b"click",
            DAY.encode(),
            b"2024-11-19",
            b"2024-02-30",
            b"",
            b'"',
            b'""',
            b'"p,1"',
            b'"p',
            b'p"',
            b"\\.",
            b"\\N",
            b"NULL",
            b" ",
            b"\t",
            b"a" * 64,
            b"a" * 65,
            b"\x00",
            b"\xc3\xa9",
            b"\xc3",
            b"\r",
            b"2024-11-20 10:00",
            b"2024-11-20 23:59:59",
            b"2024-11-20 24:00:00",
            b"2024-02-30 10:00:00",
            b"2024-11-20T23:00:00Z",
            b"2024-11-20T23:00:00-03:00",
            b"yesterday",
            b"ACME ",
            b"\xc2\xa0p1",
        ]
    ),
    st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")),
)
good = st.sampled_from(
    [
        b"ACME,p1,click,2024-11-20",
        b"ACME,p2,impression,2024-11-20",
        b"GONE,p1,click,2024-11-20",
        b"ACME,p1,click,2024-11-19",
        b"ACME,p1,click,2024-11-20 23:59:59",
        b"ACME,p1,click,2024-11-20 00:00:00\r",
        b"ACME,p1,click,2024-11-19 23:59:59",
        b'ACME,"p\nACME,p2,click,2024-11-20\n",click,2024-11-20',
        b'ACME,"p\nACME,p2,click,2024-11-20 10:00:00\n",click,2024-11-20 10:00:00',
        b'ACME,"p1","click\nGONE,p1,click,2024-11-20',
    ]
)
fuzzed = st.lists(st.one_of(good, st.lists(fields, min_size=1, max_size=5).map(b",".join)), max_size=60)


@pytest.mark.chaos
@settings(max_examples=scale(10, 50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=fuzzed, end=st.sampled_from([b"\n", b""]), time=st.sampled_from([b"", b" 10:00:00", b"T10:00:00Z"]))
@example(lines=[b'ACME,"p', b'q",click,2024-11-20', b"ACME,p1,click,2024-11-20"], end=b"\n", time=b" 10:00:00")
@example(lines=[b"ACME,p1,click,2024-11-20", b"\\.", b"ACME,p1,click,2024-11-20"], end=b"\n", time=b" 10:00:00")
@example(
    lines=[b"ACME,\x01,click,2024-11-20", b"ACME,\x02,click,2024-11-20", b"ACME,p\x02,click,2024-11-20"],
    end=b"\n",
    time=b" 10:00:00",
)
@example(
    lines=[b"ACME,p1,click,2024-11-20\r", b"ACME,p1,click,2024-11-20", b"bad\r", b"bad", b"bad\r\r", b"\r"],
    end=b"\n",
    time=b" 10:00:00",
)
@example(lines=[b"bad", b""], end=b"\n", time=b" 10:00:00")
@example(
    lines=[b'ACME,"p', b'x","y', b'z",2024-11-20', b'ACME,"p', b'x","y', b"ACME,p2,click,2024-11-20"],
    end=b"\n",
    time=b" 10:00:00",
)
@example(
    lines=[b'ACME,"p\r', b"\r", b'q",click,2024-11-20\r', b'ACME,"p', b'q""",click,2024-11-20'],
    end=b"\n",
    time=b" 10:00:00",
)
@example(
    lines=[b'"', b"\\.", b'",p,click,2024-11-20', b'ACME,"p1",click,"2024-11-20', b'"'], end=b"\n", time=b" 10:00:00"
)
@example(lines=[b"ACME,p1,click,2024-11-20\r", b"ACME,p2,click,2024-11-20\r"], end=b"", time=b" 10:00:00")
def test_the_accounting_closes_whatever_is_delivered(
    delivered: Night, lines: list[bytes], end: bytes, time: bytes
) -> None:
    """Every record is either read as the event that it is by itself, or kept whole with a reason; counted or not.

    The first lines decide whether times of day are left out.
    """
    body = [
        b"advertiser_id,product_id,type,date",
        b"ACME,always,impression,2024-11-20" + time,
        *b"\n".join(lines).split(b"\n"),
    ]
    if not lines or (not end and not body[-1]):
        body.pop()  # an empty line without an end is none
    delivered.put("ads_views", b"\n".join(body) + end)
    delivered.change(max_rejected_share=1.0)
    outcomes = []
    for repeated in (REPEATED, 0, NEVER):  # as the lines decide, always counted, never
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("elt.lines.REPEATED", repeated)
            for size, value in (("lines.PORTION", 1), ("lines.COUNTED", 0), ("lines.PAGE", 16), ("copying.CHUNK", 32)):
                patch.setattr(f"elt.{size}", value)  # so that there are many portions
            delivered.load(reload=True)
        outcomes.append(
            delivered.warehouse.rows("TABLE staging.product_daily ORDER BY product_id, advertiser_id")
            + delivered.warehouse.rows(
                # Alone, the mark \. ends the data for COPY before PostgreSQL 18: then the reason is another one.
                "SELECT line_number, CASE WHEN line <> '\\x5c2e' THEN reason END, encode(line, 'escape') "
                "FROM staging.rejected_lines WHERE source = 'ads_views' ORDER BY 1"
            )
        )
    assert all(outcome == outcomes[0] for outcome in outcomes)
    sums = delivered.accounting("ads_views")
    expected = records(body[1:])
    assert sums["delivered"] == len(expected)
    assert sums["delivered"] == sums["kept"] + sums["other_day"] + sums["inactive"] + sums["rejected"]
    kept = dict(
        delivered.warehouse.rows("SELECT line_number, line FROM staging.rejected_lines WHERE source = 'ads_views'")
    )
    assert {number: bytes(line) for number, line in kept.items()} == {n: r for n, r in expected if event(r) is None}
    events = Counter(found for _, record in expected if (found := event(record)))
    clicks = delivered.warehouse.rows("SELECT advertiser_id, product_id, clicks FROM staging.product_daily")
    assert {(a, p): n for a, p, n in clicks if n} == {
        (a, p): n for (a, p, kind, day), n in events.items() if kind == "click" and day == DAY and a in ("ACME", "BOLT")
    }


def test_the_kept_logs_on_s3_are_of_the_same_load_as_the_counts(delivered: Night, monkeypatch) -> None:
    """A run is killed after it has written them, before it commits; then what was there before is delivered again."""
    before = ordinary_logs()
    delivered.load()
    keys = [f"intermediate/date={DAY}/{log}.csv.gz" for log in steps.LOGS]
    kept = [delivered.object(key) for key in keys]
    delivered.deliver(*ordinary_logs(shift=1))

    def killed_after_it(*arguments, **params):
        unload_repeated(*arguments, **params)
        if "ads_views" in arguments[3]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("elt.shares.unload_repeated", killed_after_it)
        with pytest.raises(KeyboardInterrupt):
            delivered.load()
    assert [delivered.object(key) for key in keys] != kept
    delivered.deliver(*before)
    delivered.load()
    assert [delivered.object(key) for key in keys] == kept
    assert not delivered.load(), "now they are"


def test_a_run_that_waited_for_the_day_loads_what_is_there_then(night: Night) -> None:
    """It would load its older listing over a fuller load."""
    active, views, ads = ordinary_logs()
    night.change(product_views_uri=f"s3://{night.bucket}/views/")
    night.deliver(active, [], ads)
    half = len(views) // 2
    header = ("advertiser_id", "product_id", "date")
    night.put("views/1", as_csv(header, views[:half]))
    with closing(night.warehouse.connect()) as conn, ThreadPoolExecutor(1) as pool:
        warehouse.lock_day(conn, DAY)
        waiting = pool.submit(night.load)
        while not night.warehouse.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert not waiting.done()
        night.put("views/2", as_csv(header, views[half:]))
        conn.close()
        assert waiting.result(60)
    assert night.accounting("product_views")["delivered"] == len(views)
