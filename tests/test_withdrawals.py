"""`python -m elt withdraw` and `restore`: readers are back on the day before, as if the day had not been published."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from conftest import DAY, MODELS, Night, ordinary_logs

from elt import following, sql, steps, warehouse, withdrawals
from elt.__main__ import main
from elt.errors import PipelineError, Withdrawn
from elt.settings import PROJECT
from local.airflow import free_port
from local.api import serve

BEFORE = "2024-11-19"
DAYS = [str(date.fromisoformat(DAY) + timedelta(n)) for n in range(11)]
PUBLISHED = (*steps.FIGURES, "recommendations", "active_advertisers")
"""What readers see of a day, apart from when and by which run it was published."""


def elt(night: Night, s3_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | night.environment(s3_url) | {"LOGNAME": "ana"}
    command = [sys.executable, "-m", "elt", *arguments]
    return subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, check=False)


def withdraw(night: Night, day: str = DAY) -> str:
    return withdrawals.withdraw(day, night.warehouse.connect, why="two logs were swapped", by="ana")


def restore(night: Night, day: str = DAY) -> list[str]:
    connect = night.warehouse.connect
    return withdrawals.restore(day, sql.models(), connect, lambda: night.s3, night.settings, by="ana")


def run_both(night: Night) -> None:
    for shift, day in enumerate((BEFORE, DAY)):
        night.deliver(*ordinary_logs(day, shift))
        night.run(day)


def seen(night: Night) -> dict[str, list[Any]]:
    days = night.warehouse.rows("SELECT date::text, model, lists_hash, days_read FROM marts.publications ORDER BY 1, 2")
    return {"days": days} | {
        table: night.warehouse.rows(f"SELECT t::text FROM marts.{table} t ORDER BY 1") for table in PUBLISHED
    }


def newest(night: Night) -> str:
    return night.warehouse.rows("SELECT max(date)::text FROM marts.publications")[0][0]


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_a_withdrawn_day_leaves_what_there_is_when_it_was_never_published(night: Night) -> None:
    """The first, one amid more days than a figure looks over, the newest; and back again, in another order."""
    for shift, day in enumerate(DAYS):
        night.deliver(*ordinary_logs(day, shift))
        night.load(day)
        night.rank(day)
    first, amid, last = DAYS[0], DAYS[2], DAYS[-1]
    for day in DAYS:
        if day not in (first, amid, last):
            night.publish(day)
    states = [seen(night)]
    for day in (first, amid, last):
        night.publish(day)
        states.append(seen(night))
    for day, state in ((last, states[2]), (amid, states[1]), (first, states[0])):
        assert withdraw(night, day) == max(date for date, *_ in state["days"])
        assert seen(night) == state, day
    for day, state in ((first, states[1]), (amid, states[2]), (last, states[3])):
        assert restore(night, day) == MODELS
        assert seen(night) == state, day


@pytest.mark.usefixtures("nobody_reads")
def test_a_day_that_was_loaded_anew_comes_back_as_readers_saw_it_or_not_at_all(night: Night) -> None:
    """A load of the same events, published, is no other; one that was refused is never what comes back."""
    run_both(night)
    night.run(reload=True)
    before = seen(night)
    withdraw(night)
    assert restore(night) == MODELS
    assert seen(night) == before
    night.deliver(*ordinary_logs(shift=5))
    night.load()
    night.rank()
    night.warehouse.rows("UPDATE models.candidates SET product_id = 'invented' WHERE rank = 7")
    with pytest.raises(PipelineError, match="products_had_events"):
        night.publish()
    withdraw(night)
    without = seen(night)
    with pytest.raises(PipelineError, match=rf"loaded anew \(test, .*UTC\)(?s:.*)rebuild --from {DAY} --to {DAY}"):
        restore(night)
    assert seen(night) == without


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_a_day_that_is_loaded_while_it_is_restored_stays_withdrawn(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded and ranked between the look at what was loaded and the publication."""
    run_both(night)
    withdraw(night)
    without = seen(night)
    rank_again = following.rank_again

    def loaded_meanwhile(*arguments: Any) -> None:
        rank_again(*arguments)
        night.deliver(*ordinary_logs(shift=5))
        night.load()
        night.rank()

    monkeypatch.setattr(following, "rank_again", loaded_meanwhile)
    with pytest.raises(PipelineError, match=rf"{DAY} was loaded anew \(test, "):
        restore(night)
    assert seen(night) == without
    with pytest.raises(Withdrawn):
        night.publish()


