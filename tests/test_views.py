"""The views that analysts look at first, against plain Python that knows only what was delivered."""

import gzip
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from chaos import scale
from conftest import DAY, Night, as_csv, ordinary_logs
from oracle import AdEvent, View, smoothed_ctr, top_ctr, top_product
from statistics_oracle import Published, change, events, headline, outcome

from elt import sql

ADVERTISERS = ["ACME", "BOLT", "acme", "ÄTNA"]
PRODUCTS = [f"p{n:02}" for n in range(23)] + ["ä"]
FIGURES = {
    "SmoothedCTR": ("smoothed_ctr", "clicks", "impressions"),
    "TopCTR": ("ctr", "clicks", "impressions"),
    "TopProduct": ("views",),
}
"""The models of whose lists the oracle knows what they should be, and the figures that it gives of them."""
WINDOW = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(5)]

HEADERS = {
    "advertiser_ids": "advertiser_id",
    "product_views": "advertiser_id,product_id,date",
    "ads_views": "advertiser_id,product_id,type,date",
}
UNREADABLE = {
    "advertiser_ids": "x" * 65,
    "product_views": "ACME,p00,2024-13-45",
    "ads_views": f"ACME,p00,hover,{DAY}",
}


@dataclass
class Delivery:
    """What came for a day, and how: the objects of each source, their bytes as they are on S3."""

    day: str
    active: list[str]
    views: list[View]
    ads: list[AdEvent]
    rejected: dict[str, int]
    objects: dict[str, list[bytes]] = field(default_factory=dict)

    def counts(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """(advertiser, product): (impressions, clicks, views) of the day, of the active ones with an event."""
        seen: Counter[tuple[str, str, str]] = Counter()
        for advertiser, product, kind, day in [*self.ads, *((a, p, "view", d) for a, p, d in self.views)]:
            if day == self.day and advertiser in self.active:
                seen[advertiser, product, kind] += 1
        return {(a, p): (seen[a, p, "impression"], seen[a, p, "click"], seen[a, p, "view"]) for a, p, _ in seen}

    def quality(self, source: str) -> tuple[Any, ...]:
        """The row of marts.data_quality."""
        logs: dict[str, list[Any]] = {
            "advertiser_ids": list(self.active),
            "product_views": [*self.views],
            "ads_views": [*self.ads],
        }
        lines = logs[source]
        rejected, of_the_day = self.rejected[source], [line for line in lines if line[-1] == self.day]
        kept = sum(line[0] in self.active for line in of_the_day)
        sums: tuple[int | None, ...] = (kept, len(lines) - len(of_the_day), len(of_the_day) - kept)
        if source == "advertiser_ids":
            sums = None, None, None
        objects, delivered = self.objects[source], len(lines) + rejected
        size = sum(map(len, objects))
        return self.day, source, len(objects), size, delivered, *sums, rejected, pytest.approx(rejected / delivered)


def make_delivery(chance: random.Random, day: str) -> Delivery:
    active = ["ACME", *(a for a in ADVERTISERS[1:] if chance.random() < 0.7)]
    # A log without any event of the day is a failed delivery, which is another test's story.
    views, ads = [("ACME", "p00", day)], [("ACME", "p00", "impression", day)]
    most = chance.choice([2, 40])
    for advertiser in ADVERTISERS:
        for product in chance.sample(PRODUCTS, chance.choice([0, 1, 19, 24])):
            shown = chance.randint(0, most)
            ads += [(advertiser, product, "impression", day)] * shown
            ads += [(advertiser, product, "click", day)] * chance.randint(0, 1 + shown // 4)
            views += [(advertiser, product, day)] * chance.randint(0, 3)
        for other in chance.choices(WINDOW, k=3):
            ads.append((advertiser, "other", "click", other))
            views.append((advertiser, "other", other))
    delivery = Delivery(day, active, views, ads, {source: chance.choice([0, 0, 1, 7]) for source in HEADERS})
    for source, rows in (("advertiser_ids", [(a,) for a in active]), ("product_views", views), ("ads_views", ads)):
        lines = as_csv(HEADERS[source].split(","), rows).splitlines()[1:]
        lines += [UNREADABLE[source]] * delivery.rejected[source]
        chance.shuffle(lines)
        parts = chance.choice([1, 1, 2, 3])
        bodies = ["\n".join([HEADERS[source], *lines[n::parts], ""]).encode() for n in range(parts)]
        delivery.objects[source] = [bodies[0], *(gzip.compress(body) for body in bodies[1:])]
    return delivery


def deliver(night: Night, delivery: Delivery) -> None:
    """In place of what came for the day before."""
    for key in keys(night, delivery.day):
        night.s3.delete_object(Bucket=night.bucket, Key=key)
    for source, bodies in delivery.objects.items():
        for n, body in enumerate(bodies):
            night.put(f"{delivery.day}/{source}/{n}" + ".gz" * (n > 0), body)


def keys(night: Night, prefix: str) -> list[str]:
    return [item["Key"] for item in night.s3.list_objects_v2(Bucket=night.bucket, Prefix=prefix).get("Contents", [])]


def lists_of(day: str, loaded: dict[str, Delivery]) -> dict[str, list[tuple[Any, ...]]]:
    """Per model (advertiser, rank, product, score, further figures) as they should be published."""
    now = loaded[day]
    counts = {(d, *key): row[:2] for d, delivery in loaded.items() for key, row in delivery.counts().items()}
    return {
        "SmoothedCTR": smoothed_ctr(day, now.active, counts),
        "TopCTR": top_ctr(day, now.active, now.ads),
        "TopProduct": top_product(day, now.active, now.views),
    }


def as_published(day: str, loaded: dict[str, Delivery]) -> Published:
    published = Published(set(loaded[day].active), loaded[day].counts())
    for model, rows in lists_of(day, loaded).items():
        for advertiser, _, product, *_ in rows:
            published.lists[model].setdefault(advertiser, []).append(product)
    return published


def glance(published: dict[str, Published], model: str) -> tuple[Any, ...]:
    """The row of marts.latest_day, without what it says of the publication itself."""
    day = max(published)
    now, yesterday = published[day], str(date.fromisoformat(day) - timedelta(1))
    lists = now.lists[model]
    changes = [c["replaced_share"] for a in lists if (c := change(published, day, model, a))]
    before = published[yesterday].lists[model] if yesterday in published else {}
    evaluated = None, None
    if chosen := [advertiser for advertiser in before if advertiser in now.active]:
        found = headline(outcome(before, now, chosen, now.active))
        evaluated = found["lift"] and about(found["lift"]), found["meaningful"]
    sums = events(now, None)
    return (
        day,
        model,
        len(now.active),
        len(lists),
        sum(len(products) == 20 for products in lists.values()),
        sum(len(products) for products in lists.values()),
        about(sum(changes) / len(changes)) if changes else None,
        *evaluated,
        *(sums[name] for name in ("impressions", "clicks", "views")),
        next(m.version for m in sql.models() if m.name == model),
        "test",
    )


def about(figure: Any) -> Any:
    """To 3 digits: expected clicks, often less than one, are rounded to 6 decimals in between."""
    return pytest.approx(float(figure), rel=1e-3, abs=2e-6)


def ask(night: Night, query: str, *params: Any) -> list[tuple[Any, ...]]:
    return night.warehouse.rows(query, *params, role="recommendations_analyst")


def product_daily(published: Iterable[str], loaded: dict[str, Delivery]) -> list[tuple[Any, ...]]:
    return [
        (day, *key, *row, row[1] / row[0] if row[0] else None)
        for day in sorted(published)
        for key, row in sorted(loaded[day].counts().items(), key=lambda item: [part.encode() for part in item[0]])
    ]


@pytest.mark.chaos
@pytest.mark.model_blind
@pytest.mark.parametrize("seed", range(scale(2, 10)))
def test_the_views_say_what_plain_python_counts_in_what_was_delivered(night: Night, seed: int) -> None:
    """Days in any order, some twice with other logs, one that is loaded and never published."""
    chance = random.Random(seed)
    night.change(max_rejected_share=1.0, max_advertiser_drop=1.0, max_volume_drop=1.0, max_silent_advertisers=1.0)
    night.change(
        advertisers_uri=f"s3://{night.bucket}/{{ds}}/advertiser_ids/",
        product_views_uri=f"s3://{night.bucket}/{{ds}}/product_views/",
        ads_views_uri=f"s3://{night.bucket}/{{ds}}/ads_views/",
    )
    never_published = chance.choice(WINDOW)
    loaded: dict[str, Delivery] = {}
    for day in chance.choices(WINDOW, k=6):
        loaded[day] = make_delivery(chance, day)
        deliver(night, loaded[day])
        if day == never_published:
            night.load(day)
            night.catch_up(day)
        else:
            night.run(day)
    days = set(loaded) - {never_published}
    published = {day: as_published(day, loaded) for day in days}
    newest = max(days)

    assert ask(
        night,
        "SELECT date::text, source, objects, size_bytes, delivered, kept, other_day, inactive, rejected, "
        "rejected_share FROM marts.data_quality ORDER BY date, source",
    ) == [loaded[day].quality(source) for day in sorted(loaded) for source in sorted(HEADERS)]

    assert ask(
        night,
        "SELECT date::text, advertiser_id, product_id, impressions, clicks, views, ctr FROM marts.product_daily "
        "ORDER BY 1, 2, 3",
    ) == product_daily(days, loaded)

    found = ask(
        night,
        "SELECT date::text, model, advertiser_id, rank, product_id, score, entry "
        "FROM marts.latest_recommendations WHERE model = ANY(%s) ORDER BY model, advertiser_id, rank",
        list(FIGURES),
    )
    expected = [(model, *row) for model, rows in lists_of(newest, loaded).items() for row in rows]
    assert [row[:6] for row in found] == [(newest, *row[:5]) for row in expected]
    for (*_, entry), (model, _, rank, product, *row) in zip(found, expected, strict=True):
        served = {"rank": rank, "product_id": product, **dict(zip(FIGURES[model], row, strict=True))}
        assert {name: entry[name] for name in served} == served

    found = ask(
        night,
        "SELECT date::text, model, active_advertisers, advertisers_with_list, advertisers_with_full_list, "
        "list_entries, replaced_share, lift_of_yesterdays_lists, lift_is_meaningful, impressions, clicks, views, "
        "sql_version, git_revision, published_at FROM marts.latest_day WHERE model = ANY(%s) ORDER BY model",
        list(FIGURES),
    )
    assert [row[:-1] for row in found] == [glance(published, model) for model in FIGURES]
    said = "SELECT published_at FROM marts.publications WHERE date = %s AND model = ANY(%s) ORDER BY model"
    assert [row[-1:] for row in found] == night.warehouse.rows(said, newest, list(FIGURES))


@pytest.mark.model_blind
def test_data_quality_says_where_every_line_of_every_object_went(delivered: Night) -> None:
    """Worked by hand. Of the ad events 3 are kept, 2 of another day, 1 of an inactive advertiser, 2 unreadable."""
    header, good = "advertiser_id,product_id,type,date", f"ACME,p,click,{DAY}"
    other, inactive = "ACME,p,click,2024-11-19", f"GONE,p,click,{DAY}"
    bodies = ["\n".join([header, good, good, other, "bad"]), "\n".join([header, good, other, inactive, "worse"])]
    for n, body in enumerate(bodies):
        delivered.put(f"ads/{n}", body)
    delivered.change(ads_views_uri=f"s3://{delivered.bucket}/ads/", max_rejected_share=0.34)
    delivered.load()
    active, views, _ = ordinary_logs()
    sizes = [len(delivered.object(key)) for key in ("advertiser_ids", "product_views")]
    assert ask(delivered, "TABLE marts.data_quality ORDER BY source") == [
        (date.fromisoformat(DAY), "ads_views", 2, sum(map(len, bodies)), 8, 3, 2, 1, 2, 0.25, 1, 2, 0, 0),
        (date.fromisoformat(DAY), "advertiser_ids", 1, sizes[0], 2, None, None, None, 0, 0.0, None, None, None, 0),
        (
            date.fromisoformat(DAY),
            "product_views",
            1,
            sizes[1],
            len(views),
            sum(view[0] in active for view in views),
            0,
            sum(view[0] == "GONE" for view in views),
            0,
            0.0,
            2,
            0,
            0,
            0,
        ),
    ]


def test_before_anything_is_published_the_views_of_what_is_published_are_empty(delivered: Night) -> None:
    delivered.load()
    delivered.rank()
    for view in ("latest_day", "latest_recommendations", "product_daily"):
        assert ask(delivered, f"TABLE marts.{view}") == [], view
    assert len(ask(delivered, "TABLE marts.data_quality")) == 3
