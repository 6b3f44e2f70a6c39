"""What the lists should be, in plain Python, apart from the SQL and written from the rules alone."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from math import floor

AdEvent = tuple[str, str, str, str]
"""advertiser_id, product_id, type, date."""

View = tuple[str, str, str]
"""advertiser_id, product_id, date."""

Rows = list[tuple[str, int, str]]


def top_ctr(day: str, active: Iterable[str], ads: Iterable[AdEvent]) -> list[tuple[str, int, str, float, int, int]]:
    """(advertiser, rank, product, rate, clicks, impressions) in order: clicks / impressions of the day; at most 20."""
    clicks: Counter[tuple[str, str]] = Counter()
    impressions: Counter[tuple[str, str]] = Counter()
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


Counts = dict[tuple[str, str, str], tuple[int, int]]
"""(date, advertiser, product): (impressions, clicks) of what was loaded."""


def smoothed_ctr(day: str, active: Iterable[str], counts: Counts) -> list[tuple[str, int, str, float, int, int]]:
    """(advertiser, rank, product, smoothed rate, clicks, impressions) in order: 7 days, shrunk to the mean; at most 20.

    In exact fractions. The variance between products is estimated by Kleinman's moments, weighted by impressions.
    """
    week = {str(dt.date.fromisoformat(day) - dt.timedelta(n)) for n in range(7)}
    impressions: Counter[tuple[str, str]] = Counter()
    clicks: Counter[tuple[str, str]] = Counter()
    for (date, advertiser, product), (shown, clicked) in counts.items():
        if date in week:
            impressions[advertiser, product] += shown
            clicks[advertiser, product] += clicked
    rows = []
    for advertiser in _ordered(set(active)):
        products = [key for key, shown in impressions.items() if key[0] == advertiser and shown]
        trials = [(min(clicks[key], impressions[key]), impressions[key]) for key in products]
        if not trials:
            continue
        mean = Fraction(sum(k for k, _ in trials), sum(n for _, n in trials))
        prior = prior_strength(mean, trials)
        ranked = []
        for key, (k, n) in zip(products, trials, strict=True):
            rate = mean if prior is None else (k + prior * mean) / (n + prior)
            rounded = Fraction(floor(rate * 10**9 + Fraction(1, 2)), 10**9)
            ranked.append((-rounded, n * mean - k, -n, key[1].encode(), key[1], clicks[key]))
        ranked.sort()
        rows += [(advertiser, rank, r[4], float(-r[0]), r[5], -r[2]) for rank, r in enumerate(ranked[:20], 1)]
    return rows


def prior_strength(mean: Fraction, trials: list[tuple[int, int]]) -> Fraction | None:
    """Impressions that the mean counts for, given (clicks, impressions) of each product; None: infinitely many."""
    total, chance = sum(n for _, n in trials), mean * (1 - mean)
    spread = sum(n * (Fraction(k, n) - mean) ** 2 for k, n in trials)
    by_chance = chance * sum(1 - Fraction(n, total) for _, n in trials)
    by_difference = chance * sum((n - 1) * (1 - Fraction(n, total)) for _, n in trials)
    if by_difference == 0 or spread <= by_chance:
        return None
    return max(by_difference / (spread - by_chance) - 1, Fraction(0))


def _ordered(ids: Iterable[str]) -> list[str]:
    return sorted(ids, key=str.encode)