@contextmanager
def polled(url: str) -> Iterator[list[tuple[float, str, str]]]:
    """Every answer that a client gets who never stops asking: when it asked, the day, its first product."""
    answers: list[tuple[float, str, str]] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=10) as http:
            while not stop.wait(0.002):
                asked = time.monotonic()
                body = http.get("/recommendations/ACME/TopCTR").raise_for_status().json()
                answers.append((asked, body["date"], body["recommendations"][0]["product_id"]))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield answers
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.model_blind
def test_readers_are_back_on_the_day_before_when_it_is_withdrawn_and_never_see_a_mix(
    night: Night, tmp_path: Path
) -> None:
    run_both(night)
    best = {day: rows[0][2] for day in (BEFORE, DAY) if (rows := night.top_ctr(day))}
    assert best[BEFORE] != best[DAY]
    listed = night.s3.list_objects_v2(Bucket=night.bucket)["Contents"]
    objects = [(item["Key"], item["LastModified"]) for item in listed]
    port = free_port()
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log") as _:
        url = f"http://127.0.0.1:{port}"
        with polled(url) as answers:
            for act, day in ((withdraw, BEFORE), (restore, DAY)):
                until = len(answers) + 200
                while len(answers) < until:
                    time.sleep(0.01)
                act(night)
                done = time.monotonic()
                while answers[-1][0] < done + 0.1:
                    time.sleep(0.01)
                assert {seen for at, seen, _ in answers if at > done} == {day}
        order = [seen for n, (_, seen, _) in enumerate(answers) if n == 0 or answers[n - 1][1] != seen]
        assert order == [DAY, BEFORE, DAY]
        assert {(seen, product) for _, seen, product in answers} == set(best.items())
        history = httpx.get(f"{url}/history/ACME").json()["history"]
        assert list(history) == [DAY, BEFORE]
    listed = night.s3.list_objects_v2(Bucket=night.bucket)["Contents"]
    assert [(item["Key"], item["LastModified"]) for item in listed] == objects


