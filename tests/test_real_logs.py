"""The raw logs of 2024: thirty days in one file, every list cut inside a tie. Skipped where they are not."""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Night
from oracle import top_ctr, top_product

DAYS = [f"2024-11-{n}" for n in range(20, 31)] + [f"2024-12-{n:02}" for n in range(1, 20)]


def read(file: Path) -> list[tuple[str, ...]]:
    with file.open(newline="") as log:
        return [tuple(row) for row in csv.reader(log)][1:]


@pytest.fixture
def expected(logs_folder: Path) -> dict[str, tuple[list, list]]:
    active = [row[0] for row in read(logs_folder / "advertiser_ids")]
    ads, views = read(logs_folder / "ads_views"), read(logs_folder / "product_views")
    return {
        day: (
            top_ctr(day, active, [e for e in ads if e[3] == day]),
            top_product(day, active, [v for v in views if v[2] == day]),
        )
        for day in DAYS
    }


def test_thirty_days_two_at_once_in_any_order_are_what_plain_python_ranks(
    night: Night, logs_folder: Path, expected: dict
) -> None:
    for log in ("advertiser_ids", "product_views", "ads_views"):
        night.s3.upload_file(str(logs_folder / log), night.bucket, log)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(night.run, DAYS[::-1]))
    assert {day: (night.top_ctr(day), night.top_product(day)) for day in DAYS} == expected
    assert night.warehouse.rows("SELECT count(*) FROM marts.recommendations") == [(24_000,)]
    before = night.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1")
    assert night.run(DAYS[7], reload=True) == []
    assert night.warehouse.rows("SELECT t::text FROM marts.publications t ORDER BY 1") == before
