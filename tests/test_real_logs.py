"""The raw logs of 2024: thirty days in one file, every list cut inside a tie. Skipped where they are not."""

import csv
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chaos
import pytest
from conftest import Night
from oracle import smoothed_ctr, top_ctr, top_product

from local import airflow
from local.postgres import MASTER

DAYS = [f"2024-11-{n}" for n in range(20, 31)] + [f"2024-12-{n:02}" for n in range(1, 20)]

Lists = tuple[list[tuple[Any, ...]], ...]
"""Of one day, those of each model."""


SHORT_RECOMMENDED = """
SELECT had.date, had.advertiser_id, had.products
FROM (
    SELECT active.date, active.advertiser_id, count(DISTINCT events.product_id) AS products
    FROM marts.active_advertisers AS active
    JOIN staging.product_daily AS events
        ON events.advertiser_id = active.advertiser_id AND events.date BETWEEN active.date - 2 AND active.date
    GROUP BY 1, 2
) AS had
LEFT JOIN (SELECT date, advertiser_id, count(*) AS products FROM marts.recommended GROUP BY 1, 2) AS listed
    USING (date, advertiser_id)
WHERE least(had.products, 20) <> coalesce(listed.products, 0)
"""
"""Active advertisers whose list of Recommended is shorter than 20 although they have products with events."""


def read(file: Path) -> list[tuple[str, ...]]:
    with file.open(newline="") as log:
        return [tuple(row) for row in csv.reader(log)][1:]


@pytest.fixture
def expected(logs_folder: Path) -> dict[str, Lists]:
    active = [row[0] for row in read(logs_folder / "advertiser_ids")]
    ads, views = read(logs_folder / "ads_views"), read(logs_folder / "product_views")
    events = Counter((day, advertiser, product, kind) for advertiser, product, kind, day in ads)
    counts = {key[:3]: (events[*key[:3], "impression"], events[*key[:3], "click"]) for key in events}
    return {
        day: (
            top_ctr(day, active, [(a, p, kind, d) for a, p, kind, d in ads if d == day]),
            top_product(day, active, [(a, p, d) for a, p, d in views if d == day]),
            [(*row, min(n, 7)) for row in smoothed_ctr(day, active, counts)],
        )
        for n, day in enumerate(DAYS, 1)
    }


def lists(night: Night, days: list[str]) -> dict[str, Lists]:
    return {day: night.lists(day) for day in days}


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.skipif(not chaos.LONG, reason="three minutes; make chaos runs it")
def test_thirty_days_through_the_dag_are_what_plain_python_ranks(
    night: Night, logs_folder: Path, expected: dict[str, Lists], s3_url: str, tmp_path: Path
) -> None:
    """A backfill by the real scheduler, two days at a time; then one day again."""
    for log in ("advertiser_ids", "product_views", "ads_views"):
        night.s3.upload_file(str(logs_folder / log), night.bucket, log)
    postgres = night.warehouse.postgres
    postgres.provision("thirty_days_airflow")
    metadata = postgres.url(MASTER, "thirty_days_airflow")
    env = night.environment(s3_url) | airflow.environment(tmp_path / "airflow", metadata, airflow.free_port())
    publications = "SELECT t::text FROM marts.publications t WHERE date = ANY(%s::date[]) ORDER BY 1"
    with airflow.services(env) as client:
        client.backfill("recommendations", DAYS[0], DAYS[-1], at_once=2)
        wait_for(client, DAYS)
        assert lists(night, DAYS) == expected
        before = night.warehouse.rows(publications, DAYS)
        client.backfill("recommendations", DAYS[3], DAYS[4], at_once=2)
        wait_for(client, DAYS[3:5], since=datetime.now(UTC).isoformat())
    assert night.warehouse.rows(publications, DAYS) == before
    chaos.figures.append(
        "30 real days through the scheduler: 36,000 rows equal to the oracle, a second run changes none"
    )


def wait_for(client: airflow.Client, days: list[str], since: str = "") -> None:
    """Until every day's DBWriting has succeeded (after `since`)."""
    deadline = time.monotonic() + 600
    while True:
        tasks = client.tasks("recommendations", days)
        done = [t for t in tasks if t["task_id"] == "DBWriting" and t["state"] == "success" and t["end_date"] > since]
        if len(done) == len(days):
            return
        assert time.monotonic() < deadline, tasks
        time.sleep(0.5)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_real_days_two_at_once_in_any_order_are_what_plain_python_ranks(
    night: Night, logs_folder: Path, expected: dict
) -> None:
    """Backwards: no day finds the days before it loaded, and each is ranked again when they are."""
    days = DAYS[: chaos.scale(10, 30)]
    for log in ("advertiser_ids", "product_views", "ads_views"):
        night.s3.upload_file(str(logs_folder / log), night.bucket, log)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(night.run, days[::-1]))
    assert lists(night, days) == {day: expected[day] for day in days}
    query = "SELECT count(*) FROM marts.recommendations WHERE model IN ('SmoothedCTR', 'TopCTR', 'TopProduct')"
    assert night.warehouse.rows(query) == [(1_200 * len(days),)]
    assert night.warehouse.rows(SHORT_RECOMMENDED) == []
    order = "SELECT clicks > 0 FROM marts.recommended WHERE (date, advertiser_id) = (%s, %s) ORDER BY rank"
    for day, advertiser in night.warehouse.rows("SELECT date, advertiser_id FROM marts.active_advertisers"):
        has_evidence = [clicked for (clicked,) in night.warehouse.rows(order, day, advertiser)]
        assert has_evidence == sorted(has_evidence, reverse=True)
    before = night.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1")
    assert night.run(DAYS[7], reload=True) == []
    assert night.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1") == before
    chaos.figures.append(
        f"{len(days)} real days backwards, two at once: {1_200 * len(days):,} rows equal to the oracle"
    )
