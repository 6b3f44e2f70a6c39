"""Do the models recommend well? `python -m bench.quality`: on logs of known true click rates that drift, of products
that come and go, and where the lists decide what is shown.

Every figure comes through the real steps and SQL, on embedded PostgreSQL and S3: 31 days are loaded, ranked and
published, and the lists are looked up in the truth of the day after. A list's worth is the mean true click rate of its
20 places, one that is empty or whose product has gone counting 0, as a share of the best possible: the 20 products with
the highest true rates. Beside it what the marts say of the same lists, from clicks alone.
"""

import argparse
import bisect
import math
import os
import random
import statistics
import string
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import psycopg2

from elt import sql, steps
from elt.migrate import migrate
from elt.settings import Settings
from local import s3, sample
from local.airflow import free_port
from local.postgres import MASTER, Postgres

FIRST = date(2024, 11, 1)
BURN_IN = 7
"""Days before anybody follows a list: there is nothing to follow before something was shown."""
LAST = 5
"""Days whose lists are looked up in the truth, and evaluated by the marts."""
VIEWS = 1_000
"""Views an advertiser and day: of what there is, whatever the lists say; they know nothing of click rates."""
PRODUCTS = 200

WORLDS = {"static": (0.0, 0.0), "slow": (60.0, 0.01), "fast": (14.0, 0.03)}
"""Days over which click rates drift (0: never), share of the products that another one replaces a day."""
FOLLOWED = ("DecayedCTR", "SmoothedCTR", "TopCTR")
PRIOR, HEADLINES = (1.5, 60.0), (2.9, 183.0)
"""Beta distributions that click rates are drawn from: the usual one, and the one fitted to real headlines' tests."""

NORMAL = statistics.NormalDist()
Lists = dict[str, dict[str, list[str]]]
"""Model: advertiser: products."""


@dataclass(frozen=True)
class Case:
    """One world, one share of impressions that a model's lists decide."""

    world: str
    impressions: int
    """An advertiser and day, on average."""
    follows: str = ""
    """The model whose lists are followed; nobody's when it is empty."""
    share: float = 0.0
    """Of the impressions, how many its lists decide."""
    prior: tuple[float, float] = PRIOR
    flat: bool = False
    """All products have one rate: nothing is to be found."""
    seed: int = 1
    advertisers: int = 20
    days: int = 31


@dataclass
class Result:
    """What became of a case: figures by model, shares of the best possible an advertiser."""

    case: Case
    shares: dict[str, list[float]]
    measured: dict[str, tuple[float, float]]
    """Model: lift and advantage, as marts.evaluation counts them."""


def evolving(case: Case) -> Iterator[sample.World]:
    """The world of each day: click rates drift about the prior, products are replaced by new ones."""
    drift, turnover = WORLDS[case.world]
    world = sample.make_world(case.seed, case.advertisers, PRODUCTS, inactive=0)
    rng = random.Random(f"{case.seed} {case.world}")
    rates = sorted(rng.betavariate(*case.prior) for _ in range(20_000))
    places = [rng.gauss(0, 1) for _ in world.products]
    mean = statistics.fmean(rates)
    kept = math.exp(-1 / drift) if drift else 1.0
    ids = [product.product_id for product in world.products]
    for _ in range(case.days + 1):
        products = []
        for n, product in enumerate(world.products):
            rate = rates[min(int(NORMAL.cdf(places[n]) * len(rates)), len(rates) - 1)]
            products.append(replace(product, product_id=ids[n], click_rate=mean if case.flat else rate))
            places[n] = kept * places[n] + math.sqrt(1 - kept * kept) * rng.gauss(0, 1)
            if rng.random() < turnover:
                places[n] = rng.gauss(0, 1)
                ids[n] = "".join(rng.choices(string.ascii_lowercase + string.digits, k=6))
        yield replace(world, products=products)


def shown_as(world: sample.World, lists: dict[str, list[str]], share: float) -> sample.World:
    """The world in which the lists decide a share of each advertiser's impressions, evenly; nothing of those gone."""
    there = {(product.advertiser_id, product.product_id) for product in world.products}
    listed = {a: [p for p in products if (a, p) in there] for a, products in lists.items()}
    size: dict[str, float] = {}
    for product in world.products:
        size[product.advertiser_id] = size.get(product.advertiser_id, 0) + product.popularity

    def popularity(product: sample.Product) -> float:
        on = listed.get(product.advertiser_id, [])
        own = share * size[product.advertiser_id] / len(on) if product.product_id in on else 0
        return (1 - share) * product.popularity + own

    return replace(world, products=[replace(product, popularity=popularity(product)) for product in world.products])


