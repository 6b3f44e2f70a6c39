"""What /stats and /advertisers should say, in plain Python, apart from the SQL, written from the definitions alone."""

import math
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from itertools import combinations
from statistics import correlation
from typing import Any

Products = list[str]
"""A list, best first."""


@dataclass
class Published:
    """What was published of a day."""

    active: set[str]
    counts: dict[tuple[str, str], tuple[int, int, int]]
    """(advertiser, product): (impressions, clicks, views)."""
    lists: dict[str, dict[str, Products]] = field(default_factory=lambda: defaultdict(dict))
    """Model: advertiser: list."""
    objects: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Source: (lines, those that could not be read) an object."""


def stats(published: dict[str, Published], day: str, limit: int) -> dict[str, Any]:
    """The answer of GET /stats?date=day&limit=limit, without what it says of the publication itself."""
    now, models = published[day], sorted(published[day].lists)
    pairs = [
        {"advertiser_id": advertiser, **agreement(now, pair, advertiser)}
        for pair in combinations(models, 2)
        for advertiser in most({a: Fraction(agreement(now, pair, a)["jaccard"]) for a in both(now, pair)}, limit)
    ]
    return {
        "date": day,
        "advertisers": len(now.active),
        "advertisers_with_lists": {model: len(now.lists[model]) for model in models},
        "advertisers_with_full_lists": {m: sum(len(p) == 20 for p in now.lists[m].values()) for m in models},
        "newest": max(published),
        "totals": totals(published, day, None),
        "lines": {
            source: dict(zip(("delivered", "rejected"), map(sum, zip(*objects, strict=True)), strict=True))
            for source, objects in now.objects.items()
        },
        "most_varying": {model: most_varying(published, day, model, limit) for model in models},
        "agreement": sorted(pairs, key=lambda p: (-p["jaccard"], p["advertiser_id"].encode(), p["models"])),
        "evaluation": {
            m: found for m in sorted(all_models(published)) if (found := evaluation(published, day, m, None))
        },
    }


def stats_of_advertiser(published: dict[str, Published], day: str, advertiser: str) -> dict[str, Any]:
    """The answer of GET /stats/advertiser?date=day, without what it says of the publication itself."""
    now, models = published[day], sorted(published[day].lists)
    return {
        "advertiser_id": advertiser,
        "date": day,
        "lists": {
            model: {
                "count": len(now.lists[model].get(advertiser, [])),
                **(
                    change(published, day, model, advertiser)
                    or dict.fromkeys(("replaced_share", "rank_weighted_change"))
                ),
                "week": variation(published, day, model, advertiser),
            }
            for model in models
        },
        "agreement": [
            agreement(now, pair, advertiser) for pair in combinations(models, 2) if advertiser in both(now, pair)
        ],
        "totals": totals(published, day, advertiser),
        "evaluation": {m: found for m in models if (found := evaluation(published, day, m, advertiser))},
    }


def advertisers(published: dict[str, Published], day: str, limit: int, after: str) -> dict[str, Any]:
    """The answer of GET /advertisers?date=day&limit=limit&after=after."""
    active = published[day].active
    page = [a for a in sorted(active, key=str.encode) if a.encode() > after.encode()][:limit]
    rows = [{"advertiser_id": a, **with_rate(events(published[day], a))} for a in page]
    return {"date": day, "active": len(active), "count": len(page), "advertisers": rows}


def most_varying(published: dict[str, Published], day: str, model: str, limit: int) -> list[dict[str, Any]]:
    advertisers = {advertiser for d in week(published, day) for advertiser in published[d].lists[model]}
    found = {a: change for a in advertisers if (change := variation(published, day, model, a))["days"]}
    figures = {a: (change["replaced_share"], change["rank_weighted_change"]) for a, change in found.items()}
    return [{"advertiser_id": advertiser, **found[advertiser]} for advertiser in most(figures, limit)]


def all_models(published: dict[str, Published]) -> set[str]:
    return {model for of_day in published.values() for model in of_day.lists}


def most(by: dict[str, Any], limit: int) -> list[str]:
    """The advertisers with the largest figures; ties in byte order."""
    ordered = sorted(by, key=str.encode)
    return sorted(ordered, key=lambda advertiser: by[advertiser], reverse=True)[:limit]


def week(published: dict[str, Published], day: str) -> list[str]:
    """The 7 published days that end with the day."""
    return sorted(d for d in published if d <= day)[-7:]


def both(now: Published, pair: tuple[str, str]) -> set[str]:
    return set(now.lists[pair[0]]) & set(now.lists[pair[1]])


def agreement(now: Published, pair: tuple[str, str], advertiser: str) -> dict[str, Any]:
    one, other = (now.lists[model][advertiser] for model in pair)
    common = [product for product in one if product in other]
    places = [[p for p in items if p in common].index(product) for items in (one, other) for product in common]
    half = len(common)
    return {
        "models": list(pair),
        "common": half,
        "jaccard": half / len({*one, *other}),
        "rank_correlation": correlation(places[:half], places[half:]) if half > 1 else None,
    }


def change(published: dict[str, Published], day: str, model: str, advertiser: str) -> dict[str, Fraction] | None:
    """How the list differs from that of the day on which the model was published before."""
    earlier = max((d for d in published if d < day and model in published[d].lists), default=None)
    new, old = (published[d].lists[model].get(advertiser) if d else None for d in (day, earlier))
    if not new or not old:
        return None
    depth = max(len(new), len(old))
    overlap = sum((Fraction(len(set(new[:d]) & set(old[:d])), d) for d in range(1, depth + 1)), Fraction()) / depth
    return {
        "replaced_share": Fraction(len(set(new) - set(old)), len(new)),
        "rank_weighted_change": round(1 - overlap, 6),
    }


def variation(published: dict[str, Published], day: str, model: str, advertiser: str) -> dict[str, Any]:
    found = [c for d in week(published, day) if (c := change(published, d, model, advertiser))]
    return {"days": len(found)} | {
        name: round(sum(c[name] for c in found) / len(found), 6) if found else None
        for name in ("replaced_share", "rank_weighted_change")
    }


def events(of_day: Published, advertiser: str | None) -> dict[str, Any]:
    rows = [row for (a, _), row in of_day.counts.items() if a in of_day.active and advertiser in (None, a)]
    impressions, clicks, views = (sum(row[n] for row in rows) for n in range(3))
    return {"products": len(rows), "impressions": impressions, "clicks": clicks, "views": views}


def with_rate(sums: dict[str, Any]) -> dict[str, Any]:
    return sums | {"ctr": sums["clicks"] / sums["impressions"] if sums["impressions"] else None}


def totals(published: dict[str, Published], day: str, advertiser: str | None) -> dict[str, Any]:
    """Of all active advertisers, or of one."""
    days = [d for d in week(published, day) if advertiser is None or advertiser in published[d].active]
    of_days = [events(published[d], advertiser) for d in days]
    sums = {name: sum(e[name] for e in of_days) for name in ("impressions", "clicks", "views")}
    today = with_rate(events(published[day], advertiser))
    if advertiser is None:
        del today["products"]
    return {"day": today, "week": {"from": week(published, day)[0], "days": len(days), **with_rate(sums)}}


def evaluation(published: dict[str, Published], day: str, model: str, one: str | None) -> dict[str, Any] | None:
    """What became of the lists of the 7 days before, those whose day after is published: of the newest, of all."""
    outcomes = {}
    for back in range(1, 8):
        listed = str(date.fromisoformat(day) - timedelta(back))
        after = str(date.fromisoformat(listed) + timedelta(1))
        if listed in published and after in published and model in published[listed].lists:
            lists = published[listed].lists[model]
            chosen = [a for a in lists if a in published[after].active and one in (None, a)]
            if chosen:
                outcomes[listed] = outcome(lists, published[after], chosen, published[listed].active)
    if not outcomes:
        return None
    newest = outcomes[max(outcomes)]
    summed = [name for name, value in newest.items() if not isinstance(value, list)]
    pooled = {name: sum(o[name] for o in outcomes.values()) for name in summed}
    rate = newest["clicks"] / newest["impressions"] if newest["impressions"] else None
    average = newest["expected"] / newest["impressions"] if newest["impressions"] else None
    if one is not None:
        average = newest["all_clicks"] / newest["all_impressions"] if newest["all_impressions"] else None
    return {
        "lists_of": max(outcomes),
        "ctr": rate,
        "average_ctr": average,
        **headline(newest),
        **against_not_listed(newest, one),
        "week": {"days": len(outcomes), **headline(pooled)},
    }


def outcome(
    lists: dict[str, Products], after: Published, advertisers: list[str], active: Collection[str]
) -> dict[str, Any]:
    sums: dict[str, Any] = defaultdict(Fraction)
    for advertiser in advertisers:
        every = events(after, advertiser)
        rows = [after.counts.get((advertiser, product), (0, 0, 0)) for product in lists[advertiser]]
        shown, clicked, viewed = (sum(row[n] for row in rows) for n in range(3))
        every_shown, every_clicked = every["impressions"], every["clicks"]
        rate = Fraction(every_clicked, every_shown) if every_shown else Fraction(0)
        # The four expected counts of (listed, not) by (clicked, not).
        cells = [n * r for n in (shown, every_shown - shown) for r in (rate, 1 - rate)]
        sums["impressions"] += shown
        sums["clicks"] += clicked
        sums["views"] += viewed
        sums["all_impressions"] += every_shown
        sums["all_clicks"] += every_clicked
        sums["all_views"] += every["views"]
        sums["expected"] += shown * rate
        sums["smallest"] += max(min(cells), Fraction(0))
        if shown and every_shown > shown:
            rest = Fraction(every_clicked - clicked, every_shown - shown)
            sums["pairs"] = [*(sums["pairs"] or []), (clicked, round(shown * rest, 6))]
        sums["dead_slots"] += sum((advertiser, product) not in after.counts for product in lists[advertiser])
        sums["products"] += len(lists[advertiser])
        if shown:
            squares = [Fraction(row[0], shown) ** 2 for row in rows]
            sums["concentrations"] = [*(sums["concentrations"] or []), sum(squares)]
    return sums | {"without_list": len(active) - len(lists)}


def against_not_listed(sums: dict[str, Any], one: str | None) -> dict[str, Any]:
    """The clicks on listed products over those of not listed ones, its interval over advertisers, and dead slots."""
    clicks, expected = (sum(pair[n] for pair in sums["pairs"] or []) for n in (0, 1))
    ratio = Fraction(clicks) / expected if expected else None
    of_advertisers = len(sums["pairs"] or [])
    rest = sums["all_impressions"] - sums["impressions"]
    of_all: dict[str, Any] = {}
    if one is None:
        ends: tuple[float | None, float | None] = (None, None)
        if ratio is not None and of_advertisers > 1:
            squares = sum((c - ratio * e) ** 2 for c, e in sums["pairs"])
            margin = 1.96 * math.sqrt(Fraction(of_advertisers, of_advertisers - 1) * squares) / float(expected)
            ends = float(ratio) - margin, float(ratio) + margin
        of_all = {
            "advantage_low": ends[0],
            "advantage_high": ends[1],
            "dead_share": sums["dead_slots"] / sums["products"],
            "without_list": sums["without_list"],
        }
    return {
        "advantage": ratio,
        "unlisted_ctr": (sums["all_clicks"] - sums["clicks"]) / rest if rest else None,
        "listed_share": sums["impressions"] / sums["all_impressions"] if sums["all_impressions"] else None,
        "dead_slots": sums["dead_slots"],
        "concentration": sum(of) / len(of) if (of := sums["concentrations"]) else None,
        **of_all,
    }


def headline(sums: dict[str, Any]) -> dict[str, Any]:
    return {
        "lift": sums["clicks"] / sums["expected"] if sums["expected"] else None,
        "click_share": sums["clicks"] / sums["all_clicks"] if sums["all_clicks"] else None,
        "view_share": sums["views"] / sums["all_views"] if sums["all_views"] else None,
        "meaningful": sums["smallest"] >= 5,
    }
