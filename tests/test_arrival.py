"""What arrives of a day: all of it or a part, in time or late, in its own delivery or in another."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from conftest import Night, as_csv

from elt import warehouse, withdrawals
from elt.errors import NotYet, PipelineError
from elt.settings import PROJECT
from elt.warehouse import lock_day
from local.sample import ad_events, make_world, view_events

pytestmark = pytest.mark.model_blind

FIRST = date(2024, 10, 7)
"""A Monday."""
LINES = 900
"""Of an ordinary day, in each log."""
WORLD = make_world(advertisers=20, products=5, inactive=0.2)
PARTS = 3
"""Objects of a delivery."""
HEADERS = {"product_views": "advertiser_id,product_id,date\n", "ads_views": "advertiser_id,product_id,type,date\n"}


@pytest.fixture
def daily(night: Night) -> Night:
    """A night whose logs have a prefix for every day."""
    return by_prefix(night)


def by_prefix(night: Night) -> Night:
    uris = {f"{log}_uri": f"s3://{night.bucket}/{{ds}}/{log}/" for log in HEADERS}
    night.change(advertisers_uri=f"s3://{night.bucket}/advertiser_ids", **uris)
    night.put("advertiser_ids", as_csv(("advertiser_id",), [(a,) for a in WORLD.active]))
    return night


def arrive(
    night: Night, day: date, lines: int, parts: range = range(PARTS), without: frozenset[str] = frozenset()
) -> None:
    """Delivers sample logs of so many lines; of their objects only these, and no line of the advertisers `without`."""
    for log, batches in (
        ("product_views", view_events(WORLD, day, lines)),
        ("ads_views", ad_events(WORLD, day, lines)),
    ):
        kept = [line for batch in batches for line in batch if line.partition(",")[0] not in without]
        for part in range(PARTS):
            night.s3.delete_object(Bucket=night.bucket, Key=f"{day}/{log}/part-{part}")
        for part in parts:
            night.put(f"{day}/{log}/part-{part}", HEADERS[log] + "".join(kept[part::PARTS]))


def ordinary(nights: int) -> Iterator[tuple[date, int]]:
    """Nights with their lines: weekends with three fifths, growth of 20 % in 40 nights, two holidays at 40 %."""
    chance = random.Random(1)
    for n in range(nights):
        lines = LINES * (1 + 0.2 * n / 40) * chance.gauss(1, 0.03)
        yield FIRST + timedelta(n), round(lines * (0.4 if n in (4, 23) else 0.6 if n % 7 in (5, 6) else 1))


@pytest.mark.timeout(180)
def test_forty_ordinary_nights_ring_nothing_and_a_part_of_a_night_is_held(daily: Night) -> None:
    *nights, (friday, lines), (saturday, fewer) = ordinary(48)
    assert (friday.weekday(), saturday.weekday()) == (4, 5)
    for day, lines_of_day in nights:
        arrive(daily, day, lines_of_day)
        assert daily.load(str(day)) is True
    assert len(nights) == 46
    half = frozenset(random.Random(1).sample(WORLD.active, len(WORLD.active) // 2))
    for day, whole in ((friday, lines), (saturday, fewer)):
        for how in ("10 % of the lines", "a third of the objects", "half of the advertisers"):
            arrive(
                daily,
                day,
                whole // 10 if how.startswith("10 %") else whole,
                range(1 if how.startswith("a third") else PARTS),
                half if how.startswith("half") else frozenset(),
            )
            with pytest.raises(NotYet, match=r"the_day_is_whole\.sql: broken: The day looks whole") as held:
                daily.load(str(day))
            assert "source='ads_views'" in str(held.value), how
            assert "source='product_views'" in str(held.value), how
            assert daily.warehouse.rows("SELECT FROM staging.loads WHERE date = %s", day) == []
        arrive(daily, day, whole)
        assert daily.load(str(day)) is True


@pytest.mark.parametrize(
    ("grows_on", "sale", "not_told"),
    [
        (None, (), [11]),
        (17, (), [11, 17, 18, 34]),
        (23, (), [11, 23, 24]),
        (30, (), [11, 30, 31]),
        (None, (25, 26), [11, 25, 26]),
    ],
)
def test_on_every_night_a_part_is_held_and_a_whole_day_passes(
    daily: Night, grows_on: int | None, sale: tuple[int, ...], not_told: list[int]
) -> None:
    """Counts of 40 nights: weekends, two holidays at 40 %, growth of 20 %, bit by bit or from one night on; nights with
    three times the lines, one of them before a holiday.

    When a third of the objects can not be told: in a sale; in the first two nights after all at once has grown, it
    looks like a holiday; so it does a week after one, when there is one such weekday more at most to compare with.
    """
    chance = random.Random(3)
    rang, missed = [], []
    limits = {"max_volume_drop": daily.settings.max_volume_drop, "max_silent_advertisers": 0.4}
    with closing(daily.warehouse.connect()) as conn, conn.cursor() as cursor:

        def counts(n: int, lines: float, advertisers: int) -> list[str]:
            """What the audit says of a night that has arrived so."""
            day = FIRST + timedelta(n)
            cursor.execute("DELETE FROM staging.accounting WHERE date = %s", (day,))
            cursor.execute(
                "INSERT INTO staging.accounting "
                "(date, source, delivered, kept, other_day, inactive, rejected, advertisers) "
                "SELECT %s, source, %s, %s, 0, 0, 0, %s FROM unnest(array['ads_views', 'product_views']) AS source",
                (day, round(lines), round(lines), advertisers),
            )
            cursor.execute(
                "INSERT INTO staging.active_advertisers SELECT %s, 'A' || n FROM generate_series(1, 50) AS n", (day,)
            )
            warehouse.run(cursor, "audits/arrival/the_day_is_whole", ds=str(day), **limits)
            found = [row[0] for row in cursor.fetchall()]
            cursor.execute("DELETE FROM staging.active_advertisers WHERE date = %s", (day,))
            return found

        for n in range(40):
            grown = (1.2 if n >= grows_on else 1) if grows_on else 1 + 0.2 * n / 40
            ordinary = 100_000 * grown * chance.gauss(1, 0.01) * (0.6 if n % 7 in (5, 6) else 1)
            ordinary *= 3 if n in sale else 1
            if n >= 7:
                assert counts(n, ordinary / 10, 48) == counts(n, ordinary, 24) == ["ads_views", "product_views"], n
                missed += [n] if counts(n, ordinary / 3, 48) == [] else []
            if counts(n, ordinary * (0.4 if n in (4, 27) else 1), chance.randint(46, 50)):
                rang.append(n)
    assert rang == []
    assert missed == not_told


def a_week(night: Night, lines: int = 100) -> date:
    """Loads a week of ordinary days, and returns the day after it."""
    for n in range(7):
        arrive(night, FIRST + timedelta(n), lines)
        night.load(str(FIRST + timedelta(n)))
    return FIRST + timedelta(7)


def test_what_is_held_says_the_figures_and_is_published_when_somebody_says_so(daily: Night) -> None:
    day = a_week(daily)
    arrive(daily, day, 36)
    with pytest.raises(NotYet) as held:
        daily.run(str(day))
    message = str(held.value)
    assert f"{day}: nothing was published:" in message
    assert "source='product_views', lines=36, usual_lines=100, max_volume_drop=Decimal('0.63')" in message
    assert "run it with the param incomplete (rebuild: --incomplete)" in message
    assert daily.warehouse.rows("TABLE marts.publications") == []
    assert daily.run(str(day), incomplete=True) != []
    assert daily.load(str(day)) is False, "what was accepted is not asked again"
    arrive(daily, day + timedelta(1), 37)
    assert daily.load(str(day + timedelta(1))) is True


def test_a_rebuild_holds_a_part_of_a_day_unless_it_is_told_and_a_fresh_history_rings_nothing(
    daily: Night, s3_url: str
) -> None:
    for n in range(8):
        arrive(daily, FIRST + timedelta(n), 30 if n == 7 else 100)
    uris = {f"{log.upper()}_URI": f"s3://{daily.bucket}/{{ds}}/{log}/" for log in HEADERS}
    last = str(FIRST + timedelta(7))
    command = [sys.executable, "-m", "elt", "rebuild", "--from", str(FIRST), "--to"]
    for end, expected in ((["--incomplete"], 0), ([], 1)):
        for table in ("loads", "accounting"):
            daily.warehouse.rows(f"DELETE FROM staging.{table} WHERE date = %s", last)
        done = subprocess.run(
            [*command, last, *end],
            env=os.environ | daily.environment(s3_url) | uris,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, done.stdout
        assert done.stdout.count("FAILED") == expected
    assert f"{last}  FAILED: {last}: nothing was published:\nsql/audits/arrival/the_day_is_whole.sql" in done.stdout


def test_nothing_is_usual_in_the_first_week(daily: Night) -> None:
    for n, lines in enumerate((400, 400, 400, 400, 200, 100, 40)):
        arrive(daily, FIRST + timedelta(n), lines)
        assert daily.load(str(FIRST + timedelta(n))) is True


def test_an_old_day_is_compared_with_the_days_before_it(daily: Night) -> None:
    """The business was a tenth of what it is."""
    day = a_week(daily, 40)
    for n in range(8, 12):
        arrive(daily, FIRST + timedelta(n), 400)
        daily.load(str(FIRST + timedelta(n)))
    arrive(daily, day, 40)
    assert daily.load(str(day)) is True
    arrive(daily, day, 4)
    with pytest.raises(NotYet, match="usual_lines=40"):
        daily.load(str(day))


def test_chance_in_little_logs_is_no_loss(daily: Night) -> None:
    day = a_week(daily, 10)
    arrive(daily, day, 1)
    assert daily.load(str(day)) is True


def test_three_advertisers_may_pause_by_themselves(daily: Night) -> None:
    daily.put("advertiser_ids", as_csv(("advertiser_id",), [(a,) for a in WORLD.active[:7]]))
    day = a_week(daily, 400)
    arrive(daily, day, 400, without=frozenset(WORLD.active[:3]))
    assert daily.load(str(day)) is True
    arrive(daily, day, 400, without=frozenset(WORLD.active[:4]))
    with pytest.raises(NotYet, match="advertisers=3, usual_advertisers=7"):
        daily.load(str(day))


def test_advertisers_that_left_the_active_list_are_not_missed(daily: Night) -> None:
    """Nearly half of the list went, as it may; who is left has events."""
    day = a_week(daily)
    left = WORLD.active[: len(WORLD.active) // 2 + 1]
    daily.put("advertiser_ids", as_csv(("advertiser_id",), [(a,) for a in left]))
    arrive(daily, day, 100)
    assert daily.load(str(day)) is True
    arrive(daily, day + timedelta(1), 200, without=frozenset(left[::2]))
    with pytest.raises(NotYet, match=r"advertisers=4, usual_advertisers=\d+, max_silent"):
        daily.load(str(day + timedelta(1)))


def test_a_day_loaded_before_advertisers_were_counted_is_no_measure_of_them(daily: Night) -> None:
    day = a_week(daily)
    daily.warehouse.rows("UPDATE staging.accounting SET advertisers = NULL, day_before = NULL, day_after = NULL")
    arrive(daily, day, 100, without=frozenset(WORLD.active[1:]))
    daily.change(max_volume_drop=1.0)
    assert daily.load(str(day)) is True


def test_lines_of_other_days_in_a_delivery_of_one_day_are_told(daily: Night, caplog: pytest.LogCaptureFixture) -> None:
    """Written around midnight: no other run reads them."""
    arrive(daily, FIRST, 30)
    spilled = [f"A,p,{FIRST + timedelta(n)}\n" for n in (-1, -1, 1, 2)]
    daily.put(f"{FIRST}/product_views/spilled", HEADERS["product_views"] + "".join(spilled))
    daily.load(str(FIRST))
    assert f"{FIRST}: product_views: 2 lines of the day before, 1 of the day after: counted for no day" in caplog.text
    assert "ads_views: 0 lines" not in caplog.text
    assert daily.warehouse.rows(
        "SELECT source, other_day, day_before, day_after FROM marts.data_quality WHERE kept > 0 ORDER BY source",
        role="recommendations_analyst",
    ) == [("ads_views", 0, 0, 0), ("product_views", 4, 2, 1)]


def test_lines_that_came_after_the_only_object_was_replaced_are_told(
    night: Night, caplog: pytest.LogCaptureFixture
) -> None:
    """One object for all days. While it grows, it holds the day before whole: that is no news."""
    active, header = ["ACME"], ("advertiser_id", "product_id", "date")
    day, after = str(FIRST), str(FIRST + timedelta(1))
    views = [("ACME", "p", day)] * 3
    night.deliver(active, views, [("ACME", "p", "click", day)])
    night.load(day)
    ads = [("ACME", "p", "click", d) for d in (day, after)]
    night.deliver(active, [*views, ("ACME", "p", after)], ads)
    night.load(after)
    assert "of the day before" not in caplog.text
    night.put("product_views", as_csv(header, [views[0], ("ACME", "p", after)]))
    night.load(after)
    assert f"{after}: product_views: 1 lines of the day before, 0 of the day after: counted for no day" in caplog.text


def test_a_delivery_is_whole_when_its_marker_is_there(daily: Night) -> None:
    day = str(FIRST)
    arrive(daily, FIRST, 30)
    daily.change(complete_marker="_SUCCESS")
    daily.put(f"{day}/product_views/_SUCCESS", b"")
    with pytest.raises(NotYet, match=r"/ads_views/_SUCCESS: no such object yet; it says that the delivery is whole"):
        daily.load(day)
    assert daily.load(day, incomplete=True) is True
    daily.put(f"{day}/ads_views/_SUCCESS", b"")
    assert daily.load(day, reload=True) is True
    assert daily.accounting("ads_views", day)["delivered"] == 30


def manifest(night: Night, log: str, **sizes: int) -> None:
    """Writes a manifest of the objects that are there, each with its size; `sizes` are other ones, or of others."""
    found = night.s3.list_objects_v2(Bucket=night.bucket, Prefix=f"{FIRST}/{log}/part")["Contents"]
    listed = {item["Key"].rpartition("/")[2]: item["Size"] for item in found} | sizes
    objects = [{"name": name, "size": size} for name, size in listed.items()]
    night.put(f"{FIRST}/{log}/manifest.json", json.dumps({"objects": objects, "written_by": "spark"}))


def test_a_manifest_names_every_object_with_its_size(daily: Night) -> None:
    day, log = str(FIRST), "ads_views"
    daily.change(complete_marker="manifest.json")
    arrive(daily, FIRST, 30)
    manifest(daily, "product_views")

    def refused(said: str, because_of: type[PipelineError] = NotYet) -> None:
        with pytest.raises(PipelineError, match=rf"/ads_views/manifest.json: {said}") as failure:
            daily.load(day)
        assert type(failure.value) is because_of

    refused("no such object yet; it says that the delivery is whole")
    manifest(daily, log, **{"part-0": 7, "part-3": 100})
    refused(r"s3://\S*/ads_views/part-3 is missing; s3://\S*/part-0 has [\d,]+ bytes, not 7$")
    manifest(daily, log)
    daily.put(f"{day}/{log}/part-3", HEADERS[log])
    refused(r"s3://\S*/ads_views/part-3 is not in it$")
    endless = '{"objects": [{"name": "part-0", "size": 1e999}]}'
    zipped = gzip.compress(b'{"objects": []}')
    for text in ("", "[]", '{"objects": [{"name": "part-0"}]}', endless, "[" * 100_000, zipped):
        daily.put(f"{day}/{log}/manifest.json", text)
        refused(r"not a manifest \(.*expected \{\"objects\"", PipelineError)
    manifest(daily, log)
    assert daily.load(day) is True
    assert daily.accounting(log, day)["delivered"] == 30
    assert daily.warehouse.rows("SELECT FROM staging.source_objects WHERE uri LIKE '%%manifest%%'") == []
    daily.s3.delete_object(Bucket=daily.bucket, Key=f"{day}/{log}/part-0")
    assert daily.load(day, incomplete=True) is True


def test_a_manifest_may_be_zipped(daily: Night) -> None:
    arrive(daily, FIRST, 30)
    for log in HEADERS:
        manifest(daily, log, **{"part-3": 100})
        listed = daily.object(f"{FIRST}/{log}/manifest.json")
        daily.put(f"{FIRST}/{log}/manifest.json.gz", gzip.compress(listed))
        daily.s3.delete_object(Bucket=daily.bucket, Key=f"{FIRST}/{log}/manifest.json")
    daily.change(complete_marker="manifest.json.gz")
    with pytest.raises(NotYet, match=r"/product_views/manifest.json.gz: s3://\S*/product_views/part-3 is missing$"):
        daily.load(str(FIRST))


def loads(night: Night) -> dict[str, str]:
    """The load that each day stands on."""
    return dict(night.warehouse.rows("SELECT date::text, load_id::text FROM staging.loads"))


def test_what_comes_late_is_found_by_the_next_night_and_its_day_is_run_again(daily: Night) -> None:
    days = [str(FIRST + timedelta(n)) for n in range(5)]
    for n in range(4):
        arrive(daily, FIRST + timedelta(n), 300)
        daily.run(days[n])
    before, stood = [daily.lists(day) for day in days], loads(daily)
    for day in (days[0], days[2]):
        late = [f"{WORLD.active[0]},late,{day}\n"] * 500
        daily.put(f"{day}/product_views/late", HEADERS["product_views"] + "".join(late))
    arrive(daily, FIRST + timedelta(4), 300)
    daily.run(days[4])
    assert {day for day, load in stood.items() if loads(daily)[day] != load} == {days[2]}, "the first is too long ago"
    assert daily.lists(days[0]) == before[0]
    assert (WORLD.active[0], 1, "late", 500) in daily.top_product(days[2])
    assert daily.warehouse.rows("TABLE marts.outdated_lists") == []
    stood = loads(daily)
    daily.run(days[4])
    assert loads(daily) == stood, "nothing came: nothing is run again"
    daily.change(late_days=4)
    daily.run(days[4])
    assert (WORLD.active[0], 1, "late", 500) in daily.top_product(days[0])


def test_a_late_day_that_can_not_be_published_stays_and_is_told_once_when_all_else_is_done(daily: Night) -> None:
    first, second, third, fourth = (str(FIRST + timedelta(n)) for n in range(4))
    arrive(daily, FIRST, 300)
    daily.run(first)
    arrive(daily, FIRST + timedelta(1), 300)
    daily.load(second)
    lists = daily.lists(first)
    daily.put(f"{first}/ads_views/late", "nonsense\n")
    daily.put(f"{second}/ads_views/late", HEADERS["ads_views"])
    arrive(daily, FIRST + timedelta(2), 300)
    with pytest.raises(PipelineError) as told:
        daily.run(third)
    assert str(told.value).startswith(
        f"{third} is published; after that:\nfailed: 1 of 1 days\n{first}, which was run again: "
        f"s3://{daily.bucket}/{first}/ads_views/late: no column"
    )
    assert not isinstance(told.value, NotYet), "a retry would fail the same way"
    assert daily.top_product(third) != []
    assert daily.object(f"intermediate/published/date={third}/TopCTR.csv.gz")
    assert daily.lists(first) == lists
    assert daily.top_product(second) == [], "never published: nobody asked for it"
    assert daily.run(third) == [], "it was told; nothing has come since"
    daily.put(f"{first}/ads_views/late", HEADERS["ads_views"] + f"{WORLD.active[0]},late,click,{first}\n" * 9)
    arrive(daily, FIRST + timedelta(3), 300)
    daily.run(fourth)
    assert daily.accounting("ads_views", first)["delivered"] == 309
    for log in HEADERS:
        for key in ("part-0", "part-1", "part-2", "late"):
            daily.s3.delete_object(Bucket=daily.bucket, Key=f"{first}/{log}/{key}")
    stood = loads(daily)
    daily.run(fourth)
    assert loads(daily) == stood, "what is deleted after a while did not come late"


def test_a_late_day_that_looks_like_a_part_is_told(daily: Night) -> None:
    """It was published; of one of its objects a tenth came again."""
    day = a_week(daily)
    arrive(daily, day, 100)
    daily.run(str(day))
    lists = daily.lists(str(day))
    arrive(daily, day, 10)
    arrive(daily, day + timedelta(1), 100)
    with pytest.raises(PipelineError, match=rf"{day}, which was run again: .*\n.*the_day_is_whole.*\n.*=10,"):
        daily.run(str(day + timedelta(1)))
    assert daily.lists(str(day)) == lists


def test_a_day_that_failed_for_good_is_run_when_its_logs_come(daily: Night) -> None:
    """Never published. Its logs came hours after the last retry, and nobody looks at that night any more."""
    missing, first, second, third = (str(FIRST + timedelta(n)) for n in range(4))
    with pytest.raises(NotYet, match="no object under this prefix yet"):
        daily.load(missing)
    arrive(daily, FIRST + timedelta(1), 300)
    daily.run(first)
    assert daily.top_product(missing) == [], "there is nothing of it yet"
    arrive(daily, FIRST, 300)
    daily.put(f"{missing}/ads_views/part-1", "nonsense\n")
    arrive(daily, FIRST + timedelta(2), 300)
    with pytest.raises(PipelineError, match=rf"{missing}, which was run again: .*part-1: no column"):
        daily.run(second)
    assert daily.run(second) == [], "told once"
    arrive(daily, FIRST, 300)
    arrive(daily, FIRST + timedelta(3), 300)
    daily.run(third)
    assert [daily.accounting(log, missing)["delivered"] for log in HEADERS] == [300, 300]
    assert daily.top_product(missing) != []
    assert daily.warehouse.rows("TABLE marts.outdated_lists") == []


@contextmanager
def slow_down(night: Night, *days: str) -> Iterator[None]:
    """S3 answers so when a model of the days is written."""

    def answer(params: dict[str, str], **_: Any) -> None:
        if any(f"date={day}/Top" in params["Key"] for day in days):
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "reduce"}}, "CreateMultipartUpload")

    events = night.s3.meta.events
    events.register("before-parameter-build.s3.CreateMultipartUpload", answer)
    try:
        yield
    finally:
        events.unregister("before-parameter-build.s3.CreateMultipartUpload", answer)


@pytest.mark.usefixtures("nobody_reads")
def test_a_late_day_that_was_loaded_and_not_published_is_found_again(daily: Night) -> None:
    """S3 was away just then, or the run was killed: the load has made known what came late."""
    missing, first, second, third = (str(FIRST + timedelta(n)) for n in range(4))
    with pytest.raises(NotYet, match="no object under this prefix yet"):
        daily.load(missing)
    arrive(daily, FIRST + timedelta(1), 50)
    daily.run(first)
    arrive(daily, FIRST, 50)
    late = HEADERS["product_views"] + f"{WORLD.active[0]},late,{first}\n" * 50
    daily.put(f"{first}/product_views/late", late)
    arrive(daily, FIRST + timedelta(2), 50)
    with slow_down(daily, missing, first), pytest.raises(NotYet) as told:
        daily.run(second)
    assert f"{second} is published; after that:\nfailed: 2 of 2 days" in str(told.value)
    assert str(told.value).count("S3 answered SlowDown") == 2
    assert daily.top_product(missing) == []
    arrive(daily, FIRST + timedelta(3), 50)
    for log in HEADERS:
        for part in ("part-0", "part-1", "part-2"):
            daily.s3.delete_object(Bucket=daily.bucket, Key=f"{missing}/{log}/{part}")
    daily.run(third)
    assert daily.top_product(missing) != [], "what is loaded is ranked, whatever has become of its logs"
    assert (WORLD.active[0], 1, "late", 50) in daily.top_product(first)
    assert daily.warehouse.rows("TABLE staging.days_set_aside") == []
    # Loaded anew, and kept from being published by an audit: that was told.
    daily.put(f"{first}/product_views/late", late + late.splitlines()[1])
    daily.load(first)
    daily.rank(first)
    daily.warehouse.rows("UPDATE models.candidates SET product_id = 'invented' WHERE date = %s AND rank = 1", first)
    with pytest.raises(PipelineError, match="products_had_events"):
        daily.publish(first)
    daily.run(third)
    assert daily.warehouse.rows("SELECT date::text FROM staging.days_set_aside") == [(first,)]


def test_a_day_that_an_audit_holds_or_somebody_withdrew_or_is_loading_is_left_alone(
    daily: Night, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse, "LOCK_TIMEOUT", "2s")
    day = a_week(daily)
    arrive(daily, day, 10)
    with pytest.raises(NotYet, match="the_day_is_whole"):
        daily.load(str(day))
    for n in (1, 2):
        arrive(daily, day + timedelta(n), 100)
    daily.run(str(day + timedelta(1)))
    assert "running it again" not in caplog.text, "it is what it was when it was held"
    arrive(daily, day, 100)
    with closing(daily.warehouse.connect()) as somebody:
        lock_day(somebody, str(day))
        daily.run(str(day + timedelta(2)))
    assert daily.top_product(str(day)) == []
    assert "running it again" not in caplog.text
    daily.run(str(day + timedelta(2)))
    assert daily.top_product(str(day)) != []
    withdrawals.withdraw(str(day), daily.warehouse.connect, why="test", by="test")
    daily.put(f"{day}/ads_views/part-1", "nonsense\n")
    with pytest.raises(PipelineError, match="no column"):
        daily.load(str(day))
    arrive(daily, day, 120)
    daily.run(str(day + timedelta(2)))
    assert daily.top_product(str(day)) == []


def test_a_day_that_came_a_night_late_into_one_object_for_all_days_is_run_then(night: Night) -> None:
    first, second, third = (str(FIRST + timedelta(n)) for n in range(3))

    def deliver(*days: str) -> None:
        ads = [("ACME", "p", kind, day) for day in days for kind in ("click", "impression")]
        night.deliver(["ACME"], [("ACME", "p", day) for day in days], ads)

    deliver(third)
    with pytest.raises(NotYet, match=f"no line of {first} yet"):
        night.load(first)
    deliver(second)
    night.run(second)
    assert night.top_product(first) == []
    deliver(first, second, third)
    night.run(third)
    assert night.top_product(first) == [], "of the day before it is told apart, of days before that it is not"
    night.load(second, reload=True)
    night.run(second)
    assert night.top_product(first) != []


def test_lines_that_come_late_into_one_object_for_all_days_run_their_day_again(night: Night) -> None:
    header, ads = ("advertiser_id", "product_id", "date"), ("ACME", "p", "impression")
    day, after, last = (str(FIRST + timedelta(n)) for n in range(3))
    views = [("ACME", "p", day)] * 3
    night.deliver(["ACME"], views, [(*ads, day)])
    night.run(day)
    stood = loads(night)
    views += [("ACME", "p", after)]
    night.deliver(["ACME"], views, [(*ads, day), (*ads, after)])
    night.run(after)
    assert loads(night)[day] == stood[day], "it has grown, as every night, but not of that day"
    night.put("product_views", as_csv(header, [*views, ("ACME", "late", after), ("ACME", "p", last)]))
    night.put(
        "ads_views", as_csv(("advertiser_id", "product_id", "type", "date"), [(*ads, d) for d in (day, after, last)])
    )
    night.run(last)
    assert night.top_product(after) == [("ACME", 1, "late", 1), ("ACME", 2, "p", 1)]
    assert loads(night)[day] == stood[day]
