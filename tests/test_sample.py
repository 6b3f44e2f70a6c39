"""The sample logs: the same for the same seed, of the real shape, with the truth that was planted."""

import csv
import re
from collections import Counter
from datetime import date
from pathlib import Path

from local import sample

DAYS = [date(2024, 11, 20), date(2024, 11, 21)]


def make(folder: Path, seed: int = 1, events: int = 30_000) -> dict[str, bytes]:
    sample.write(sample.make_world(seed, advertisers=10, products=40), folder, DAYS, events)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_gives_the_same_logs_and_another_gives_others(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    assert first == make(tmp_path / "b")
    assert set(first) == {f"{day}/{log}" for day in DAYS for log in sample.LOGS}
    assert first != make(tmp_path / "c", seed=2)
    assert first["2024-11-20/ads_views"].replace(b"11-20", b"11-21") != first["2024-11-21/ads_views"]


def test_the_logs_look_like_the_business(tmp_path: Path) -> None:
    make(tmp_path)
    active = (tmp_path / "2024-11-20/advertiser_ids").read_text().split()[1:]
    with (tmp_path / "2024-11-20/ads_views").open() as log:
        rows = list(csv.DictReader(log))
    assert len(rows) == 30_000
    assert len(active) == 8
    assert len({row["advertiser_id"] for row in rows} - set(active)) == 2
    assert all(re.fullmatch("[A-Z0-9]{20}", row["advertiser_id"]) for row in rows)
    assert all(re.fullmatch("[a-z0-9]{6}", row["product_id"]) for row in rows)
    assert {row["date"] for row in rows} == {"2024-11-20"}
    kinds = Counter(row["type"] for row in rows)
    assert 0.01 < kinds["click"] / kinds["impression"] < 0.05
    popularity = sorted(Counter(row["product_id"] for row in rows).values(), reverse=True)
    assert sum(popularity[: len(popularity) // 5]) > 0.4 * len(rows)


def test_the_planted_truth_is_what_the_clicks_come_from(tmp_path: Path) -> None:
    world = sample.make_world(advertisers=2, products=5)
    sample.write(world, tmp_path, DAYS[:1], 200_000)
    sample.write_truth(world, tmp_path / "truth.csv")
    with (tmp_path / "truth.csv").open() as file:
        truth = {row["product_id"]: float(row["click_rate"]) for row in csv.DictReader(file)}
    with (tmp_path / "2024-11-20/ads_views").open() as log:
        seen = Counter((row["product_id"], row["type"]) for row in csv.DictReader(log))
    for product, rate in truth.items():
        assert abs(seen[product, "click"] / seen[product, "impression"] - rate) < 0.01
