"""Do the models recommend well? `python -m bench.quality`: on logs of known true click rates that drift, of products
that come and go, and where the lists decide what is shown.

Every figure comes through the real steps and SQL, on embedded PostgreSQL and S3: days are loaded, ranked and published,
and the lists are looked up in the truth of the day after. A list's worth is the mean true click rate of its 20 places,
one that is empty or whose product has gone counting 0, as a share of the best possible: the 20 products with the
highest true rates. Beside it what the marts say of the same lists, from clicks alone.

A world is lived in by several groups of advertisers at once, in one warehouse: those of a seed have the same products
and rates, and differ in how much is shown and whose lists decide it. No list depends on another advertiser.
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
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import psycopg2

from bench.__main__ import about_this_machine, write
from elt import sql, steps
from elt.migrate import migrate
from elt.settings import PROJECT, Settings
from local import s3, sample
from local.airflow import free_port
from local.postgres import MASTER, Postgres

FIRST = date(2024, 11, 1)
BURN_IN = 7
"""Days before anybody follows a list: there is nothing to follow before something was shown."""
LAST = 3
"""Days whose lists are looked up in the truth, and evaluated by the marts."""
ALONE, FOLLOWING = 30 + LAST - 1, 60
"""Days of a world: 30 before the first list that counts; the longer a list is followed, the more it matters."""
VIEWS = 1_000
"""Views an advertiser and day: of what there is, whatever the lists say; they know nothing of click rates."""
PRODUCTS = 200

WORLDS = {"static": (0.0, 0.0), "slow": (60.0, 0.01), "fast": (14.0, 0.03)}
"""Days over which click rates drift (0: never), share of the products that another one replaces a day."""
IMPRESSIONS = (500, 2_000)
"""An advertiser and day, on average."""
FOLLOWED = ("DecayedCTR", "SmoothedCTR", "TopCTR")
PRIOR, HEADLINES = (1.5, 60.0), (2.9, 183.0)
"""Beta distributions that click rates are drawn from: the usual one, and the one fitted to real headlines' tests."""

PAGE = PROJECT / "docs" / "models.md"
NORMAL = statistics.NormalDist()
Lists = dict[str, dict[str, list[str]]]
"""Model: advertiser: products."""


@dataclass(frozen=True)
class Group:
    """Advertisers of whom as much is shown, and for the same reason."""

    impressions: int
    follows: str = ""
    """The model whose lists are followed; nobody's when it is empty."""
    share: float = 0.0
    """Of the impressions, how many its lists decide."""
    seed: int = 1
    """Of the advertisers and their products, the same in all groups of the seed."""


@dataclass(frozen=True)
class Case:
    """One world, and the groups of advertisers that live in it."""

    world: str
    groups: tuple[Group, ...]
    days: int
    prior: tuple[float, float] = PRIOR
    flat: bool = False
    """All products have one rate: nothing is to be found."""
    advertisers: int = 20
    """In each group."""

    @property
    def label(self) -> str:
        return "no signal" if self.flat else self.world if self.prior == PRIOR else "headlines"

    @property
    def follows(self) -> list[str]:
        """The models that somebody follows."""
        return sorted({group.follows for group in self.groups if group.follows})


@dataclass
class Result:
    """What became of a group."""

    shares: dict[str, list[float]] = field(default_factory=dict)
    """Model: of each advertiser, what its lists are worth, as a share of the best possible."""
    lift: dict[str, float | None] = field(default_factory=dict)
    advantage: dict[str, float | None] = field(default_factory=dict)
    """Model: what marts.advertiser_evaluation counts, as marts.evaluation adds it up. None: it can not be told."""


