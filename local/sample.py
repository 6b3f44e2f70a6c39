"""Sample logs that look like the business, the same for the same arguments: `python -m local.sample --help`.

A world of advertisers, some of them no longer active. Each has products: a few are popular and many are not (Zipf),
each has a latent click rate (the planted truth), and what is popular drifts from day to day.
"""

import argparse
import csv
import random
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

BATCH = 20_000
"""Events made at a time: memory does not grow with their number."""

LOGS = ("advertiser_ids", "product_views", "ads_views")


@dataclass(frozen=True)
class Product:
    advertiser_id: str
    product_id: str
    popularity: float
    """Share of attention, relative to the other products."""
    click_rate: float
    """Probability that an impression is clicked: the planted truth."""


@dataclass(frozen=True)
class World:
    seed: int
    active: list[str]
    products: list[Product]


def make_world(seed: int = 1, advertisers: int = 25, products: int = 200, inactive: float = 0.2) -> World:
    """Advertisers (ids of 20 characters A-Z0-9), `products` each (6 characters a-z0-9), a share of them inactive."""
    rng = random.Random(f"world {seed}")
    upper, lower = string.ascii_uppercase + string.digits, string.ascii_lowercase + string.digits
    ids = ["".join(rng.choices(upper, k=20)) for _ in range(advertisers)]
    active = ids[: max(1, round(advertisers * (1 - inactive)))]
    made = []
    for advertiser_id in ids:
        size = rng.lognormvariate(0, 0.5)
        for place in range(1, products + 1):
            product_id = "".join(rng.choices(lower, k=6))
            made.append(Product(advertiser_id, product_id, size / place**0.7, rng.betavariate(1.5, 60)))
    return World(seed, active, made)


def ad_events(world: World, day: date, events: int) -> Iterator[list[str]]:
    """Batches of lines `advertiser_id,product_id,type,date`, `events` in all: impressions, and clicks on them."""
    rng, weights = _day(world, day, "ads")
    lines = [(f"{p.advertiser_id},{p.product_id},", p.click_rate) for p in world.products]
    impression, click = f"impression,{day}\n", f"click,{day}\n"
    while events > 0:
        batch = []
        for prefix, click_rate in rng.choices(lines, cum_weights=weights, k=min(BATCH, events)):
            batch.append(prefix + impression)
            if rng.random() < click_rate:
                batch.append(prefix + click)
        yield batch[:events]
        events -= len(batch)


def view_events(world: World, day: date, events: int) -> Iterator[list[str]]:
    """Batches of lines `advertiser_id,product_id,date`, `events` in all."""
    rng, weights = _day(world, day, "views")
    lines = [f"{p.advertiser_id},{p.product_id},{day}\n" for p in world.products]
    while events > 0:
        batch = rng.choices(lines, cum_weights=weights, k=min(BATCH, events))
        yield batch
        events -= len(batch)


def write(
    world: World,
    folder: Path,
    days: list[date],
    events: int,
    progress: Progress | None = None,
    views: int | None = None,
) -> None:
    """Writes each day's `folder/YYYY-MM-DD/{advertiser_ids,product_views,ads_views}`, `events` lines a log.

    `views`: lines of product_views, where they should be others than `events`.
    """
    bar = progress.add_task("sample logs", total=2 * events * len(days)) if progress else None
    for day in days:
        target = folder / str(day)
        target.mkdir(parents=True, exist_ok=True)
        (target / "advertiser_ids").write_text("advertiser_id\n" + "".join(f"{a}\n" for a in world.active))
        for name, header, batches in (
            (
                "product_views",
                "advertiser_id,product_id,date\n",
                view_events(world, day, events if views is None else views),
            ),
            ("ads_views", "advertiser_id,product_id,type,date\n", ad_events(world, day, events)),
        ):
            with (target / name).open("w") as log:
                log.write(header)
                for batch in batches:
                    log.writelines(batch)
                    if progress and bar is not None:
                        progress.advance(bar, len(batch))


def write_truth(world: World, file: Path) -> None:
    """Writes the planted click rates: `advertiser_id,product_id,click_rate`."""
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("advertiser_id", "product_id", "click_rate"))
        rows.writerows((p.advertiser_id, p.product_id, p.click_rate) for p in world.products)


def _day(world: World, day: date, log: str) -> tuple[random.Random, list[float]]:
    rng = random.Random(f"{world.seed} {day} {log}")
    drift = random.Random(f"{world.seed} {day}")
    return rng, list(accumulate(p.popularity * drift.lognormvariate(0, 0.4) for p in world.products))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.sample",
        description="Writes sample logs, a folder a day.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument(
        "--from",
        dest="first",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="first day; by default so that the last is yesterday",
    )
    parser.add_argument("--days", type=int, default=8, help="how many days")
    parser.add_argument("--events", type=int, default=100_000, help="lines a log a day")
    parser.add_argument("--advertisers", type=int, default=25, help="how many, a fifth of them inactive")
    parser.add_argument("--products", type=int, default=200, help="products an advertiser")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same logs")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="also write the planted click rates")
    arguments = parser.parse_args()
    if min(arguments.days, arguments.events, arguments.advertisers, arguments.products) < 1:
        parser.error("--days, --events, --advertisers and --products are at least 1")
    first = arguments.first or date.today() - timedelta(days=arguments.days)
    world = make_world(arguments.seed, arguments.advertisers, arguments.products)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        write(
            world, arguments.folder, [first + timedelta(n) for n in range(arguments.days)], arguments.events, progress
        )
    if arguments.truth:
        write_truth(world, arguments.truth)
    print(f"{arguments.days} days from {first} in {arguments.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
