"""What a model would list, before it is live: beside what is published, and what became of both."""

import json
import math
from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from conftest import DAY, Night, ordinary_logs
from test_hiding import elt

from elt import preview
from elt.errors import PipelineError

DAYS = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(3)]

FEWEST = """-- Fewest: the products of an advertiser with the fewest clicks of the day.
-- Grain: advertiser, rank. Parameters: ds, the log day.
-- clicks: ad clicks of the day
SELECT
    product_daily.advertiser_id,
    row_number() OVER (
        PARTITION BY product_daily.advertiser_id ORDER BY product_daily.clicks ASC, product_daily.product_id ASC
    ) AS rank,
    product_daily.product_id,
    -product_daily.clicks AS score,
    product_daily.clicks
FROM staging.product_daily
WHERE product_daily.date = %(ds)s::date
"""


@pytest.fixture
def published(night: Night, nobody_reads: None) -> Night:
    """Three published days, of different clicks."""
    return publish(night, [], [])


@pytest.fixture
def uneven(night: Night, nobody_reads: None) -> Night:
    """The same of advertisers that differ. What TopCTR leaves out of CORE's products is never clicked, so that there is
    nothing to compare its list with, as there is with that of Fewest."""
    ads = []
    for day in DAYS:
        for n in range(25):
            for advertiser, shown, clicked in (("BOLT", n, n % 3), ("CORE", 10, n % 5)):
                ads += [(advertiser, f"p{n:02}", "impression", day)] * shown
                ads += [(advertiser, f"p{n:02}", "click", day)] * clicked
    return publish(night, ["CORE"], ads)


def publish(night: Night, more_active: list[str], more_ads: list[Any]) -> Night:
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(DAYS)]
    views, ads = ([row for of in logs for row in of[n]] for n in (1, 2))
    night.deliver(logs[0][0] + more_active, views, ads + more_ads)
    for day in DAYS:
        night.run(day)
    return night


def everything(night: Night) -> list[Any]:
    tables = ("models.candidates", "models.builds", "marts.recommendations", "marts.publications")
    return [night.warehouse.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]