def worth(world: sample.World, lists: Lists) -> dict[str, list[float]]:
    """By model, of each advertiser: mean true rate of the 20 places of its list / of the best possible."""
    rates: dict[str, dict[str, float]] = {advertiser: {} for advertiser in world.active}
    for product in world.products:
        rates[product.advertiser_id][product.product_id] = product.click_rate
    best = {a: sum(sorted(of.values())[-20:]) for a, of in rates.items()}
    found = {"random": [20 * statistics.fmean(rates[a].values()) / best[a] for a in world.active]}
    for model, of_model in lists.items():
        found[model] = [sum(rates[a].get(p, 0) for p in of_model.get(a, [])) / best[a] for a in world.active]
    return found


def bayes(case: Case, world: sample.World, counts: list[tuple[str, str, int, float, float]]) -> dict[str, list[str]]:
    """The best lists that 30 days of counts allow to who knows the prior, the drift and what has gone (about: old
    counts are discounted by the squared correlation of the rates)."""
    drift, _ = WORLDS[case.world]
    a, b = case.prior
    posterior = {(p.advertiser_id, p.product_id): [a, a + b] for p in world.products}
    for advertiser, product, age, shown, clicked in counts:
        if (advertiser, product) in posterior:
            weight = math.exp(-2 * (age + 1) / drift) if drift else 1.0
            posterior[advertiser, product][0] += weight * clicked
            posterior[advertiser, product][1] += weight * shown
    lists: dict[str, list[tuple[float, str]]] = {}
    for (advertiser, product), (of, n) in posterior.items():
        bisect.insort(lists.setdefault(advertiser, []), (-of / n, product))
    return {advertiser: [product for _, product in ranked[:20]] for advertiser, ranked in lists.items()}


def run(case: Case) -> Result:
    """All days of a case, in a database and a bucket of its own."""
    name = f"case-{abs(hash(case)) % 10**12}"
    storage = boto3.client("s3")
    storage.create_bucket(Bucket=name)
    postgres: Postgres = HERE["postgres"]
    postgres.provision(name)
    migrate(postgres.url(MASTER, name))
    postgres.let_log_in("recommendations_pipeline")
    url = postgres.url("recommendations_pipeline", name)
    settings = Settings(
        advertisers_uri=f"s3://{name}/{{ds}}/advertiser_ids",
        product_views_uri=f"s3://{name}/{{ds}}/product_views",
        ads_views_uri=f"s3://{name}/{{ds}}/ads_views",
        intermediate_uri=f"s3://{name}/intermediate",
        git_revision="quality",
    )
    connect = lambda: psycopg2.connect(url)  # noqa: E731
    every = sql.models()
    followed = [model for model in every if model.name == case.follows]
    lists: Lists = {}
    shares: dict[str, list[list[float]]] = {}
    with TemporaryDirectory() as folder:
        for n, world in enumerate(evolving(case)):
            if n > case.days - LAST:
                for model, found in worth(world, lists).items():
                    shares.setdefault(model, []).append(found)
            if n == case.days:
                if not case.follows:
                    ideal = worth(world, {"Bayes": bayes(case, world, _counts(url, FIRST + timedelta(case.days - 1)))})
                    shares["Bayes"] = [ideal["Bayes"]]
                break
            day = str(FIRST + timedelta(n))
            follows = case.follows and n >= BURN_IN
            shown = shown_as(world, lists[case.follows], case.share) if follows else world
            rate = statistics.fmean(product.click_rate for product in world.products)
            events = round(len(world.active) * case.impressions * (1 + rate))
            sample.write(world, Path(folder), [date.fromisoformat(day)], 0, views=VIEWS * len(world.active))
            with (Path(folder) / day / "ads_views").open("a") as log_of_ads:
                for batch in sample.ad_events(shown, date.fromisoformat(day), events):
                    log_of_ads.writelines(batch)
            for log in sample.LOGS:
                storage.upload_file(str(Path(folder) / day / log), name, f"{day}/{log}")
                (Path(folder) / day / log).unlink()
            steps.filter_events(day, connect, storage, settings, run_id="quality")
            publishes = n >= case.days - LAST
            models = [] if n < BURN_IN - 1 else followed if case.follows else every if publishes else []
            for ranking in models:
                steps.build_model(day, ranking, connect, storage, settings)
            lists = _lists(url, day, [model.name for model in models])
            if publishes:
                steps.publish(day, models, connect, settings, run_id="quality")
    by_advertiser = {m: [statistics.fmean(of) for of in zip(*found, strict=True)] for m, found in shares.items()}
    return Result(case, by_advertiser, _measured(url))


