"""Do the models recommend well? `python -m bench.quality`: on logs of known true click rates, and without signal.

Every figure comes through the real steps and SQL, on embedded PostgreSQL and S3: days are loaded, ranked and published,
and the lists of the seventh are looked up in the planted truth. A list's worth is the mean true click rate of its 20
products, as a share of the best possible: the 20 products with the highest true rates. The lift beside it is what the
mart `marts.evaluation` says of the same models, from the clicks of the days after, which is all that it knows.
"""

import argparse
import os
import statistics
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
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

DAYS = [date(2024, 11, 14) + timedelta(n) for n in range(8)]
"""The last day only says what became of the lists of the day before it, which are looked up in the truth."""

VIEWS = 20_000
"""Lines of the log of views, a day: TopProduct ranks by them, and they know nothing of click rates."""


def run_days(name: str, world: sample.World, impressions: int, postgres: Postgres, folder: Path) -> dict[str, Any]:
    """Publishes the days of a world with so many impressions an advertiser and day (on average).

    Returns per model the lists of the last day but one, {advertiser: products}, and the lift of all days.
    """
    storage = boto3.client("s3")
    storage.create_bucket(Bucket=name)
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
    click_rate = statistics.fmean(p.click_rate for p in world.products)
    events = round(len(world.active) * impressions * (1 + click_rate))
    connect = lambda: psycopg2.connect(url)  # noqa: E731
    for day in DAYS:
        sample.write(world, folder, [day], events, views=VIEWS)
        for log in sample.LOGS:
            storage.upload_file(str(folder / str(day) / log), name, f"{day}/{log}")
            (folder / str(day) / log).unlink()
        steps.filter_events(str(day), connect, storage, settings, run_id="quality")
        for model in sql.models():
            steps.build_model(str(day), model, connect, storage, settings)
        steps.publish(str(day), sql.models(), connect, settings, run_id="quality")
    conn = psycopg2.connect(url)
    with conn.cursor() as cursor:
        cursor.execute(
            "SELECT model, advertiser_id, array_agg(product_id) FROM marts.recommendations "
            "WHERE date = %s GROUP BY model, advertiser_id",
            (DAYS[-2],),
        )
        lists: dict[str, dict[str, list[str]]] = {model.name: {} for model in sql.models()}
        for model, advertiser, products in cursor.fetchall():
            lists[model][advertiser] = products
        cursor.execute("SELECT model, sum(clicks) / sum(expected_clicks) FROM marts.evaluation GROUP BY model")
        lift = dict(cursor.fetchall())
    conn.close()
    return {"lists": lists, "lift": lift}


def shares(world: sample.World, lists: dict[str, dict[str, list[str]]]) -> dict[str, float]:
    """Mean true click rate of the listed products / of the best possible 20, averaged over the advertisers; by model.

    `random`: of a product drawn blindly, which is the mean of all.
    """
    rates: dict[str, dict[str, float]] = {advertiser: {} for advertiser in world.active}
    for product in world.products:
        rates[product.advertiser_id][product.product_id] = product.click_rate
    best = {a: statistics.fmean(sorted(of_a.values())[-20:]) for a, of_a in rates.items()}
    found = {"random": statistics.fmean(statistics.fmean(rates[a].values()) / best[a] for a in rates)}
    for model, of_model in lists.items():
        found[model] = statistics.fmean(
            statistics.fmean(rates[a][product] for product in products) / best[a] for a, products in of_model.items()
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__.splitlines()[0])
    parser.add_argument("--advertisers", type=int, default=100, help="how many, each with 200 products")
    parser.add_argument(
        "--impressions", type=int, nargs="+", default=[500, 2000, 8000], help="a day, for an advertiser on average"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    world = sample.make_world(arguments.seed, arguments.advertisers, products=200, inactive=0)
    mean = statistics.fmean(p.click_rate for p in world.products)
    flat = replace(world, products=[replace(product, click_rate=mean) for product in world.products])
    models = [model.name for model in sql.models()]
    heads = ["logs", "impressions", "random", *models, "perfect", *(f"lift {model}" for model in models)]
    print(
        f"{arguments.advertisers} advertisers, 200 products each, after 7 days. The true click rate of a model's 20\n"
        "products, as a share of the best possible; and the lift, as marts.evaluation measures it by the clicks of\n"
        f"the day after.\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}",
        flush=True,
    )
    started = time.monotonic()
    kept = {}
    with TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres", free_port()) as postgres:
        with s3.s3_server(free_port()) as s3_url:
            os.environ.update(s3.environment(s3_url))
            for logs, of_logs in (("planted", world), ("no signal", flat)):
                for impressions in arguments.impressions if logs == "planted" else [2000]:
                    name = f"{logs.replace(' ', '-')}-{impressions}"
                    ran = run_days(name, of_logs, impressions, postgres, Path(folder))
                    kept[name] = shares(of_logs, ran["lists"])
                    row = [f"{kept[name][column]:.0%}" for column in ("random", *models)]
                    row += ["100%", *(f"{ran['lift'][model]:.2f}" for model in models)]
                    print(f"| {logs} | {impressions:,} | {' | '.join(row)} |", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")
    at_2000 = kept.get("planted-2000")
    if at_2000:
        gain = at_2000["SmoothedCTR"] / at_2000["TopCTR"]
        print(f"At 2,000 impressions SmoothedCTR's products have {gain:.2f} times the true click rate of TopCTR's.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