def evolving(case: Case, seed: int) -> Iterator[sample.World]:
    """The world of each day: click rates drift about the prior, products are replaced by new ones."""
    drift, turnover = WORLDS[case.world]
    world = sample.make_world(seed, case.advertisers, PRODUCTS, inactive=0)
    rng = random.Random(f"{seed} {case.world}")
    rates = sorted(rng.betavariate(*case.prior) for _ in range(100_000))
    places = [rng.gauss(0, 1) for _ in world.products]
    mean = statistics.fmean(rates)
    kept = math.exp(-1 / drift) if drift else 1.0
    ids = [product.product_id for product in world.products]
    while True:
        products = []
        for n, product in enumerate(world.products):
            rate = rates[min(int(NORMAL.cdf(places[n]) * len(rates)), len(rates) - 1)]
            products.append(replace(product, product_id=ids[n], click_rate=mean if case.flat else rate))
            places[n] = kept * places[n] + math.sqrt(1 - kept * kept) * rng.gauss(0, 1)
            if rng.random() < turnover:
                places[n] = rng.gauss(0, 1)
                ids[n] = "".join(rng.choices(string.ascii_lowercase + string.digits, k=6))
        yield replace(world, products=products)


def lived_in(world: sample.World, place: int, lists: dict[str, list[str]], share: float) -> sample.World:
    """The world as the group of that place has it, in which its lists decide a share of each advertiser's impressions,
    evenly; nothing of those gone."""
    there = {(product.advertiser_id, product.product_id) for product in world.products}
    listed = {a: {p for p in products if (a, p) in there} for a, products in lists.items()}
    size: dict[str, float] = {}
    for product in world.products:
        size[product.advertiser_id] = size.get(product.advertiser_id, 0) + product.popularity
    products = []
    for product in world.products:
        advertiser, popularity = product.advertiser_id, product.popularity
        if on := listed.get(advertiser):
            own = size[advertiser] / len(on) if product.product_id in on else 0
            popularity = (1 - share) * popularity + share * own
        products.append(replace(product, advertiser_id=f"{advertiser}-{place}", popularity=popularity))
    return replace(world, active=[f"{a}-{place}" for a in world.active], products=products)


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


