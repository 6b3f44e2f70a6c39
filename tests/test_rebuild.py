"""`python -m elt rebuild`: any range of days from S3, without Airflow."""

import os
import subprocess
import sys
from datetime import date, timedelta
from typing import Any

import pytest
from conftest import MODELS, ORDINARY_LISTS, Night, ordinary_logs
from oracle import smoothed_ctr, top_ctr, top_product

from elt import sql
from elt.rebuild import rebuild as rebuild_days
from elt.settings import PROJECT

pytestmark = pytest.mark.usefixtures("nobody_reads")

DAYS = [f"2024-11-{n}" for n in (16, 17, 18, 19, 20)]
PRODUCTS = ORDINARY_LISTS * len(MODELS)


def rebuild(night: Night, s3_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "elt", "rebuild", *arguments]
    env = os.environ | night.environment(s3_url)
    return subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_a_range_from_nothing_is_what_plain_python_ranks(night: Night, s3_url: str) -> None:
    """Three days, the first of which looks back on two more; what is published after them follows."""
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(DAYS)]
    active, views, ads = logs[0][0], [v for log in logs for v in log[1]], [a for log in logs for a in log[2]]
    night.deliver(active, views, ads)
    night.run(DAYS[4])

    done = rebuild(night, s3_url, "--from", DAYS[1], "--to", DAYS[3])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    back = max(model.looks_back for model in sql.models())
    earlier = [str(date.fromisoformat(DAYS[1]) - timedelta(n)) for n in range(back, 0, -1)]
    assert [line[:10] for line in lines] == [*earlier, *DAYS[1:]]
    assert f"nothing to look back on: no line of {earlier[0]} yet" in lines[0]
    assert lines[back - 1] == f"{DAYS[0]}  loaded, to look back on"
    for line in lines[back:-1]:
        assert f"  loaded, ranked {PRODUCTS} products, published {', '.join(MODELS)}" in line
    assert lines[-1].startswith(f"{DAYS[4]}  ranked and published again")

    counts: dict[tuple[str, str, str], tuple[int, int]] = {}
    for advertiser, product, kind, day in ads:
        shown, clicked = counts.get((day, advertiser, product), (0, 0))
        counts[day, advertiser, product] = shown + (kind == "impression"), clicked + (kind == "click")
    for n, day in enumerate(DAYS[1:], 2):
        assert night.lists(day) == (
            top_ctr(day, active, ads),
            top_product(day, active, views),
            [(*row, n) for row in smoothed_ctr(day, active, counts)],
        )
    assert night.top_ctr(DAYS[0]) == [], "loaded to look back on, not published"

    again = rebuild(night, s3_url, "--from", DAYS[2], "--to", DAYS[3])
    assert again.returncode == 0
    assert again.stdout.count(f"was loaded, ranked {PRODUCTS} products, published already, nothing changed") == 2
    for table in ("staging.loads", "marts.publications"):
        runs = f"SELECT DISTINCT run_id FROM {table} WHERE date BETWEEN %s AND %s"
        assert night.warehouse.rows(runs, DAYS[1], DAYS[3]) == [("rebuild",)], table
    stood = night.warehouse.rows("SELECT * FROM staging.loads WHERE date < %s ORDER BY 1", DAYS[3])
    night.deliver(active, views[1:], ads)
    reload = rebuild(night, s3_url, "--from", DAYS[3], "--to", DAYS[3], "--reload")
    assert f"{DAYS[3]}  loaded, ranked {PRODUCTS} products, published" in reload.stdout
    assert night.warehouse.rows("SELECT * FROM staging.loads WHERE date < %s ORDER BY 1", DAYS[3]) == stood
    assert night.warehouse.rows("TABLE staging.days_set_aside") == [], "what is only looked back on is not loaded anew"


@pytest.mark.model_blind
def test_a_day_that_fails_is_named_and_does_not_stop_the_others(night: Night, s3_url: str) -> None:
    night.change(**{
        name: f"s3://{night.bucket}/{{ds}}/{log}"
        for name, log in (
            ("advertisers_uri", "advertiser_ids"),
            ("product_views_uri", "product_views"),
            ("ads_views_uri", "ads_views"),
        )
    })  # fmt: skip
    for day in (DAYS[2], DAYS[4]):
        night.deliver(*ordinary_logs(day), under=f"{day}/")
    done = rebuild(night, s3_url, "--from", DAYS[2], "--to", DAYS[4])
    assert done.returncode == 1
    assert f"{DAYS[3]}  FAILED: s3://{night.bucket}/{DAYS[3]}/advertiser_ids: no such object yet" in done.stdout
    assert done.stderr == "1 of 3 days failed\n"
    assert {day for (day,) in night.warehouse.rows("SELECT DISTINCT date::text FROM marts.publications")} == {
        DAYS[2],
        DAYS[4],
    }


@pytest.mark.model_blind
def test_wrong_arguments_are_refused(night: Night, s3_url: str) -> None:
    backwards = rebuild(night, s3_url, "--from", DAYS[1], "--to", DAYS[0])
    assert backwards.returncode == 2
    assert "--from 2024-11-17 is after --to 2024-11-16" in backwards.stderr
    assert rebuild(night, s3_url, "--from", "yesterday", "--to", DAYS[0]).returncode == 2
    night.change(ads_views_uri="file:///etc")
    wrong = rebuild(night, s3_url, "--from", DAYS[0], "--to", DAYS[0])
    assert wrong.returncode == 1
    assert "rebuild: environment: ADS_VIEWS_URI" in wrong.stderr


@pytest.mark.model_blind
def test_a_connection_that_is_lost_costs_one_day(night: Night) -> None:
    logs = [ordinary_logs(day, shift) for shift, day in enumerate(DAYS)]
    night.deliver(logs[0][0], [v for log in logs for v in log[1]], [a for log in logs for a in log[2]])
    said: list[str] = []

    def connect() -> Any:
        """The server ends the first session after the second day's."""
        conn = night.warehouse.connect()
        if len([line for line in said if "published" in line]) == 1 and not lost:
            lost.append(conn.info.backend_pid)
            night.warehouse.rows("SELECT pg_terminate_backend(%s)", conn.info.backend_pid)
        return conn

    lost: list[int] = []
    first, last = date.fromisoformat(DAYS[2]), date.fromisoformat(DAYS[4])
    failed = rebuild_days(first, last, connect, night.s3, night.settings, said.append, reload=False, incomplete=False)
    assert failed == [DAYS[3]]
    assert [line[:10] for line in said if "published" in line and "FAILED" not in line] == [DAYS[2], DAYS[4]]
    assert (
        rebuild_days(last, last, connect, night.s3, night.settings, said.append, reload=False, incomplete=False) == []
    )
