"""What the lists should be, in plain Python, apart from the SQL and written from the rules alone."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import floor
from re import ASCII, fullmatch

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


Events = dict[tuple[str, str, str], tuple[int, int, int]]
"""(date, advertiser, product): (impressions, clicks, views) of what was loaded."""

Rated = dict[str, dict[str, tuple[Fraction, Fraction, Fraction]]]
"""By advertiser and product, what DecayedCTR orders by: the rate, clicks above the mean, effective impressions."""


def decayed_ctr(day: str, active: Iterable[str], events: Events) -> Rated:
    """30 days, each weighing 2^(-age / 10) in whole thousandths; of products shown or viewed in the last 3 days.

    In exact fractions. An advertiser without an impression of such a product is absent.
    """
    rated: Rated = {}
    sums: dict[tuple[str, str], list[int]] = {}
    for (date, advertiser, product), (shown, clicked, viewed) in events.items():
        age = (dt.date.fromisoformat(day) - dt.date.fromisoformat(date)).days
        if advertiser in set(active) and 0 <= age < 30:
            w = floor(1000 * 2 ** (-age / 10) + 0.5)
            of = sums.setdefault((advertiser, product), [0, 0, 0, 0])
            of[0] += w * shown
            of[1] += w * w * shown
            of[2] += w * clicked
            of[3] += age < 3 and shown + viewed > 0
    for advertiser in {key[0] for key in sums}:
        trials: dict[str, tuple[Fraction, Fraction]] = {}
        for (of_advertiser, product), (n1, n2, k1, seen) in sums.items():
            if of_advertiser == advertiser and seen:
                n = Fraction(n1 * n1, n2) if n2 else Fraction(0)
                trials[product] = (min(Fraction(k1, n1), Fraction(1)) * n if n1 else Fraction(0)), n
        shown_ones = [(k, n) for k, n in trials.values() if n]
        if not shown_ones:
            continue
        none = Fraction(0)
        average = sum((k for k, _ in shown_ones), none) / sum((n for _, n in shown_ones), none)
        prior = prior_strength(average, shown_ones)
        mean = average
        if prior is not None:
            mean = sum((k / (n + prior) for k, n in shown_ones), none)
            mean /= sum((n / (n + prior) for _, n in shown_ones), none)
        rated[advertiser] = {
            product: (mean if prior is None or n + prior == 0 else (k + prior * mean) / (n + prior), k - n * average, n)
            for product, (k, n) in trials.items()
        }
    return rated


Entry = tuple[str, str]
"""Product, and what put it on the list."""


def recommended(
    day: str, active: Iterable[str], events: Events, decayed: dict[str, list[str]]
) -> dict[str, list[Entry]]:
    """By advertiser, the products that were clicked in the order of `decayed`, then the others by views of the day."""
    lists = {}
    days = [str(dt.date.fromisoformat(day) - dt.timedelta(age)) for age in range(30)]
    for advertiser in active:
        of = {p: [events.get((d, advertiser, p), (0, 0, 0)) for d in days] for _, a, p in events if a == advertiser}
        clicked = [p for p in decayed.get(advertiser, []) if any(clicks for _, clicks, _ in of[p])]
        late = [p for p in of if p not in decayed.get(advertiser, []) and any(c for _, c, _ in of[p][:3])]
        rest = {p for p in of if any(sum(counts) for counts in of[p][:3])} - {*clicked, *late}
        by_views = lambda ones: sorted(ones, key=lambda p: (-of[p][0][2], p.encode()))  # noqa: B023, E731
        entries = [(p, "DecayedCTR") for p in clicked]
        entries += [(p, "TopProduct" if of[p][0][2] else "Seen") for p in by_views(late) + by_views(rest)]
        if entries:
            lists[advertiser] = entries[:20]
    return lists


def prior_strength(mean: Fraction, trials: Sequence[tuple[int | Fraction, int | Fraction]]) -> Fraction | None:
    """Impressions that the mean counts for, given (clicks, impressions) of each product; None: infinitely many."""
    total, chance = sum(n for _, n in trials), mean * (1 - mean)
    spread = sum(n * (Fraction(k) / n - mean) ** 2 for k, n in trials)
    by_chance = chance * sum(1 - Fraction(n) / total for _, n in trials)
    by_difference = chance * sum((n - 1) * (1 - Fraction(n) / total) for _, n in trials)
    if by_difference == 0 or spread <= by_chance:
        return None
    return max(by_difference / (spread - by_chance) - 1, Fraction(0))


def _ordered(ids: Iterable[str]) -> list[str]:
    return sorted(ids, key=str.encode)


def records(lines: list[bytes]) -> list[tuple[int, bytes]]:
    """The lines after the header as records, each with the number of its first line: character by character.

    Text in quotes may go over lines if its quotes open and close a field. If they do not, the line stands for itself.
    """
    found, begin = [], 0
    while begin < len(lines):
        end = begin + _lines_of_record(lines[begin:])
        found.append((begin + 2, b"\n".join(lines[begin:end]).removesuffix(b"\r")))
        begin = end
    return found


def _lines_of_record(lines: list[bytes]) -> int:
    at, well_closed = "start of a field", 1
    for number, line in enumerate(lines, 1):
        for place in range(len(line)):
            here = line[place : place + 1]
            match at, here:
                case "start of a field", b'"':
                    at = "in quotes"
                case "in quotes", b'"':
                    at = "after a quote"
                case "after a quote", b'"':
                    at = "in quotes"
                case "in quotes", _:
                    pass
                case "field", b'"':
                    return number
                case "after a quote", b"\r" if place == len(line) - 1:
                    pass
                case "after a quote", b",":
                    well_closed = number
                    at = "start of a field"
                case "after a quote", _:
                    return well_closed
                case _, b",":
                    at = "start of a field"
                case _:
                    at = "field"
        if at != "in quotes":
            return number
    return well_closed


def event(record: bytes) -> AdEvent | None:
    """The ad event that a record is, with its day in UTC, or None when it can not be read. Dates are ISO here."""
    try:
        text = record.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return None
    fields: list[str | None] = [None]
    quoted, place = False, 0
    while place < len(text):
        here, place = text[place], place + 1
        if here == '"' and quoted and text[place : place + 1] == '"':
            fields[-1], place = (fields[-1] or "") + here, place + 1
        elif here == '"':
            fields[-1], quoted = fields[-1] or "", not quoted
        elif quoted or here not in ",\r\n":
            fields[-1] = (fields[-1] or "") + here
        elif here == ",":
            fields.append(None)
        else:
            return None
    if quoted or "\0" in text or len(fields) != 4 or None in fields:
        return None
    advertiser, product, kind, date = (field or "" for field in fields)
    advertiser, product = (value.strip(" \t\r\n\xa0") for value in (advertiser, product))
    if not all(1 <= len(value.encode()) <= 64 for value in (advertiser, product)) or kind not in (
        "impression",
        "click",
    ):
        return None
    date = date.strip(" \t\r\n\v\f")
    if not fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", date, ASCII):
        return None
    midnight = date[11:].startswith("24:00") and date[16:19] in ("", ":00")
    try:
        moment = dt.datetime.fromisoformat(date.replace("24:00", "00:00", 1) if midnight else date)
    except ValueError:
        return None
    day = (moment.astimezone(dt.UTC) if moment.tzinfo else moment) + dt.timedelta(days=midnight)
    return advertiser, product, kind, str(day.date())