@pytest.mark.model_blind
def test_a_preview_says_how_lists_would_differ_and_what_became_of_them_and_publishes_nothing(
    uneven: Night, s3_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "fewest.sql"
    file.write_text(FEWEST)
    before = everything(uneven)
    arguments = ("preview", str(file), "--from", DAYS[0], "--to", DAYS[2], "--against", "TopCTR")
    said, found = elt(uneven, s3_url, *arguments), elt(uneven, s3_url, *arguments, "--json")
    assert said.returncode == found.returncode == 0, said.stderr + found.stderr
    assert everything(uneven) == before
    lines = said.stdout.splitlines()
    assert [line[:10] for line in lines[:4]] == [*DAYS, "all days  "]
    answer = json.loads(found.stdout)
    assert (answer["model"], answer["against"], list(answer["days"])) == ("Fewest", "TopCTR", DAYS)
    for day in DAYS:
        assert answer["days"][day] == pytest.approx(expected(uneven, [day]), abs=2e-6), day
    assert answer["all"] == pytest.approx(expected(uneven, DAYS), abs=2e-6)
    assert answer["days"][DAYS[2]]["new"] is None, "nothing is known of the day after"
    (first, *_) = answer["changes"]
    one = first["advertiser_id"]
    new, old = lists(uneven, DAYS[2])
    assert first["comes"] == [p for p in new[one] if p not in old[one]]
    assert first["goes"] == [p for p in old[one] if p not in new[one]]
    assert f"  {one}  {first['rank_weighted_change']:.2f}  comes: {', '.join(first['comes'][:5])}" in said.stdout


def test_a_preview_of_a_published_model_changes_nothing(published: Night) -> None:
    from elt import sql

    (model,) = (model for model in sql.models() if model.name == "Recommended")
    day = date.fromisoformat(DAY)
    found = preview.preview(model.file, "Recommended", day, day, published.warehouse.connect, lambda line: None)
    assert (found["all"]["changed"], found["all"]["overlap"], found["all"]["gain"]) == (0, 1, 0)
    assert (found["changes"], found["refused"]) == ([], {})
    long_ago = date(2020, 1, 1)
    with pytest.raises(PipelineError, match="0 days are loaded from 2020-01-01 to 2020-01-01, and Recommended is"):
        preview.preview(model.file, "Recommended", long_ago, long_ago, published.warehouse.connect, lambda line: None)


@pytest.mark.model_blind
def test_a_file_that_a_night_would_refuse_is_refused_with_its_name(
    published: Night, s3_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "fewest.sql"
    before = everything(published)
    for text, said in (
        (None, "No such file"),
        (
            "-- Most: not its name.\nSELECT 1",
            "the first line must be '-- Name: what the model is', where Name is 'fewest'",
        ),
        (FEWEST.replace("SELECT\n", "SELEC\n", 1), "can not be read: Invalid expression"),
        (FEWEST.replace("product_daily.clicks ASC", "product_daily.klicks ASC"), "klicks does not exist"),
        (
            FEWEST.replace("date = %(ds)s::date", "date BETWEEN %(ds)s::date - 31 AND %(ds)s::date"),
            "looks back 31 days",
        ),
        (
            FEWEST.replace("row_number() OVER", "rank() OVER").replace(", product_daily.product_id ASC", ""),
            "a_rank_is_given_once",
        ),
    ):
        if text is not None:
            file.write_text(text)
        refused = elt(published, s3_url, "preview", str(file), "--from", DAYS[0], "--to", DAYS[0])
        assert refused.returncode == 1
        assert str(file) in refused.stderr
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
        assert "\x1b" not in refused.stderr
    assert everything(published) == before
    backwards = elt(published, s3_url, "preview", str(file), "--from", DAYS[1], "--to", DAYS[0])
    assert (backwards.returncode, f"--from {DAYS[1]} is after --to {DAYS[0]}" in backwards.stderr) == (2, True)


@pytest.mark.model_blind
def test_what_the_audits_of_a_night_would_refuse_is_said(published: Night, s3_url: str, tmp_path: Path) -> None:
    file = tmp_path / "fewest.sql"
    for text, said in (
        (
            FEWEST.replace(
                "    product_daily.product_id,\n", "    'made-up-' || product_daily.product_id AS product_id,\n"
            ),
            "products_had_events: 40 rows, no event in 31 days: made-up-p00 of ACME",
        ),
        (
            FEWEST.replace("%(ds)s::date\n", "%(ds)s::date AND product_daily.clicks < 0\n"),
            "every_model_is_published: 1 rows, it lists nothing",
        ),
        (
            FEWEST.replace("    -product_daily", "    product_daily"),
            "lists_are_whole: 6 rows, rank 11 of ACME has the score 2",
        ),
        (
            FEWEST.replace(
                "    product_daily.advertiser_id,\n    row",
                "    'X' || product_daily.advertiser_id AS advertiser_id,\n    row",
            ),
            "active_advertisers_only: 40 rows, not active: XACME",
        ),
    ):
        file.write_text(text)
        arguments = ("preview", str(file), "--from", DAYS[0], "--to", DAYS[0])
        told, found = elt(published, s3_url, *arguments), elt(published, s3_url, *arguments, "--json")
        assert told.returncode == found.returncode == 0, told.stderr + found.stderr
        assert f"{DAYS[0]} a night would refuse it, by {said}" in told.stdout
        assert said in json.loads(found.stdout)["refused"][DAYS[0]]


def lists(night: Night, day: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """By advertiser, what Fewest would list of the day, and TopCTR does."""
    counts = night.warehouse.rows(
        "SELECT advertiser_id, product_id, clicks FROM staging.product_daily WHERE date = %s", day
    )
    new: dict[str, list[str]] = {}
    for advertiser, product, _ in sorted(counts, key=lambda row: (row[2], row[1])):
        new.setdefault(advertiser, []).append(product)
    old: dict[str, list[str]] = {}
    for advertiser, _, product, *_ in night.top_ctr(day):
        old.setdefault(advertiser, []).append(product)
    return {advertiser: of[:20] for advertiser, of in new.items()}, old


def expected(night: Night, days: list[str]) -> dict[str, Any]:
    """In plain Python, from the definitions."""
    overlaps, changes = [], []
    of: dict[str, Counter[str]] = {}
    for day in days:
        new, old = lists(night, day)
        after = str(date.fromisoformat(day) + timedelta(1))
        rows = night.warehouse.rows(
            "SELECT advertiser_id, product_id, impressions, clicks FROM staging.product_daily WHERE date = %s", after
        )
        for advertiser in new:
            one, other = new[advertiser], old[advertiser]
            longer = max(len(one), len(other))
            overlaps.append(Fraction(len({*one} & {*other}), longer))
            depths = [Fraction(len({*one[:d]} & {*other[:d]}), d) for d in range(1, longer + 1)]
            changes.append(1 - sum(depths) / longer)
            counts = {product: (i, c) for a, product, i, c in rows if a == advertiser}
            sums = {}
            for which, products in (("new", one), ("old", other)):
                i, c = (sum(counts.get(p, (0, 0))[n] for p in products) for n in (0, 1))
                rest = [sum(pair[n] for pair in counts.values()) - (i, c)[n] for n in (0, 1)]
                sums[f"{which}_c"], sums[f"{which}_e"] = c, Fraction(i * rest[1], rest[0]) if rest[0] else Fraction(0)
            if sums["new_e"] and sums["old_e"]:
                of.setdefault(advertiser, Counter()).update(sums)
    found: dict[str, Any] = {
        "days": len(days),
        "lists": len(changes),
        "changed": sum(change > 0 for change in changes),
        "overlap": float(sum(overlaps) / len(overlaps)),
        "rank_weighted_change": float(sum(changes) / len(changes)),
        "advertisers_compared": len(of),
    }
    total = {
        name: sum((sums[name] for sums in of.values()), Fraction(0)) for name in ("new_c", "new_e", "old_c", "old_e")
    }
    ratios = {w: total[f"{w}_c"] / total[f"{w}_e"] if of else None for w in ("new", "old")}
    residuals = {
        w: [(sums[f"{w}_c"] - (ratios[w] or 0) * sums[f"{w}_e"]) / total[f"{w}_e"] for sums in of.values()]
        for w in ratios
    }
    residuals["gain"] = [new - old for new, old in zip(residuals["new"], residuals["old"], strict=True)]
    ratios["gain"] = ratios["new"] - ratios["old"] if of else None  # type: ignore[operator]
    for w, ratio in ratios.items():
        found[w] = None if ratio is None else float(ratio)
        m = len(of)
        margin = 1.96 * math.sqrt(sum(r * r for r in residuals[w]) * m / (m - 1)) if m > 1 else None
        found[f"{w}_margin"] = margin
    return found
