"""The pages, in a real browser over the real API."""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg2
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import DAY, MODELS, Night, Warehouse, ordinary_logs
from playwright.sync_api import Browser, Page, expect, sync_playwright

from elt import keys
from elt.warehouse import opens
from local.airflow import free_port
from local.api import serve
from local.postgres import MASTER, Postgres
from local.screenshots import chromium, drawn

CHROMIUM = chromium()
BEFORE = "2024-11-19"
HOSTILE = "<img src=x onerror=alert(1)>"
"""An advertiser's id that looks like HTML; it sorts before the others."""
ODD = 'a b.c/d "e" f\'g; 50%2F? #h&i=j\\k + ñ 日'
"""An advertiser's and a product's id, of all that means something in an address, in SQL, in HTML and in CSV."""

DASH = "\N{EN DASH}"

pytestmark = [
    pytest.mark.model_blind,
    pytest.mark.skipif(not CHROMIUM, reason="no browser is installed (apt-get install chromium)"),
]
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def night(postgres: Postgres, s3: Any) -> Night:
    """Two published days; the advertiser !QUIET is active without events, three lines can not be read."""
    night = Night(Warehouse(postgres, "pages"), s3, "pages")
    s3.create_bucket(Bucket="pages")
    for shift, day in enumerate((BEFORE, DAY)):
        active, views, ads = ordinary_logs(day, shift)
        views += [(HOSTILE, "p00", day)] * 12_345
        ads += [(HOSTILE, "p00", "impression", day)] * 3
        views += [(ODD, ODD, day), (ODD, "p00", day)]
        ads += [(ODD, ODD, "impression", day), (ODD, ODD, "click", day), (ODD, "p00", "impression", day)]
        night.deliver([*active, HOSTILE, ODD, "!QUIET"], views, [*ads, *[("ACME", "p00", "banner<b>", day)] * 3])
        night.run(day)
    return night