@pytest.mark.usefixtures("nobody_reads")
def test_it_is_recorded_for_analysts(night: Night, s3_url: str) -> None:
    run_both(night)
    done = elt(night, s3_url, "withdraw", DAY, "--why", "two logs were swapped")
    assert (done.returncode, done.stdout) == (0, f"{DAY} is withdrawn; the newest published day is {BEFORE}\n"), done
    query = "SELECT date::text, withdrawn_by, why, restored_by, restored_at > withdrawn_at FROM marts.withdrawals"
    row = (DAY, "ana", "two logs were swapped")
    assert night.warehouse.rows(query, role="recommendations_analyst") == [(*row, None, None)]
    ((lists,),) = night.warehouse.rows("SELECT lists FROM marts.withdrawals")
    assert set(lists) == set(MODELS)
    back = elt(night, s3_url, "restore", DAY, "--by", "eva")
    assert (back.returncode, back.stdout) == (0, f"{DAY} is published again: {', '.join(MODELS)}\n"), back
    assert night.warehouse.rows(query, role="recommendations_analyst") == [(*row, "eva", True)]
    hashes = dict(night.warehouse.rows("SELECT model, lists_hash FROM marts.publications WHERE date = %s", DAY))
    assert {model: was["lists_hash"] for model, was in lists.items()} == hashes
    # What comes back by another release, or with other products hidden, is told apart.
    withdraw(night)
    others = """lists - 'TopCTR' || '{"Old": {"lists_hash": "x"}, "TopProduct": {"lists_hash": "x"}}'"""
    night.warehouse.rows(f"UPDATE marts.withdrawals SET lists = {others} WHERE restored_at IS NULL")
    back = elt(night, s3_url, "restore", DAY)
    assert back.stdout.endswith("\nnot as it was: Old (retired), TopCTR (new), TopProduct (ranked again)\n"), back


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_what_can_not_be_withdrawn_or_restored_is_said(night: Night, s3_url: str) -> None:
    def refused(*arguments: str) -> str:
        done = elt(night, s3_url, *arguments)
        assert done.returncode == 1
        assert not done.stdout
        return done.stderr

    withdraw_day = ("withdraw", DAY, "--why", "x")
    assert refused(*withdraw_day) == f"withdraw: {DAY} is not published; no day is\n"
    assert "`python -m elt rebuild` or a run of the DAG publishes it" in refused("restore", DAY)
    night.deliver(*ordinary_logs())
    night.run()
    assert refused(*withdraw_day) == (
        f"withdraw: {DAY} is the only published day: readers would have nothing; run another day first\n"
    )
    run_both(night)
    assert refused("withdraw", "2024-11-01", "--why", "x") == (
        f"withdraw: 2024-11-01 is not published; published are days from {BEFORE} to {DAY}\n"
    )
    assert refused("restore", DAY) == f"restore: {DAY} is not withdrawn; it is published\n"
    withdraw(night)
    twice = refused(*withdraw_day)
    assert twice.startswith(f"withdraw: {DAY} is withdrawn, by ana at ")
    assert "(two logs were swapped); a new run of the day brings it back" in twice
    assert elt(night, s3_url, "withdraw", DAY).returncode == 2
    assert "argument --why: it is empty" in elt(night, s3_url, "withdraw", BEFORE, "--why", " ").stderr
    assert "'2024-11-31' is no day; expected YYYY-MM-DD" in elt(night, s3_url, "restore", "2024-11-31").stderr
    assert len(night.warehouse.rows("TABLE marts.withdrawals")) == 1


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_no_run_that_began_before_and_none_of_another_day_brings_it_back(night: Night) -> None:
    run_both(night)
    withdraw(night)
    # A retry of DBWriting of the run that was there before.
    with pytest.raises(Withdrawn, match=f"{DAY} is withdrawn, by ana"):
        night.publish()
    # The day before is loaded anew: lists that look back on it are ranked again.
    night.deliver(*ordinary_logs(BEFORE, shift=3))
    night.run(BEFORE, reload=True)
    assert newest(night) == BEFORE
    # It is withdrawn just when another day's run has found that it is to be ranked again.
    restore(night)
    night.deliver(*ordinary_logs(BEFORE, shift=4))
    night.load(BEFORE, reload=True)
    night.rank(BEFORE)
    night.publish(BEFORE)
    with pytest.MonkeyPatch.context() as patched:
        build = steps.build_model

        def build_and_withdraw(*arguments: Any) -> int:
            if newest(night) == DAY:
                withdraw(night)
            return build(*arguments)

        patched.setattr(steps, "build_model", build_and_withdraw)
        assert night.catch_up(BEFORE) == []
    assert newest(night) == BEFORE


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_a_new_run_of_the_day_brings_it_back(night: Night, s3_url: str) -> None:
    run_both(night)
    withdraw(night)
    done = elt(night, s3_url, "rebuild", "--from", DAY, "--to", DAY)
    assert done.returncode == 0, done
    assert newest(night) == DAY
    assert night.warehouse.rows("SELECT restored_by FROM marts.withdrawals") == [("rebuild",)]
    withdraw(night)
    # To look back on a day is not to run it.
    later = str(date.fromisoformat(DAY) + timedelta(1))
    night.deliver(*ordinary_logs(later))
    assert elt(night, s3_url, "rebuild", "--from", later, "--to", later).returncode == 0
    assert night.warehouse.rows("SELECT DISTINCT date::text FROM marts.publications ORDER BY 1") == [
        (BEFORE,),
        (later,),
    ]
    withdrawals.lift(DAY, night.warehouse.connect, by="manual__1")
    assert night.publish() == MODELS
    query = "SELECT restored_by FROM marts.withdrawals ORDER BY withdrawn_at"
    assert night.warehouse.rows(query) == [("rebuild",), ("manual__1",)]