class Warehouse:
    """A database and a bucket of a case's own, and the steps over them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.name = f"case-{abs(hash(case)) % 10**12}"
        self.storage = boto3.client("s3")
        self.storage.create_bucket(Bucket=self.name)
        postgres: Postgres = HERE["postgres"]
        postgres.provision(self.name)
        migrate(postgres.url(MASTER, self.name))
        postgres.let_log_in("recommendations_pipeline")
        self.url = postgres.url("recommendations_pipeline", self.name)
        self.settings = Settings(
            advertisers_uri=f"s3://{self.name}/{{ds}}/advertiser_ids",
            product_views_uri=f"s3://{self.name}/{{ds}}/product_views",
            ads_views_uri=f"s3://{self.name}/{{ds}}/ads_views",
            intermediate_uri=f"s3://{self.name}/intermediate",
            git_revision="quality",
        )

    def connect(self) -> Any:
        return psycopg2.connect(self.url)

    def load(self, day: date, worlds: list[sample.World], lists: list[Lists]) -> None:
        """Delivers and loads what happened in each group's world on the day after its lists."""
        with TemporaryDirectory() as folder:
            files = {log: Path(folder) / log for log in sample.LOGS}
            with files["product_views"].open("w") as views, files["ads_views"].open("w") as ads:
                views.write("advertiser_id,product_id,date\n")
                ads.write("advertiser_id,product_id,type,date\n")
                active = []
                for place, (group, world) in enumerate(zip(self.case.groups, worlds, strict=True)):
                    rate = statistics.fmean(product.click_rate for product in world.products)
                    whole = lived_in(world, place, {}, 0)
                    shown = lived_in(world, place, lists[place].get(group.follows, {}), group.share)
                    active += whole.active
                    for batch in sample.view_events(whole, day, VIEWS * len(whole.active)):
                        views.writelines(batch)
                    events = round(len(whole.active) * group.impressions * (1 + rate))
                    for batch in sample.ad_events(shown, day, events):
                        ads.writelines(batch)
            files["advertiser_ids"].write_text("\n".join(["advertiser_id", *active, ""]))
            for log, file in files.items():
                self.storage.upload_file(str(file), self.name, f"{day}/{log}")
        steps.filter_events(str(day), self.connect, self.storage, self.settings, run_id="quality")

    def rank(self, day: date, models: list[sql.Model]) -> list[Lists]:
        """Ranks the day; the lists of each group."""
        for model in models:
            steps.build_model(str(day), model, self.connect, self.storage, self.settings)
        lists: list[Lists] = [{model.name: {} for model in models} for _ in self.case.groups]
        query = (
            "SELECT model, advertiser_id, array_agg(product_id ORDER BY rank) FROM models.candidates "
            "WHERE date = %s AND model = ANY(%s) GROUP BY model, advertiser_id"
        )
        for name, of_group, products in self._rows(query, day, [model.name for model in models]):
            advertiser, _, place = of_group.partition("-")
            lists[int(place)][name][advertiser] = products
        return lists

    def publish(self, day: date, models: list[sql.Model]) -> None:
        steps.publish(str(day), models, self.connect, self.settings, run_id="quality")

    def counts(self, day: date, place: int) -> list[tuple[Any, ...]]:
        """What was shown and clicked in a group in the 30 days to the day: advertiser, product, age, both."""
        query = (
            "SELECT split_part(advertiser_id, '-', 1), product_id, %s - date, impressions, clicks "
            "FROM staging.product_daily "
            "WHERE date BETWEEN %s - 29 AND %s AND split_part(advertiser_id, '-', 2) = %s"
        )
        return self._rows(query, day, day, day, str(place))

    def measured(self, place: int) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """By model, lift and advantage of a group's lists, all days together: sums as marts.evaluation has them."""
        query = """
            SELECT
                model,
                (sum(clicks) / nullif(sum(expected_clicks), 0))::float,
                (sum(clicks) FILTER (WHERE unlisted_expected IS NOT NULL) / nullif(sum(unlisted_expected), 0))::float
            FROM marts.advertiser_evaluation
            WHERE split_part(advertiser_id, '-', 2) = %s
            GROUP BY model
        """
        found = self._rows(query, str(place))
        return {model: lift for model, lift, _ in found}, {model: advantage for model, _, advantage in found}

    def _rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        conn = self.connect()
        try:
            with conn.cursor() as cursor:
                cursor.execute(query, params)
                return cursor.fetchall()
        finally:
            conn.close()


def run(case: Case) -> dict[Group, Result]:
    """All days of a case."""
    warehouse = Warehouse(case)
    every = sql.models()
    lists: list[Lists] = [{} for _ in case.groups]
    worths: list[list[dict[str, list[float]]]] = [[] for _ in case.groups]
    seeds = sorted({group.seed for group in case.groups})
    days = zip(*(evolving(case, seed) for seed in seeds), strict=True)
    for n, of_seed in enumerate(islice(days, case.days + 1)):
        worlds = [of_seed[seeds.index(group.seed)] for group in case.groups]
        if n > case.days - LAST:
            for place, world in enumerate(worlds):
                worths[place].append(worth(world, lists[place]))
        day = FIRST + timedelta(n)
        if n == case.days:
            break
        warehouse.load(day, worlds, lists)
        counts = n >= case.days - LAST
        models = every if counts else [model for model in every if n >= BURN_IN - 1 and model.name in case.follows]
        lists = warehouse.rank(day, models)
        if counts:
            warehouse.publish(day, models)
    found = {}
    for place, group in enumerate(case.groups):
        of = worths[place]
        result = found[group] = Result()
        result.shares = {m: [statistics.fmean(one) for one in zip(*(w[m] for w in of), strict=True)] for m in of[0]}
        result.lift, result.advantage = warehouse.measured(place)
        if not group.follows:
            ideal = bayes(case, worlds[place], warehouse.counts(day - timedelta(1), place))
            result.shares |= worth(worlds[place], {"Bayes": ideal})
    return found


HERE: dict[str, Any] = {}
"""What a worker process has: its folder, its PostgreSQL, its S3."""