@pytest.fixture(scope="module")
def url(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    url = night.warehouse.url("recommendations_api")
    with serve(port, url, tmp_path_factory.mktemp("pages") / "api.log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@contextmanager
def watched(browser: Browser, url: str, allowed: int = 200, **options: Any) -> Iterator[Page]:
    """A page that fails the test for whatever the browser complains of, and for a request to another host."""
    complaints: list[str] = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda asked: complaints.append(asked.url) if not asked.url.startswith((url, "blob:")) else None)
    yield page
    context.close()
    assert [said for said in complaints if f"status of {allowed} " not in said] == []


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with watched(browser, url) as page:
        yield page


def expect_lists(page: Page, lists: dict[str, Any]) -> None:
    """Every model's list is shown as the API answers it, by rank, product and, at TopProduct, views."""
    expect(page.locator("table.list")).to_have_count(len(lists))
    for model, entries in lists.items():
        rows = page.locator(f"section[aria-labelledby={model}] > .box tbody tr")
        expect(rows.locator("td:nth-child(1)")).to_have_text([str(entry["rank"]) for entry in entries])
        expect(rows.locator("th")).to_have_text([entry["product_id"] for entry in entries])
        if model == "TopProduct":
            expect(rows.locator("td:nth-child(4)")).to_have_text([f"{entry['views']:,}" for entry in entries])


def test_an_id_is_completed_found_and_shown_with_every_models_list(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Advertiser or product").press_sequentially("BOL")
    expect(page.locator("#ids option")).to_have_count(1)
    assert page.locator("#ids option").get_attribute("value") == "BOLT"
    page.get_by_label("Advertiser or product").fill("BOLT")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/advertisers/BOLT")
    lists = httpx.get(f"{url}/history/BOLT").json()["history"][DAY]
    assert list(lists) == sorted(MODELS)
    expect_lists(page, lists)
    expect(page).to_have_title("BOLT, 2024-11-20 · Recommendations")


def test_another_day_has_an_address_that_outlives_a_reload_and_the_way_back(page: Page, url: str) -> None:
    history = httpx.get(f"{url}/history/BOLT").json()["history"]
    page.goto(f"{url}/advertisers/BOLT")
    page.get_by_label("Lists of").fill(BEFORE)
    page.get_by_role("button", name="Show").last.click()
    page.wait_for_url(f"{url}/advertisers/BOLT?date={BEFORE}")
    page.reload()
    expect_lists(page, history[BEFORE])
    page.go_back()
    expect_lists(page, history[DAY])
    page.get_by_role("link", name=f"← {BEFORE}").click()
    page.wait_for_url(f"{url}/advertisers/BOLT?date={BEFORE}")
    page.get_by_role("link", name=f"{DAY} →").click()
    expect_lists(page, history[DAY])


def test_a_product_is_shown_until_a_day(page: Page, url: str) -> None:
    page.goto(f"{url}/advertisers/BOLT/products/p03")
    page.get_by_label("The 60 days that end on").fill(BEFORE)
    page.get_by_role("button", name="Show").last.click()
    page.wait_for_url(f"{url}/advertisers/BOLT/products/p03?date={BEFORE}")
    views = page.locator("figure", has=page.get_by_role("columnheader", name="Views", include_hidden=True))
    assert views.locator(".box tbody tr > *").all_text_contents() == [BEFORE, "10", "4"]
    page.get_by_role("link", name="BOLT").click()
    page.wait_for_url(f"{url}/advertisers/BOLT?date={BEFORE}")


def test_a_product_is_followed_through_all_lists_by_mouse_and_by_keyboard(page: Page, url: str) -> None:
    page.goto(f"{url}/advertisers/BOLT")
    product = page.locator("table.list tbody th").first.inner_text()
    expected = page.locator(f"tr[data-product={product}]").count()
    assert expected > 1
    page.locator("table.list tbody tr").first.hover()
    expect(page.locator("tr.followed")).to_have_count(expected)
    expect(page.locator("tr.followed th").first).to_have_text(product)
    page.mouse.move(0, 0)
    expect(page.locator("tr.followed")).to_have_count(0)

    page.locator("table.list").first.locator("thead button").last.focus()
    page.keyboard.press("Tab")
    expect(page.locator("tr.followed th").first).to_have_text(product)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/advertisers/BOLT/products/{product}")
    expect(page.locator("figure .uplot")).to_have_count(4)


def test_what_is_new_on_a_list_and_what_has_left_it_is_marked(page: Page, url: str) -> None:
    history = httpx.get(f"{url}/history/BOLT").json()["history"]
    now, before = ([one["product_id"] for one in history[day]["TopProduct"]] for day in (DAY, BEFORE))
    page.goto(f"{url}/advertisers/BOLT")
    panel = page.locator("section.panel", has=page.get_by_role("heading", name="TopProduct", exact=True)).first
    moved = [
        "new"
        if one not in before
        else "="
        if (by := before.index(one) - place) == 0
        else f"{'▲' if by > 0 else '▼'} {abs(by)}"
        for place, one in enumerate(now)
    ]
    assert {"new", "="} & set(moved)
    expect(panel.locator("table.list tbody td:nth-child(2)")).to_have_text(moved)
    expect(panel).to_contain_text(f"No longer listed: {', '.join(sorted(set(before) - set(now)))}.")


def test_a_night_shows_where_the_lines_went_and_which_sql_ran(page: Page, url: str, night: Night) -> None:
    page.goto(url)
    page.get_by_role("link", name=f"{DAY}: published").click()
    page.wait_for_url(f"{url}/nights/{DAY}")
    expect(page.get_by_role("region", name="Unreadable lines, by reason").first).to_contain_text(
        "ACME,p00,banner<b>,2024-11-20"
    )
    expect(page.get_by_role("region", name="Where the delivered lines went").first).to_contain_text("12,543")
    steps = page.get_by_role("region", name="Steps").first
    times = night.warehouse.rows("SELECT step, seconds FROM marts.step_times WHERE date = %s ORDER BY began_at", DAY)
    expect(steps.locator("tbody th")).to_have_text([step for step, _ in times])
    expect(steps.locator("tbody td:nth-child(2)")).to_have_text([f"{seconds:.2f} s" for _, seconds in times])
    page.get_by_text("The SQL", exact=True).first.click()
    expect(page.locator("pre:not(.sql)").first).to_contain_text("row_number()")
    page.get_by_role("link", name=f"← {BEFORE}").click()
    page.wait_for_url(f"{url}/nights/{BEFORE}")


def test_the_models_are_compared_by_what_was_clicked_and_what_was_not_listed(
    page: Page, url: str, night: Night
) -> None:
    """With the interval; what it can not tell is not told."""
    set_to = "UPDATE marts.evaluation SET advantage_low = %s, advantage_high = %s WHERE date = %s AND model = %s"
    intervals = {
        "DecayedCTR": (1.01, 2.5),
        "SmoothedCTR": (0.3, 0.99),
        "TopCTR": (0.9, 1.2),
        "TopProduct": (None, None),
    }
    for name, (from_, to) in intervals.items():
        night.warehouse.rows(set_to, from_, to, BEFORE, name)
    query = "SELECT model, advantage, advantage_low, advantage_high FROM marts.evaluation WHERE date = %s ORDER BY 1"
    figures = night.warehouse.rows(query, BEFORE, role="recommendations_analyst")
    assert len(figures) == len(MODELS)
    page.goto(url)
    rows = page.get_by_role("region", name=f"The models on {DAY}").first.locator("tbody tr")
    for row, (model, advantage, low, high) in zip(rows.all(), figures, strict=True):
        verdict = "not known" if low is None else "yes" if low > 1 else "no, worse" if high < 1 else "can not be told"
        interval = DASH if low is None else f"{low:.2f} to {high:.2f}"
        assert row.locator("> *").all_inner_texts()[:4] == [model, verdict, shown(advantage), interval]
        cells = page.get_by_role("region", name=f"{model}: advantage, as a table", include_hidden=True).locator("td")
        exact = ["" if one is None else str(one) for one in (advantage, low, high)]
        assert [cell.get_attribute("data-value") for cell in cells.all()[:3]] == exact
    assert any(low is not None for _, _, low, _ in figures)


def shown(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio:.2f}"


def test_how_far_models_agree_and_lists_vary_is_what_the_lists_say(page: Page, url: str, night: Night) -> None:
    rows = night.warehouse.rows("SELECT date::text, model, advertiser_id, product_id FROM marts.recommendations")
    lists: dict[tuple[str, str], dict[str, set[str]]] = {}
    for day, model, advertiser, product in rows:
        lists.setdefault((day, model), {}).setdefault(advertiser, set()).add(product)
    page.goto(url)
    agreement = page.get_by_role("region", name="How far the models agree").locator("tbody tr")
    names = sorted(MODELS)
    for n, name in enumerate(names[:-1]):
        cells = agreement.nth(n).locator("td").all_inner_texts()
        for m, other in enumerate(names[1:]):
            if m < n:
                assert cells[m] == ""
                continue
            one, two = lists[DAY, name], lists[DAY, other]
            shares = [len(one[a] & two[a]) / len(one[a] | two[a]) for a in one.keys() & two.keys()]
            assert cells[m] == f"{100 * sum(shares) / len(shares):.0f} %", (name, other)
    for name in names:
        before, now = lists[BEFORE, name], lists[DAY, name]
        new = {a: len(now[a] - before[a]) / len(now[a]) for a in now.keys() & before.keys()}
        table = page.get_by_role("region", name=name, exact=True).locator("tbody tr")
        expect(table.locator("th")).to_have_count(len(new))
        for row in table.all():
            assert row.locator("td").last.inner_text() == f"{100 * new[row.locator('th').inner_text()]:.0f} %"
    panel = page.locator("section", has=page.get_by_role("heading", name="Advertisers without a list"))
    expect(panel.locator("li")).to_have_text(["!QUIET"])


def test_a_night_that_waits_for_more_is_called_held(browser: Browser, url: str, night: Night) -> None:
    broken = (
        "INSERT INTO staging.audit_results (date, kind, audit, run_id, broken_rows) VALUES "
        "('2024-11-22', 'arrival', 'the_day_is_whole', 'test', 1), ('2024-11-23', 'load', 'rejected_share', '', 1)"
    )
    night.warehouse.rows(broken)
    with watched(browser, url) as page:
        page.goto(url)
        held = page.get_by_role("link", name="2024-11-22: held, since less arrived than usual: the_day_is_whole")
        expect(held.locator("xpath=..")).to_have_class("held")
        refused = page.get_by_role("link", name="2024-11-23: refused by rejected_share")
        expect(refused.locator("xpath=..")).to_have_class("missing")
        expect(page.get_by_role("link", name=f"{DAY}: published").locator("xpath=..")).to_have_class("once rejects")
    night.warehouse.rows("DELETE FROM staging.audit_results WHERE date > %s", DAY)


EMPTY_OF_THESE = {"SELECT date, model, avg(replaced_share)"}
"""What finds nothing in two days."""


@pytest.mark.parametrize(
    "place",
    [
        "/",
        "/advertisers/BOLT",
        f"/advertisers/{quote(ODD, safe='')}",
        f"/nights/{DAY}",
        f"/advertisers/{quote(ODD, safe='')}/products/{quote(ODD, safe='')}",
    ],
)
def test_what_a_panel_shows_is_there_as_json_and_for_an_analyst_in_sql(
    browser: Browser, url: str, night: Night, place: str
) -> None:
    with watched(browser, url) as page:
        page.goto(url + place)
        asked = page.locator("pre.sql").all_text_contents()
        assert len(asked) >= page.locator("section.panel").count() - len(MODELS)
        for query in asked:
            found = night.warehouse.rows(query, role="recommendations_analyst")
            assert found or any(query.startswith(empty) for empty in EMPTY_OF_THESE), query
        links = page.get_by_role("link", name="JSON")
        for link in {link.evaluate("a => a.href") for link in links.all()}:
            answer = httpx.get(link)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), link


def test_lists_that_are_old_are_called_late(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.get_by_role("status")).to_contain_text("Late")
    expect(page.get_by_role("status")).to_contain_text("The newest lists are those of 2024-11-20.")
    page.goto(f"{url}/advertisers/BOLT?date={BEFORE}")
    expect(page.locator("main")).to_contain_text("The newest lists are those of 2024-11-20.")


def test_what_is_no_answer_of_the_api_completes_nothing(page: Page, url: str) -> None:
    """As where somebody has to log in again, at a proxy."""
    page.route("**/advertisers?*", lambda route: route.fulfill(body="<h1>Log in</h1>", content_type="text/html"))
    page.goto(url)
    with page.expect_response("**/advertisers?*"):
        page.get_by_label("Advertiser or product").fill("BOL")
    page.get_by_label("Advertiser or product").fill("BOLT")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/advertisers/BOLT")


def test_a_picture_is_by_day_however_its_table_is_sorted(page: Page, url: str) -> None:
    page.goto(f"{url}/advertisers/BOLT/products/p03")
    clicks = page.locator("section", has=page.get_by_role("heading", name="Clicks"))
    drawn(page)
    clicks.get_by_text("As a table").click()
    clicks.get_by_role("button", name="Day").click()
    expect(clicks.locator(".box tbody th")).to_have_text([DAY, BEFORE])
    page.emulate_media(color_scheme="dark")
    expect(clicks.locator(".u-legend .u-value").first).to_have_text(DAY)
    expect(clicks.locator("figure")).to_have_count(1)


def test_a_night_shows_how_the_sql_differs_from_that_of_the_night_before(
    browser: Browser, url: str, night: Night
) -> None:
    query = "SELECT sql_version FROM marts.publications WHERE date = %s AND model = 'TopCTR'"
    ((version,),) = night.warehouse.rows(query, BEFORE)
    change = "UPDATE marts.publications SET sql_version = %s WHERE date = %s AND model = 'TopCTR'"
    night.warehouse.rows(
        "INSERT INTO marts.sql_versions (sql_version, sql_file, model, title, sql_text, git_revision) "
        "SELECT 'older', sql_file, model, title, replace(sql_text, 'row_number()', 'rank(<b>)'), git_revision "
        "FROM marts.sql_versions WHERE sql_version = %s",
        version,
    )
    night.warehouse.rows(change, "older", BEFORE)
    with watched(browser, url) as page:
        page.goto(f"{url}/nights/{DAY}")
        expect(page.locator("summary", has_text="What changed")).to_have_count(1)
        expect(page.locator(".removed")).to_contain_text("rank(<b>)")
        expect(page.locator(".added")).to_contain_text("row_number()")
    night.warehouse.rows(change, version, BEFORE)
    night.warehouse.rows("DELETE FROM marts.sql_versions WHERE sql_version = 'older'")


def test_a_night_that_is_withdrawn_says_why(browser: Browser, url: str, night: Night) -> None:
    withdrawal = "INSERT INTO marts.withdrawals (date, withdrawn_by, why, lists) VALUES (%s, %s, %s, '{}')"
    night.warehouse.rows(withdrawal, "2024-11-21", "ana", "two <b>logs</b>")
    with watched(browser, url) as page:
        page.goto(f"{url}/nights/2024-11-21")
        expect(page.locator("main")).to_contain_text("by ana: two <b>logs</b>")
        page.goto(url)
        page.get_by_role("link", name="2024-11-21: withdrawn: two <b>logs</b>").click()
        expect(page.get_by_role("region", name="Audits")).to_have_count(0)
        page.goto(f"{url}/nights/{DAY}")
        expect(page.get_by_role("region", name="Audits").first).to_contain_text("accounting closes")
    night.warehouse.rows("DELETE FROM marts.withdrawals")


def test_a_night_that_an_older_release_published_is_shown(browser: Browser, url: str, night: Night) -> None:
    """It recorded less: neither the days read nor the text of the SQL."""
    night.warehouse.rows("UPDATE marts.publications SET days_read = '{}' WHERE date = %s", BEFORE)
    texts = night.warehouse.rows("DELETE FROM marts.sql_versions RETURNING *")
    with watched(browser, url) as page:
        page.goto(f"{url}/nights/{BEFORE}")
        lists = page.get_by_role("region", name="Lists", exact=True)
        expect(lists.locator("tbody td:nth-child(5)")).to_have_text([DASH] * len(MODELS))
        expect(page.locator("main")).not_to_contain_text("None")
    for row in texts:
        night.warehouse.rows(f"INSERT INTO marts.sql_versions VALUES ({', '.join(['%s'] * len(row))})", *row)


def test_what_was_said_before_the_warehouse_went_is_shown_and_marked(
    browser: Browser, night: Night, tmp_path: Path
) -> None:
    """The role may not log in any more, and its connections are ended."""
    port, database = free_port(), night.warehouse.name
    url = f"http://127.0.0.1:{port}"
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        with watched(browser, url) as page:
            page.goto(url)
            expect(page.locator("main")).not_to_contain_text("can not be reached")
            superuser = night.warehouse.postgres.url("postgres", "postgres")
            with closing(psycopg2.connect(superuser)) as conn, conn.cursor() as cursor:
                conn.autocommit = True
                cursor.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
                page.goto(url)
                said = r"can not be reached\. This is what it said on .* UTC, \d+ seconds? ago; it is given from memory"
                expect(page.locator("main")).to_contain_text(re.compile(said))
                expect(page.get_by_role("status")).to_contain_text("Was late")
                expect(page.get_by_role("heading", name="Click-through rate")).to_be_visible()
                cursor.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


def test_a_table_is_sorted_copied_and_taken_away_as_csv(page: Page, url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{url}/nights/{DAY}")
    table = page.locator("table", has=page.get_by_role("columnheader", name="ETag"))
    page.get_by_role("button", name="Bytes").click()
    sizes = [int(text.replace(",", "")) for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert sizes == sorted(sizes, reverse=True)
    with page.expect_download() as download:
        table.locator("xpath=../following-sibling::*[1]").get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0] == "Log,Object,Bytes,Lines,Unreadable,ETag"
    assert len(lines) == 4
    table.locator("xpath=../following-sibling::*[1]").get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [line.split("\t") for line in copied] == [line.split(",") for line in lines]


@pytest.mark.parametrize("place", ["/", "/advertisers/BOLT", f"/nights/{DAY}", "/advertisers/BOLT/products/p03"])
def test_it_is_all_there_without_javascript(browser: Browser, url: str, place: str) -> None:
    with watched(browser, url, java_script_enabled=False) as page:
        page.goto(url + place)
        expect(page.locator("table").first).to_be_visible()
        expect(page.locator("table").last).to_be_visible()
        expect(page.locator(".uplot")).to_have_count(0)
        page.get_by_label("Advertiser or product").fill("ACME")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/advertisers/ACME")


def test_what_there_is_not_is_told(browser: Browser, url: str) -> None:
    with watched(browser, url, allowed=404) as page:
        page.goto(f"{url}/advertisers/NOBODY")
        expect(page.get_by_role("status")).to_have_text(httpx.get(f"{url}/history/NOBODY").json()["detail"])
        page.goto(f"{url}/advertisers/!QUIET")
        for model in MODELS:
            expect(page.locator("main")).to_contain_text(model)
        expect(page.locator("main")).to_contain_text("No list on 2024-11-20")
        page.goto(f"{url}/search?q=NOBODY")
        expect(page.get_by_role("status")).to_contain_text("Nothing found")
        page.goto(f"{url}/nights/2024-11-18")
        expect(page.get_by_role("status")).to_contain_text("the published days are 2024-11-19 to 2024-11-20")


def test_what_is_malformed_is_told_on_a_page(browser: Browser, url: str) -> None:
    with watched(browser, url, allowed=422) as page:
        page.goto(f"{url}/nights/yesterday")
        expect(page.get_by_role("status")).to_contain_text("date: Input should be a valid date")


def test_hostile_ids_are_text(browser: Browser, url: str) -> None:
    with watched(browser, url) as page:
        page.goto(f"{url}/advertisers/{quote(HOSTILE)}")
        expect(page.locator("h1")).to_contain_text(HOSTILE)
        expect(page.locator("main")).to_contain_text("12,345")
        page.goto(f"{url}/search?q={quote(HOSTILE[:4])}")
        page.get_by_role("link", name=HOSTILE).click()
        expect(page.locator("h1")).to_contain_text(HOSTILE)


def test_ids_of_any_characters_have_addresses(browser: Browser, url: str) -> None:
    with watched(browser, url) as page:
        page.goto(url)
        page.get_by_label("Advertiser or product").fill(ODD[:5])
        page.keyboard.press("Enter")
        page.get_by_role("link", name=ODD).first.click()
        expect(page.locator("h1 .id")).to_have_text(ODD)
        expect(page.locator("table.list").first).to_be_visible()
        page.locator("table.list").last.get_by_role("link", name=ODD).click()
        expect(page.locator("h1 .id")).to_have_text(ODD)
        expect(page.locator(".lead .id")).to_have_text(ODD)
        page.get_by_role("button", name="Show").last.click()
        expect(page.locator(".lead .id")).to_have_text(ODD)
        page.get_by_label("Advertiser or product").fill(ODD)
        page.get_by_label("Advertiser or product").press("Enter")
        expect(page.locator("h1")).to_have_text(f"Advertiser {ODD}")


def test_without_a_warehouse_it_says_so(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    away = f"http://127.0.0.1:{port}"
    with serve(port, "postgresql://someone:hidden@127.0.0.1:1/none", tmp_path / "api.log"):
        with watched(browser, away, allowed=503) as page:
            page.goto(away)
            expect(page.locator("h1")).to_have_text("Service Unavailable")
            expect(page.get_by_role("status")).to_contain_text("the warehouse can not be reached")


PLACES = {
    "overview": "/",
    "advertiser": "/advertisers/BOLT",
    "product": "/advertisers/BOLT/products/p03",
    "night": f"/nights/{DAY}",
    "search": "/search?q=p03",
    "problem": "/advertisers/NOBODY",
}


WIDTHS = (320, 360, 768, 1280)
THEMES = ("light", "dark")


@pytest.mark.parametrize("name", PLACES)
def test_everybody_can_use_it(browser: Browser, url: str, name: str, tmp_path: Path) -> None:
    """In both themes axe finds nothing serious, and nothing is wider than a screen; there is a picture of each."""
    with watched(browser, url, allowed=404, viewport={"width": 360, "height": 740}) as page:
        page.goto(url + PLACES[name])
        drawn(page)
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 740})
                page.wait_for_function("wanted => document.documentElement.scrollWidth === wanted", arg=width)
                page.screenshot(path=tmp_path / f"{name}-{width}-{theme}.jpeg", full_page=True, quality=70)
            page.set_viewport_size({"width": 360, "height": 740})
    assert len(list(tmp_path.glob("*.jpeg"))) == len(WIDTHS) * len(THEMES)


@pytest.mark.parametrize("name", PLACES)
def test_a_page_is_small(browser: Browser, url: str, name: str) -> None:
    """Under 150 kB transferred, in six files."""
    with watched(browser, url, allowed=404) as page:
        sizes: list[int] = []
        page.on("requestfinished", lambda asked: sizes.append(asked.sizes()["responseBodySize"]))
        page.goto(url + PLACES[name])
        page.wait_for_load_state("networkidle")
        assert len(sizes) == 6
        assert sum(sizes) < 150_000
    assert httpx.get(url + PLACES[name]).headers["content-encoding"] == "gzip"


def test_the_files_of_a_page_are_asked_for_each_time(url: str) -> None:
    """Never an old script with a new page."""
    answer = httpx.get(f"{url}/assets/page.js")
    assert answer.headers["cache-control"] == "no-cache"
    again = httpx.get(f"{url}/assets/page.js", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert httpx.get(f"{url}/assets/nothing").headers["content-type"] == "application/problem+json"


def test_the_description_of_the_api_comes_from_the_image_alone(page: Page, url: str) -> None:
    page.goto(f"{url}/docs")
    expect(page.locator(".opblock")).to_have_count(len(httpx.get(f"{url}/openapi.json").json()["paths"]))
    page.get_by_text("/recommendations/{advertiser_id}/{model}", exact=True).click()
    expect(page.get_by_role("button", name="Try it out")).to_be_visible()


def test_before_the_first_night_and_after_it_with_ids_that_are_hard_to_show(
    browser: Browser, postgres: Postgres, s3: Any, tmp_path: Path
) -> None:
    """Behind a proxy's prefix. An id `.` or `..` has no address; a long one leaves its figures in sight."""
    night = Night(Warehouse(postgres, "first"), s3, "first")
    s3.create_bucket(Bucket="first")
    port, long = free_port(), "W" * 60
    url = f"http://127.0.0.1:{port}/lists"
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log", ROOT_PATH="/lists"):
        with watched(browser, url, viewport={"width": 360, "height": 740}) as page:
            page.goto(f"{url}/")
            expect(page.get_by_role("status")).to_contain_text("Nothing is published yet.")
            page.goto(f"{url}/search?q=ACME")
            expect(page.get_by_role("status")).to_contain_text("Nothing is published yet.")
            views = [(long, one, DAY) for one in ("..", long) for _ in range(7)]
            night.deliver([long, ".."], views, [(long, "..", "impression", DAY), (long, "..", "click", DAY)])
            night.run()
            page.goto(f"{url}/")
            expect(page.locator("main")).to_contain_text("Nothing to compare yet: what is clicked")
            without = page.locator("section", has=page.get_by_role("heading", name="Advertisers without a list"))
            expect(without.locator("li")).to_have_text([".. has no page"])
            page.goto(f"{url}/search?q=..")
            expect(page.locator("main li")).to_have_text([".. has no page"])
            page.get_by_role("link", name=long).first.click()
            page.wait_for_url(f"{url}/advertisers/{long}")
            rows = page.locator("section[aria-labelledby=TopProduct] > .box tbody tr")
            expect(rows.locator("th")).to_have_text([".. has no page", long])
            box = page.locator("section[aria-labelledby=TopProduct] > .box")
            assert box.evaluate("box => box.scrollWidth - box.clientWidth") == 0
            expect(page.locator("main")).to_contain_text("Ranks on the only published day so far.")
            expect(page.locator("section[aria-labelledby=Recommended] > p").first).to_have_text(
                "What the API answers when no model is named."
            )
            page.goto(f"{url}/docs")
            expect(page.locator(".opblock").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            page.get_by_role("link", name="overview").click()
            page.wait_for_url(f"{url}/")


MOVING = """() => [...document.querySelectorAll("*")].map((one) => getComputedStyle(one)).filter(
    (style) => style.animationName !== "none" || !/^0s(, 0s)*$/.test(style.transitionDuration)).length"""


@pytest.mark.parametrize("place", ["/", "/advertisers/BOLT", "/docs"])
def test_nothing_moves_for_who_asks_for_less_motion(browser: Browser, url: str, place: str) -> None:
    with watched(browser, url, reduced_motion="reduce") as page:
        page.goto(url + place)
        expect(page.locator(".uplot, .opblock").first).to_be_visible()
        assert page.evaluate(MOVING) == 0


def test_who_asks_for_a_page_without_a_key_is_led_to_the_form_and_back(
    browser: Browser, night: Night, tmp_path: Path
) -> None:
    """No script reads the key, no address has it, and after logging out it is needed again."""
    owner = opens(night.warehouse.url(MASTER))
    key, _ = keys.create("page", [], None, owner)
    acme, _ = keys.create("page-acme", ["ACME"], None, owner)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log", API_ACCESS="keys"),
        watched(browser, url, allowed=401) as page,
    ):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/advertisers/ACME?date={BEFORE}")
        expect(page).to_have_title("Log in · Recommendations")
        assert Axe().run(page).violations_count == 0
        page.get_by_label("Key").fill("rk_guessed")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("There is no such key")
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{url}/advertisers/ACME?date={BEFORE}")
        expect(page.locator("table.list")).to_have_count(len(MODELS))
        (cookie,) = page.context.cookies()
        assert (cookie["value"], cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (key, True, "Strict", -1)
        assert page.evaluate("document.cookie") == ""
        page.get_by_label("Advertiser or product").fill("AC")
        expect(page.locator("datalist#ids option")).not_to_have_count(0)
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_title("Log in · Recommendations")
        assert page.context.cookies() == []
        page.goto(f"{url}/")
        expect(page).to_have_title("Log in · Recommendations")
        assert not [address for address in asked if "rk_" in address]
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log", API_ACCESS="keys"):
        with watched(browser, url, allowed=403) as page:
            page.goto(f"{url}/")
            page.get_by_label("Key").fill(acme)
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_role("alert")).to_contain_text("The key page-acme reads its advertisers only")
            assert page.context.cookies() == []