def _lists(url: str, day: str, models: list[str]) -> Lists:
    lists: Lists = {model: {} for model in models}
    query = (
        "SELECT model, advertiser_id, array_agg(product_id ORDER BY rank) FROM models.candidates "
        "WHERE date = %s AND model = ANY(%s) GROUP BY model, advertiser_id"
    )
    for model, advertiser, products in _rows(url, query, day, models):
        lists[model][advertiser] = products
    return lists


def _counts(url: str, day: date) -> list[tuple[Any, ...]]:
    query = (
        "SELECT advertiser_id, product_id, %s - date, impressions, clicks FROM staging.product_daily "
        "WHERE date BETWEEN %s - 29 AND %s"
    )
    return _rows(url, query, day, day, day)


def _measured(url: str) -> dict[str, tuple[float, float]]:
    query = "SELECT model, sum(clicks) / sum(expected_clicks), avg(advantage) FROM marts.evaluation GROUP BY model"
    return {model: (float(lift or 0), float(advantage or 0)) for model, lift, advantage in _rows(url, query)}


def _rows(url: str, query: str, *params: Any) -> list[tuple[Any, ...]]:
    conn = psycopg2.connect(url)
    try:
        with conn.cursor() as cursor:
            cursor.execute(query, params)
            return cursor.fetchall()
    finally:
        conn.close()


HERE: dict[str, Any] = {}
"""What a worker process has: its folder, its PostgreSQL, its S3."""


def begin() -> None:
    """Starts a worker's own PostgreSQL and S3; they end with it."""
    stack = HERE["stack"] = ExitStack()
    folder = Path(stack.enter_context(TemporaryDirectory()))
    HERE["postgres"] = stack.enter_context(
        Postgres(folder / "postgres", free_port(), fsync="off", synchronous_commit="off")
    )
    os.environ.update(s3.environment(stack.enter_context(s3.s3_server(free_port()))))


def cases(quick: bool, seeds: int, advertisers: int, days: int) -> list[Case]:
    """What is run, the longest first."""
    of = partial(Case, advertisers=advertisers, days=days)
    worlds = ["slow"] if quick else list(WORLDS)
    loops = [
        of(world, impressions, model, share)
        for world in worlds
        for impressions in ([2000] if quick else [500, 2000])
        for share in ([1.0] if quick else [0.8, 1.0])
        for model in (FOLLOWED[:2] if quick else FOLLOWED)
    ]
    alone = [
        of(world, impressions, seed=seed)
        for world in worlds
        for impressions in (500, 2000)
        for seed in range(1, 2 if quick else seeds + 1)
    ]
    others = [of("static", 2000, flat=True), of("static", 2000, prior=HEADLINES)]
    return [*loops, *alone, *others[: 1 if quick else 2]]


def interval(differences: list[float]) -> str:
    """The mean, with half of its 95 % interval."""
    spread = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return f"{statistics.fmean(differences):+.1%} +-{1.96 * spread:.1%}"