def begin() -> None:
    """Starts a worker's own PostgreSQL and S3; they end with it."""
    stack = HERE["stack"] = ExitStack()
    folder = Path(stack.enter_context(TemporaryDirectory()))
    HERE["postgres"] = stack.enter_context(
        Postgres(folder / "postgres", free_port(), fsync="off", synchronous_commit="off", full_page_writes="off")
    )
    os.environ.update(s3.environment(stack.enter_context(s3.s3_server(free_port()))))


def cases(quick: bool, seeds: int, advertisers: int) -> list[Case]:
    """What is run, the longest first."""
    of = partial(Case, advertisers=advertisers)
    alone = tuple(Group(impressions, seed=seed) for seed in range(1, seeds + 1) for impressions in IMPRESSIONS)
    if quick:
        loop = tuple(Group(2_000, model, 1.0) for model in FOLLOWED[:2])
        first = alone[: len(IMPRESSIONS)]
        return [of("slow", loop, FOLLOWING), of("slow", first, ALONE), of("static", first[1:], ALONE, flat=True)]
    loops = tuple(
        Group(impressions, model, share) for impressions in IMPRESSIONS for share in (0.8, 1.0) for model in FOLLOWED
    )
    return [
        *(of(world, loops, FOLLOWING) for world in WORLDS),
        *(of(world, alone, ALONE) for world in WORLDS),
        of("static", alone, ALONE, prior=HEADLINES),
        of("static", alone, ALONE, flat=True),
    ]


def interval(differences: list[float]) -> str:
    """The mean in points, with half of its 95 % interval over advertisers."""
    margin = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    return f"{100 * statistics.fmean(differences):+.1f} ± {100 * margin:.1f}"


def percent(shares: list[float]) -> str:
    return f"{statistics.fmean(shares):.1%}"


def table(*rows: list[str]) -> str:
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *rest])


Results = dict[Case, dict[Group, Result]]


def tables(results: Results) -> str:
    """The report: what docs/models.md has of it."""
    said = [
        f"Nobody follows a list; {ALONE - LAST + 1} to {ALONE} days of logs:",
        _alone(results),
        f"The lists decide 80 % or all of what is shown; each model in a loop of its own, after {FOLLOWING} days:",
        _following(results),
    ]
    return "\n\n".join(said)


def _alone(results: Results) -> str:
    pooled: dict[tuple[str, int], list[Result]] = {}
    for case, found in results.items():
        for group, result in found.items():
            if not group.follows:
                pooled.setdefault((case.label, group.impressions), []).append(result)
    models = [model.name for model in sql.models()]
    columns = ["random", *models, "Bayes"]
    rows = [["world", "impressions", *columns, "DecayedCTR - SmoothedCTR"]]
    for (label, impressions), of in pooled.items():
        shares = {name: [x for result in of for x in result.shares[name]] for name in columns}
        gain = [d - s for d, s in zip(shares["DecayedCTR"], shares["SmoothedCTR"], strict=True)]
        values = [percent(shares[name]) for name in columns]
        margin = interval(shares["DecayedCTR"]).partition(" ")[2]
        values[columns.index("DecayedCTR")] += f" {margin}"
        rows.append([label, f"{impressions:,}", *values, interval(gain)])
        lifts = [statistics.fmean(result.lift[name] or 0 for result in of) for name in models]
        rows.append(["", "lift", "", *(f"{lift:.2f}" for lift in lifts), "", ""])
    return table(*rows)