@pytest.mark.usefixtures("nobody_reads")
def test_a_day_of_long_ago_is_ranked_again_and_is_what_it_was(night: Night) -> None:
    """Its candidates were deleted when they had been published for a month."""
    run_both(night)
    before = seen(night)
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.change(keep_working_days=30)
    night.forget()
    assert night.warehouse.rows("TABLE models.candidates") == []
    withdraw(night)
    assert restore(night) == MODELS
    assert seen(night) == before


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_it_waits_for_no_load_of_the_day_and_for_retention(night: Night) -> None:
    run_both(night)
    with closing(night.warehouse.connect()) as conn:
        warehouse.lock_day(conn, DAY)
        assert withdraw(night) == BEFORE
    restore(night)
    with closing(night.warehouse.connect()) as conn:
        warehouse.lock_publication(conn)
        waiting = threading.Thread(target=withdraw, args=(night,), daemon=True)
        waiting.start()
        holding = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        deadline = time.monotonic() + 10
        while night.warehouse.rows(holding) != [(1,)]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert newest(night) == DAY
    waiting.join(10)
    assert newest(night) == BEFORE
    night.warehouse.rows("UPDATE staging.loads SET loaded_at = now() - interval '31 days'")
    night.deliver(*ordinary_logs("2025-11-20"))
    night.run("2025-11-20")
    night.change(keep_days=60, keep_working_days=30)
    night.forget("2025-11-20")
    assert night.warehouse.rows("TABLE marts.withdrawals") == [], "as long as its day"


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_one_that_is_killed_has_withdrawn_nothing(night: Night, s3_url: str) -> None:
    """While it waits in its transaction: somebody holds what every change of marts changes."""
    run_both(night)
    before = seen(night)
    command = [sys.executable, "-m", "elt", "withdraw", DAY, "--why", "x"]
    env = os.environ | night.environment(s3_url)
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'marts.version'::regclass AND NOT granted"
    with closing(psycopg2.connect(night.warehouse.url("recommendations_pipeline"))) as conn, conn.cursor() as cursor:
        cursor.execute("LOCK TABLE marts.version IN SHARE MODE")
        with subprocess.Popen(command, env=env, cwd=PROJECT) as process:
            deadline = time.monotonic() + 20
            while night.warehouse.rows(waiting) != [(1,)]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.kill()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(PipelineError, match="is not withdrawn"):
        restore(night)
    assert withdraw(night) == BEFORE, "its locks went with it"
    assert len(night.warehouse.rows("TABLE marts.withdrawals")) == 1
    assert restore(night) == MODELS
    assert seen(night) == before


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_what_other_programs_read_on_s3_follows(
    night: Night, s3_url: str, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands, not only the next night; with the bucket away the day is withdrawn all the same, and where a model
    can not be read."""
    run_both(night)

    def lines() -> int:
        body = night.object(f"intermediate/published/date={DAY}/TopCTR.csv.gz")
        return len(gzip.decompress(body).splitlines()) - 1

    listed = len(night.top_ctr())
    assert lines() == listed
    for name, value in night.environment(s3_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["elt", "withdraw", DAY, "--why", "wrong"])
    (copied / "models" / "broken.sql").write_text("SELECT 1\n")
    assert main() == 1
    assert "broken.sql: the first line must be" in capsys.readouterr().err
    assert lines() == 0
    assert elt(night, s3_url, "restore", DAY).returncode == 0
    assert lines() == listed
    night.change(intermediate_uri="s3://no-such-bucket/")
    away = elt(night, s3_url, "withdraw", DAY, "--why", "wrong")
    assert away.returncode == 1
    assert f"{DAY} is withdrawn; " in away.stdout
    assert "the next night" in away.stderr
    assert lines() == listed
    assert newest(night) == BEFORE