def tables(results: list[Result]) -> Iterator[str]:
    """The report, a line at a time."""
    models = [model.name for model in sql.models()]
    columns = ["random", *models, "Bayes"]
    yield f"Nobody follows a list.\n\n| world | impressions | {' | '.join(columns)} | DecayedCTR - SmoothedCTR |"
    yield f"|{'---|' * (len(columns) + 3)}"
    alone: dict[tuple[Any, ...], list[Result]] = {}
    for result in sorted(
        (r for r in results if not r.case.follows), key=lambda r: (r.case.flat, r.case.prior, r.case.seed)
    ):
        alone.setdefault((result.case.world, result.case.impressions, result.case.flat, result.case.prior), []).append(
            result
        )
    for (world, impressions, flat, prior), found in alone.items():
        shares = {name: [x for result in found for x in result.shares[name]] for name in columns}
        label = "no signal" if flat else world if prior == PRIOR else "headlines"
        row = [f"{statistics.fmean(shares[name]):.1%}" for name in columns]
        gain = interval([d - s for d, s in zip(shares["DecayedCTR"], shares["SmoothedCTR"], strict=True)])
        yield f"| {label} | {impressions:,} | {' | '.join(row)} | {gain} |"
        lifts = {m: statistics.fmean(result.measured[m][0] for result in found) for m in models}
        yield f"|  | lift | | {' | '.join(f'{lifts[m]:.2f}' for m in models)} | | |"
    yield "\nEverything that is shown, or 80 % of it, is what the model's own lists say.\n"
    heads = ["world", "impressions", "followed", *FOLLOWED, "DecayedCTR - SmoothedCTR", "lift", "advantage"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    loops: dict[tuple[Any, ...], dict[str, Result]] = {}
    for result in results:
        if result.case.follows:
            key = result.case.world, result.case.impressions, result.case.share
            loops.setdefault(key, {})[result.case.follows] = result
    right = [0, 0]
    for (world, impressions, share), of in sorted(loops.items()):
        there = [model for model in FOLLOWED if model in of]
        truth = {m: statistics.fmean(of[m].shares[m]) for m in there}
        by_truth = sorted(there, key=lambda m: -truth[m])
        orders = [sorted(there, key=lambda m: -of[m].measured[m][n]) == by_truth for n in (0, 1)]
        right = [count + order for count, order in zip(right, orders, strict=True)]
        pair = zip(of["DecayedCTR"].shares["DecayedCTR"], of["SmoothedCTR"].shares["SmoothedCTR"], strict=True)
        row = [f"{truth[m]:.1%}" if m in truth else "" for m in FOLLOWED]
        said = ["yes" if order else "no" for order in orders]
        gain = interval([d - s for d, s in pair])
        yield f"| {world} | {impressions:,} | {share:.0%} | {' | '.join(row)} | {gain} | {' | '.join(said)} |"
    yield "\nlift, advantage: does it put the models, each in its own loop, in the order of the truth?"
    yield f"Of {len(loops)} loops lift does in {right[0]}, advantage in {right[1]}."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description="How good the lists are, on truth.")
    parser.add_argument("--advertisers", type=int, default=20, help=f"in a case, each with {PRODUCTS} products")
    parser.add_argument(
        "--days", type=int, default=31, help="of a case; the longer a list is followed, the more it matters"
    )
    parser.add_argument("--seeds", type=int, default=2, help="of the worlds in which nobody follows a list")
    parser.add_argument("--quick", action="store_true", help="a few cases only; QUICK=1 says the same")
    parser.add_argument("--processes", type=int, default=2, help="cases run at one time")
    arguments = parser.parse_args()
    quick = arguments.quick or os.environ.get("QUICK", "") not in ("", "0")
    to_run = cases(quick, arguments.seeds, arguments.advertisers, arguments.days)
    started = time.monotonic()
    results = []
    with ProcessPoolExecutor(arguments.processes, get_context("spawn"), begin) as pool:
        running = [pool.submit(run, case) for case in to_run]
        for n, done in enumerate(as_completed(running), 1):
            results.append(done.result())
            case, passed = results[-1].case, time.monotonic() - started
            of = f"{case.share:.0%} follow {case.follows}" if case.follows else "nobody follows"
            left = passed / n * (len(to_run) - n)
            sys.stderr.write(
                f"{n} of {len(to_run)}: {case.world}, {case.impressions:,} impressions, {of}"
                f"  ({passed:.0f} s, about {left:.0f} s to go)\n"
            )
    order = {case: n for n, case in enumerate(to_run)}
    print("\n".join(tables(sorted(results, key=lambda result: order[result.case]))))
    took = time.monotonic() - started
    print(
        f"\n{arguments.advertisers} advertisers a case, {PRODUCTS} products each, {arguments.days} days; {took:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
