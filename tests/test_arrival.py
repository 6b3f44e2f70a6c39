"""What arrives of a day: all of it or a part, in time or late, in its own delivery or in another."""

import random
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from conftest import Night, as_csv

from elt.errors import NotYet
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


def few_days(night: Night, days: int, lines: int = 100) -> date:
    """Loads that many days before the day that it returns."""
    for n in range(days):
        arrive(night, FIRST + timedelta(n), lines)
        night.load(str(FIRST + timedelta(n)))
    return FIRST + timedelta(days)


def test_what_is_held_says_the_figures_and_is_published_when_somebody_says_so(daily: Night) -> None:
    day = few_days(daily, 3)
    arrive(daily, day, 37)
    with pytest.raises(NotYet) as held:
        daily.run(str(day))
    message = str(held.value)
    assert f"{day}: nothing was published:" in message
    assert "source='product_views', lines=37, usual_lines=100, max_volume_drop=Decimal('0.62')" in message
    assert "run it with the param incomplete (rebuild: --incomplete)" in message
    assert daily.warehouse.rows("TABLE marts.publications") == []
    assert daily.run(str(day), incomplete=True) != []
    assert daily.load(str(day)) is False, "what was accepted is not asked again"
    arrive(daily, day + timedelta(1), 38)
    assert daily.load(str(day + timedelta(1))) is True


def test_nothing_is_usual_in_the_first_three_days(daily: Night) -> None:
    for n, lines in enumerate((400, 200, 40)):
        arrive(daily, FIRST + timedelta(n), lines)
        assert daily.load(str(FIRST + timedelta(n))) is True


def test_an_old_day_is_compared_with_the_days_before_it(daily: Night) -> None:
    """The business was a tenth of what it is."""
    for n in range(8):
        arrive(daily, FIRST + timedelta(n), 40 if n < 4 else 400)
        daily.load(str(FIRST + timedelta(n)))
    assert daily.load(str(FIRST + timedelta(3)), reload=True) is True
    arrive(daily, FIRST + timedelta(3), 4)
    with pytest.raises(NotYet, match="usual_lines=40"):
        daily.load(str(FIRST + timedelta(3)))


def test_advertisers_that_left_the_active_list_are_not_missed(daily: Night) -> None:
    """Nearly half of the list went, as it may; who is left has events."""
    day = few_days(daily, 3)
    left = WORLD.active[: len(WORLD.active) // 2 + 1]
    daily.put("advertiser_ids", as_csv(("advertiser_id",), [(a,) for a in left]))
    arrive(daily, day, 100)
    assert daily.load(str(day)) is True
    arrive(daily, day + timedelta(1), 200, without=frozenset(left[::2]))
    with pytest.raises(NotYet, match=r"advertisers=4, usual_advertisers=\d+, max_silent"):
        daily.load(str(day + timedelta(1)))


def test_a_day_loaded_before_advertisers_were_counted_is_no_measure_of_them(daily: Night) -> None:
    day = few_days(daily, 3)
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
