"""Products that must not be listed: excluded by a delivered list, or hidden by hand while readers read."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import chaos
import httpx
import pytest
from conftest import DAY, MODELS, Night, as_csv, ordinary_logs

from elt import following, hiding, sql, steps, warehouse, withdrawals
from elt.errors import NotYet, PipelineError
from elt.settings import PROJECT
from local.airflow import free_port
from local.api import serve

NEXT = "2024-11-21"


def listed(night: Night, day: str = DAY) -> dict[str, list[str]]:
    """By model, the products on ACME's list."""
    lists: dict[str, list[str]] = {}
    query = (
        "SELECT model, product_id FROM marts.recommendations WHERE (date, advertiser_id) = (%s, 'ACME') ORDER BY rank"
    )
    for model, product in night.warehouse.rows(query, day):
        lists.setdefault(model, []).append(product)
    return lists


def everything(night: Night, day: str = DAY) -> dict[str, list[str]]:
    """By model, all of ACME's products as it ranks them."""
    from elt import warehouse

    ranked = {}
    conn = night.warehouse.connect()
    for model in sql.models():
        with conn.cursor() as cursor:
            cursor.execute(warehouse.ranking(cursor, model, day))
            columns = [column.name for column in cursor.description or ()]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
            of_acme = sorted((row["rank"], row["product_id"]) for row in rows if row["advertiser_id"] == "ACME")
            ranked[model.name] = [product for _, product in of_acme]
    conn.close()
    return ranked


@pytest.mark.usefixtures("nobody_reads")
def test_an_excluded_product_is_on_no_list_and_the_list_is_filled_up(delivered: Night) -> None:
    delivered.change(exclusions_uri=f"s3://{delivered.bucket}/exclusions")
    with pytest.raises(NotYet, match="exclusions"):
        delivered.load()
    out = [("ACME", "p06"), (" ACME", "p04\xa0"), ("BOLT", "p13"), ("GONE", "p01"), ("ACME", "p06")]
    delivered.put("exclusions", as_csv(("why", "product_id", "advertiser_id"), [("x", p, a) for a, p in out]))
    delivered.run()
    expected = {model: [p for p in of if p not in ("p06", "p04")] for model, of in everything(delivered).items()}
    assert all(len(of) >= 20 for of in expected.values())
    assert listed(delivered) == {model: of[:20] for model, of in expected.items()}
    entries = delivered.warehouse.rows(
        "SELECT rank, (entry ->> 'rank')::int, product_id, entry ->> 'product_id' FROM marts.recommendations"
    )
    assert all(rank == in_entry and product == of_entry for rank, in_entry, product, of_entry in entries)
    assert Counter(product for _, _, product, _ in entries)["p13"] == len(MODELS)
    assert delivered.warehouse.rows(
        "SELECT delivered, rejected FROM marts.data_quality WHERE source = 'exclusions'", role="recommendations_analyst"
    ) == [(5, 0)]
    assert delivered.warehouse.rows("SELECT count(*) FROM staging.exclusions", role="recommendations_analyst") == [(4,)]
    assert delivered.run() == [], "a rerun changes nothing"
    delivered.put("exclusions", "advertiser_id,product_id\n")
    delivered.run()
    assert listed(delivered) == {model: of[:20] for model, of in everything(delivered).items()}


def elt(night: Night, s3_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "elt", *arguments]
    environment = os.environ | night.environment(s3_url)
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)


def keep_asking(seconds: float, seen: list[Any], threads: list[threading.Thread]) -> None:
    """So long, and until 40 more answers have been seen, however slow the machine is."""
    until, enough = time.monotonic() + seconds, len(seen) + 40
    while (time.monotonic() < until or len(seen) < enough) and any(thread.is_alive() for thread in threads):
        time.sleep(0.01)