def _following(results: Results) -> str:
    """A row a loop: the truth, and whether the marts' figures put the models in its order, each in its own loop, and
    all of them where DecayedCTR is followed."""
    loops: dict[tuple[str, int, float], dict[str, Result]] = {}
    for case, found in results.items():
        for group, result in found.items():
            if group.follows:
                loops.setdefault((case.label, group.impressions, group.share), {})[group.follows] = result
    said = [f"{figure}, {where}" for where in ("own loops", "one loop") for figure in ("lift", "advantage")]
    rows = [["world", "impressions", "followed", *FOLLOWED, "DecayedCTR - SmoothedCTR", *said]]
    right: dict[str, list[str]] = {column: [] for column in said}
    for (label, impressions, share), of in loops.items():
        models = list(of)
        own = {model: of[model].shares[model] for model in models}
        gain = [d - s for d, s in zip(own["DecayedCTR"], own["SmoothedCTR"], strict=True)]
        one = of["DecayedCTR"]
        answers = [
            in_order({m: statistics.fmean(own[m]) for m in models}, {m: of[m].lift.get(m) for m in models}),
            in_order({m: statistics.fmean(own[m]) for m in models}, {m: of[m].advantage.get(m) for m in models}),
            in_order({m: statistics.fmean(one.shares[m]) for m in models}, {m: one.lift.get(m) for m in models}),
            in_order({m: statistics.fmean(one.shares[m]) for m in models}, {m: one.advantage.get(m) for m in models}),
        ]
        for column, answer in zip(said, answers, strict=True):
            right[column].append(answer)
        values = [percent(own[model]) if model in own else "" for model in FOLLOWED]
        rows.append([label, f"{impressions:,}", f"{share:.0%}", *values, interval(gain), *answers])
    counted = "; ".join(f"{column} {of.count('yes')}, ties {of.count('tie')}" for column, of in right.items())
    return f"{table(*rows)}\n\nOf {len(loops)} loops in the order of the truth: {counted}."


def in_order(truth: dict[str, float], figure: dict[str, float | None]) -> str:
    """Does the figure put the models in the order of the truth? A tie: two are the same to three decimals, or one has
    no figure, since nothing else is shown, and the others are in order."""
    models = sorted(truth, key=lambda model: -truth[model])
    known = [value for model in models if (value := figure.get(model)) is not None]
    if any(round(above, 3) < round(below, 3) for above, below in pairwise(known)):
        return "no"
    return "yes" if len({round(value, 3) for value in known}) == len(models) else "tie"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quality",
        description="How good the lists are, on planted truth. Prints the tables and writes them into docs/models.md.",
    )
    parser.add_argument("--advertisers", type=int, default=20, help=f"in a group, each with {PRODUCTS} products")
    parser.add_argument("--seeds", type=int, default=3, help="of the worlds in which nobody follows a list")
    parser.add_argument("--quick", action="store_true", help="a few cases, writes no page; QUICK=1 says the same")
    parser.add_argument("--processes", type=int, default=2, help="cases run at one time")
    arguments = parser.parse_args()
    quick = arguments.quick or os.environ.get("QUICK", "") not in ("", "0")
    to_run = cases(quick, arguments.seeds, arguments.advertisers)
    lived = {case: case.days * len(case.groups) for case in to_run}
    started = time.monotonic()
    found: Results = {}
    with ProcessPoolExecutor(arguments.processes, get_context("spawn"), begin) as pool:
        running = {pool.submit(run, case): case for case in to_run}
        for done in as_completed(running):
            case = running[done]
            found[case] = done.result()
            passed = time.monotonic() - started
            left = passed * (sum(lived.values()) / sum(lived[case] for case in found) - 1)
            sys.stderr.write(
                f"{len(found)} of {len(to_run)}: {case.label}, {len(case.groups)} groups, {case.days} days  "
                f"({passed:.0f} s, about {left:.0f} s to go)\n"
            )
    measured = (
        f"{about_this_machine()} {arguments.advertisers} advertisers a group with {PRODUCTS} products each, "
        f"{1 if quick else arguments.seeds} seeds of the worlds where nobody follows; "
        f"{time.monotonic() - started:.0f} s. "
        "After ±: half of the 95 % interval over advertisers, paired, in points.\n\n"
        + tables({case: found[case] for case in to_run})
    )
    print(measured)
    if not quick:
        write(PAGE, measured, "make quality")
    return 0


if __name__ == "__main__":
    sys.exit(main())
