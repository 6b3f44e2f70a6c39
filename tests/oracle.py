"""What the lists should be, in plain Python, apart from the SQL and written from the rules alone."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

AdEvent = tuple[str, str, str, str]
"""advertiser_id, product_id, type, date."""

View = tuple[str, str, str]
"""advertiser_id, product_id, date."""

Rows = list[tuple[str, int, str]]


def top_ctr(day: str, active: Iterable[str], ads: Iterable[AdEvent]) -> list[tuple[str, int, str, float, int, int]]:
    """(advertiser, rank, product, rate, clicks, impressions) in order: clicks / impressions of the day; at most 20."""
    clicks, impressions = Counter(), Counter()
    for advertiser, product, kind, date in ads:
        if date == day:
            (clicks if kind == "click" else impressions)[advertiser, product] += 1
    rows = []
    for advertiser in _ordered(set(active)):
        rated = [
            (Fraction(clicks[key], shown), clicks[key], shown, key[1])
            for key, shown in impressions.items()
            if key[0] == advertiser
        ]
        rated.sort(key=lambda row: (-row[0], -row[1], row[2], row[3].encode()))
        rows += [(advertiser, rank, r[3], float(r[0]), r[1], r[2]) for rank, r in enumerate(rated[:20], 1)]
    return rows


def top_product(day: str, active: Iterable[str], views: Iterable[View]) -> list[tuple[str, int, str, int]]:
    """(advertiser, rank, product, views) in order: views of the day; at most 20."""
    seen = Counter((advertiser, product) for advertiser, product, date in views if date == day)
    rows = []
    for advertiser in _ordered(set(active)):
        ranked = sorted(
            ((count, key[1]) for key, count in seen.items() if key[0] == advertiser),
            key=lambda row: (-row[0], row[1].encode()),
        )
        rows += [(advertiser, rank, product, count) for rank, (count, product) in enumerate(ranked[:20], 1)]
    return rows


def _ordered(ids: Iterable[str]) -> list[str]:
    return sorted(ids, key=str.encode)