@pytest.mark.model_blind
def test_readers_never_see_a_hidden_product_after_the_command_has_returned_nor_a_short_list(
    delivered: Night, s3_url: str, tmp_path: Path
) -> None:
    delivered.run()
    product = listed(delivered)["TopCTR"][0]
    assert all(product in of for of in listed(delivered).values())
    seen: list[tuple[float, int, bool]] = []
    stop = threading.Event()
    port = free_port()

    def poll(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            while not stop.wait(0.005):
                began = time.monotonic()
                path = "/recommendations/ACME" + (f"/{MODELS[number % len(MODELS)]}" if number else "")
                answer = http.get(path).json()
                names = [entry["product_id"] for entry in answer["recommendations"]]
                seen.append((began, len(names), product in names))

    with serve(port, delivered.warehouse.url("recommendations_api"), tmp_path / "api.log", WEB_CONCURRENCY="2"):
        threads = [threading.Thread(target=poll, args=(number,)) for number in range(len(MODELS) + 1)]
        for thread in threads:
            thread.start()
        try:
            hidden = elt(delivered, s3_url, "hide", "ACME", f" {product} ", "--why", "sold out", "--by", "ada")
            returned = time.monotonic()
            keep_asking(1, seen, threads)
            asked_again = time.monotonic()
            unhidden = elt(delivered, s3_url, "unhide", "ACME ", product, "--by", "bob")
            back = time.monotonic()
            keep_asking(0.5, seen, threads)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert hidden.returncode == 0, hidden.stderr
    assert f"{DAY}: published again: {', '.join(sorted(MODELS))}" in hidden.stdout
    assert unhidden.returncode == 0, unhidden.stderr
    assert {count for _, count, _ in seen} == {20}
    assert [names_it for began, _, names_it in seen if began < returned - 10 or began > back].count(False) == 0
    between = [names_it for began, _, names_it in seen if returned < began < asked_again]
    assert len(between) > 20
    assert not any(between)
    assert delivered.warehouse.rows(
        "SELECT product_id, why, hidden_by, unhidden_by, unhidden_at > hidden_at FROM marts.hidden_products",
        role="recommendations_analyst",
    ) == [(product, "sold out", "ada", "bob", True)]
    unknown = elt(delivered, s3_url, "hide", "ACME", "p'; %s\"ü", "--why", "what is it?")
    assert f"{DAY}: no list changed" in unknown.stdout, unknown.stderr
    again = elt(delivered, s3_url, "unhide", "ACME", product)
    assert again.returncode == 1
    assert f"{product} of ACME is not hidden" in again.stderr


@pytest.mark.usefixtures("nobody_reads")
def test_a_night_ranked_before_a_product_was_hidden_is_ranked_again_before_it_is_published(delivered: Night) -> None:
    active, views, ads = ordinary_logs(NEXT, shift=1)
    today = ordinary_logs()
    delivered.deliver(active, views + today[1], ads + today[2])
    delivered.run(DAY)
    delivered.load(NEXT)
    delivered.rank(NEXT)
    product = listed(delivered)["TopCTR"][0]
    connect, settings, models = delivered.warehouse.connect, delivered.settings, sql.models()
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with closing(connect()) as somebody, somebody.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        warehouse.run(cursor, "marts/hidden_products", advertiser_id="ACME", product_id=product, why="wrong", who="ada")
        publication = pool.submit(delivered.publish, NEXT)
        chaos.wait_until(lambda: delivered.warehouse.rows(waits) or publication.done())
        somebody.commit()
        with pytest.raises(NotYet, match="before a product was hidden"):
            publication.result()
    published = hiding.hide("ACME", product, models, connect, lambda: delivered.s3, settings, why="wrong", by="ada")
    assert {day: sorted(of) for day, of in published.items()} == {DAY: sorted(MODELS)}
    with pytest.raises(NotYet, match="before a product was hidden"):
        delivered.publish(NEXT)
    following.finish(NEXT, models, connect, lambda: delivered.s3, settings, run_id="test")
    for day in (DAY, NEXT):
        assert listed(delivered, day) == {
            model: [p for p in of if p != product][:20] for model, of in everything(delivered, day).items()
        }


@pytest.mark.model_blind
def test_who_withdraws_a_day_is_told_that_the_day_before_it_shows_what_was_hidden_since(
    delivered: Night, s3_url: str
) -> None:
    active, views, ads = ordinary_logs(NEXT, shift=1)
    today = ordinary_logs()
    delivered.deliver(active, views + today[1], ads + today[2])
    delivered.run(DAY)
    delivered.run(NEXT)
    product = listed(delivered)["TopCTR"][0]
    assert elt(delivered, s3_url, "hide", "ACME", product, "--why", "sold out").returncode == 0
    withdrawn = elt(delivered, s3_url, "withdraw", NEXT, "--why", "wrong")
    command = f"python -m elt rebuild --from {DAY} --to {DAY}"
    assert f"`{command}` ranks them again" in withdrawn.stdout, withdrawn.stderr
    assert product in listed(delivered)["TopCTR"]
    assert elt(delivered, s3_url, *command.split()[3:]).returncode == 0
    assert not any(product in of for of in listed(delivered).values())


@pytest.mark.model_blind
@pytest.mark.usefixtures("nobody_reads")
def test_a_command_that_recorded_and_published_nothing_says_why_and_is_simply_given_again(
    delivered: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered.run()
    product = listed(delivered)["TopCTR"][0]
    arguments: tuple[Any, ...] = (sql.models(), delivered.warehouse.connect, lambda: delivered.s3, delivered.settings)

    def away() -> Any:
        raise OSError("S3 is away")

    refused: tuple[Any, ...] = (*arguments[:2], away, delivered.settings)
    with pytest.raises(
        PipelineError, match=f"^recorded, but {DAY} is not published again: S3 is away; `python -m elt "
    ):
        hiding.hide("ACME", product, *refused, why="x", by="ada")
    monkeypatch.setattr(warehouse, "LOCK_TIMEOUT", "100ms")
    with closing(delivered.warehouse.connect()) as somebody:
        warehouse.lock_day(somebody, DAY)
        with pytest.raises(PipelineError, match=rf"a lock was waited for.*pid {somebody.info.backend_pid} "):
            hiding.hide("ACME", product, *arguments, why="again", by="bob")
    hiding.hide("ACME", product, *arguments, why="again", by="bob")
    assert not any(product in of for of in listed(delivered).values())
    assert delivered.warehouse.rows("SELECT why FROM marts.hidden_products") == [("x",)]
    with pytest.raises(PipelineError, match="nobody of ACME is not hidden"):
        hiding.unhide("ACME", "nobody", *arguments, by="bob")
    hiding.unhide("ACME", product, *arguments, by="bob")
    assert all(product in of for of in listed(delivered).values())


@pytest.mark.usefixtures("nobody_reads")
def test_the_day_before_one_that_is_withdrawn_meanwhile_is_published_without_the_product(delivered: Night) -> None:
    delivered.run()
    delivered.deliver(*ordinary_logs(NEXT))
    delivered.run(NEXT)
    product = listed(delivered)["TopCTR"][0]

    @cache
    def withdrawn_meanwhile() -> Any:
        withdrawals.withdraw(NEXT, delivered.warehouse.connect, why="wrong", by="ana")
        return delivered.s3

    connect = delivered.warehouse.connect
    published = hiding.hide(
        "ACME", product, sql.models(), connect, withdrawn_meanwhile, delivered.settings, why="sold out", by="ada"
    )
    assert set(published) == {DAY}
    assert not any(product in of for of in listed(delivered).values())


@pytest.mark.usefixtures("nobody_reads")
def test_the_lists_of_a_model_that_a_release_lacks_go_when_they_name_what_is_hidden(delivered: Night) -> None:
    """Nothing ranks them again; they would show the product, and the audit would stop every publication of the day."""
    delivered.run()
    product = listed(delivered)["TopProduct"][0]
    others = [model for model in sql.models() if model.name != "TopProduct"]
    arguments: tuple[Any, ...] = (others, delivered.warehouse.connect, lambda: delivered.s3, delivered.settings)
    hiding.hide("BOLT", "none of theirs", *arguments, why="sold out", by="ana")
    assert "TopProduct" in listed(delivered), "no list names it"
    assert "TopProduct" in hiding.hide("ACME", product, *arguments, why="sold out", by="ana")[DAY]
    assert set(listed(delivered)) == {model.name for model in others}
    assert not any(product in of for of in listed(delivered).values())


@pytest.mark.model_blind
def test_a_model_that_cuts_its_lists_itself_is_refused_before_they_are_short(
    delivered: Night, s3_url: str, tmp_path: Path
) -> None:
    """At once by `hide`; where a list excludes products, when it ranks; else it works."""
    file = tmp_path / "cut.sql"
    whole = sql.read("models/top_ctr")
    file.write_text(whole.replace("-- TopCTR:", "-- Cut:") + "\nWHERE ranked.rank <= 20\n")
    models = [*sql.models(), sql.model(file)]
    connect, settings = delivered.warehouse.connect, delivered.settings
    delivered.run()
    assert steps.build_model(DAY, models[-1], connect, delivered.s3, settings) == 40
    said = r"cut\.sql: cuts its lists itself, by ranked\.rank <= 20, so that they can not be filled up"
    with pytest.raises(PipelineError, match=said):
        hiding.hide("ACME", "p06", models, connect, lambda: delivered.s3, settings, why="x", by="ada")
    assert delivered.warehouse.rows("SELECT * FROM marts.hidden_products") == []
    delivered.change(exclusions_uri=f"s3://{delivered.bucket}/exclusions")
    delivered.put("exclusions", "advertiser_id,product_id\nACME,p06\n")
    delivered.load()
    with pytest.raises(PipelineError, match=said):
        steps.build_model(DAY, models[-1], connect, delivered.s3, settings)


@pytest.mark.usefixtures("nobody_reads")
def test_where_every_product_is_hidden_lists_are_empty_and_nights_go_on(delivered: Night) -> None:
    """A model without any list is a fault only where nothing was left out of what it ranked."""
    delivered.run()
    hide = (
        "INSERT INTO marts.hidden_products (advertiser_id, product_id, why, hidden_by) "
        "SELECT %s, 'p' || to_char(n, 'FM00'), 'x', 'ada' FROM generate_series(0, 24) AS n"
    )
    arguments: tuple[Any, ...] = (sql.models(), delivered.warehouse.connect, lambda: delivered.s3, delivered.settings)
    delivered.warehouse.rows(hide, "ACME")
    hiding.hide("ACME", "p00", *arguments, why="sold out", by="ada")
    assert listed(delivered) == {}
    count = "SELECT count(*), count(DISTINCT (model, advertiser_id)) FROM marts.recommendations"
    assert delivered.warehouse.rows(count) == [(20 * len(MODELS), len(MODELS))]
    delivered.warehouse.rows(hide, "BOLT")
    changed = hiding.hide("BOLT", "p00", *arguments, why="sold out", by="ada")
    assert {day: sorted(of) for day, of in changed.items()} == {DAY: sorted(MODELS)}
    assert delivered.warehouse.rows(count) == [(0, 0)]
    assert delivered.run() == [], "a rerun changes nothing"
    active, views, ads = ordinary_logs(NEXT, shift=1)
    delivered.deliver(active, views, ads)
    assert sorted(delivered.run(NEXT)) == sorted(MODELS)
    assert delivered.warehouse.rows("SELECT DISTINCT row_count, count(*) FROM marts.publications GROUP BY 1") == [
        (0, 2 * len(MODELS))
    ]
    hiding.unhide("BOLT", "p03", *arguments, by="bob")
    assert delivered.warehouse.rows(count) == [(len(MODELS), len(MODELS))]
    delivered.warehouse.rows("UPDATE models.builds SET left_out = 0, row_count = 0, lists_hash = 'x'")
    delivered.warehouse.rows("DELETE FROM models.candidates")
    with pytest.raises(PipelineError, match="every_model_is_published"):
        delivered.publish(NEXT)


@pytest.mark.model_blind
def test_what_can_be_no_id_is_not_hidden(delivered: Night, s3_url: str) -> None:
    for advertiser, product, status, said in (
        ("ACME", " \u00a0", 1, "product_id_is_not_1_to_64_bytes"),
        ("", "p01", 1, "advertiser_id_is_not_1_to_64_bytes"),
        ("ACME", "\u00fc" * 33, 1, "product_id_is_not_1_to_64_bytes"),
        ("ACME", "p\udcff", 2, "is not UTF-8"),
    ):
        refused = elt(delivered, s3_url, "hide", advertiser, product, "--why", "x")
        assert (refused.returncode, said in refused.stderr) == (status, True), refused.stderr
        assert "Traceback" not in refused.stderr
    assert delivered.warehouse.rows("SELECT * FROM marts.hidden_products") == []


@pytest.mark.model_blind
def test_readers_never_see_what_a_list_excludes_nor_a_short_list(delivered: Night, s3_url: str, tmp_path: Path) -> None:
    """Readers poll while a night publishes its day, and while the day is delivered anew with other exclusions."""
    delivered.change(exclusions_uri=f"s3://{delivered.bucket}/exclusions")
    delivered.put("exclusions", "advertiser_id,product_id\n")
    delivered.run()
    product, other = listed(delivered)["TopCTR"][:2]
    seen: list[tuple[float, int, list[str]]] = []
    stop = threading.Event()
    port = free_port()

    def poll(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            while not stop.wait(0.005):
                began = time.monotonic()
                path = "/recommendations/ACME" + (f"/{MODELS[number % len(MODELS)]}" if number else "")
                names = [entry["product_id"] for entry in http.get(path).json()["recommendations"]]
                seen.append((began, len(names), names))

    published = []
    with serve(port, delivered.warehouse.url("recommendations_api"), tmp_path / "api.log", WEB_CONCURRENCY="2"):
        threads = [threading.Thread(target=poll, args=(number,)) for number in range(len(MODELS) + 1)]
        for thread in threads:
            thread.start()
        try:
            for out in (product, other):
                delivered.put("exclusions", f"advertiser_id,product_id\nACME,{out}\n")
                delivered.load()
                delivered.rank()
                assert sorted(delivered.publish()) == sorted(MODELS)
                published.append(time.monotonic())
                keep_asking(0, seen, threads)
                published.append(time.monotonic())
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert {(count, len({*names})) for _, count, names in seen} == {(20, 20)}
    for n, (out, back) in enumerate(((product, None), (other, product))):
        lists = [names for began, _, names in seen if published[2 * n] < began < published[2 * n + 1]]
        assert len(lists) > 20
        assert not any(out in names for names in lists)
        assert back is None or all(back in names for names in lists)
