"""The dashboard, in a real browser over the real API."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import DAY, MODELS, Night, ordinary_logs
from playwright.sync_api import Page, expect, sync_playwright

from local.airflow import free_port
from local.api import serve

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
BEFORE = "2024-11-19"
HOSTILE = "<img src=x onerror=alert(1)>"
"""An advertiser's id that looks like HTML; it sorts before the others."""

pytestmark = pytest.mark.skipif(not BROWSER, reason="no browser is installed (apt-get install chromium)")
expect.set_options(timeout=20_000)


@pytest.fixture
def url(night: Night, tmp_path: Path) -> Iterator[str]:
    """The API over two published days; the advertiser QUIET is active without events."""
    for shift, day in enumerate((BEFORE, DAY)):
        active, views, ads = ordinary_logs(day, shift)
        views += [(HOSTILE, "p00", day)] * 12_345
        ads += [(HOSTILE, "p00", "impression", day)] * 3
        night.deliver([*active, HOSTILE, "!QUIET"], views, ads)
        night.run(day)
    port = free_port()
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page() -> Iterator[Page]:
    """A page that fails the test for whatever the browser complains of: scripts, refused content, missing files."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=sandbox)
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(f"{said.text} {said.location['url']}") if said.type == "error" else None,
        )
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        yield page
        browser.close()
    assert [said for said in complaints if not said.endswith("/history/NOBODY")] == []


def expect_lists(page: Page, lists: dict[str, Any]) -> None:
    """Waits until every model's list is shown as the API answers it, by rank, product and, at TopProduct, views."""
    sections = page.locator("main section")
    expect(sections.locator("h2")).to_have_text(list(lists))
    for place, (model, entries) in enumerate(lists.items()):
        rows = sections.nth(place).locator("tbody tr")
        expect(rows.locator("td:nth-child(1)")).to_have_text([str(entry["rank"]) for entry in entries])
        expect(rows.locator("td:nth-child(2)")).to_have_text([entry["product_id"] for entry in entries])
        if model == "TopProduct":
            expect(rows.locator("td:nth-child(3)")).to_have_text([f"{entry['views']:,}" for entry in entries])


def test_the_lists_of_every_model_are_shown_and_the_address_says_which(page: Page, url: str) -> None:
    history = httpx.get(f"{url}/history/BOLT").json()["history"]
    assert list(history[DAY]) == sorted(MODELS)
    page.goto(f"{url}/?advertiser=BOLT")
    expect_lists(page, history[DAY])
    replaced = httpx.get(f"{url}/stats/BOLT").json()["lists"]["TopProduct"]["replaced_share"]
    assert replaced
    expect(page.locator("main section").nth(list(history[DAY]).index("TopProduct"))).to_contain_text(
        f"{100 * replaced:.0f} % replaced since"
    )
    expect(page.locator("#published")).to_contain_text(f"{DAY}, published")

    page.get_by_label("Day").select_option(BEFORE)
    expect_lists(page, history[BEFORE])
    page.wait_for_url(f"{url}/?advertiser=BOLT&date={BEFORE}")

    page.go_back()
    page.wait_for_url(f"{url}/?advertiser=BOLT&date={DAY}")
    expect_lists(page, history[DAY])
    expect(page.get_by_label("Day")).to_have_value(DAY)


def test_an_address_of_a_day_that_is_gone_shows_the_newest_and_does_not_trap(page: Page, url: str) -> None:
    page.goto(f"{url}/models")
    page.goto(f"{url}/?advertiser=BOLT&date=2024-01-01")
    expect(page.locator("#message")).to_have_text("There is no list of 2024-01-01 here; this is the newest.")
    expect(page.get_by_label("Day")).to_have_value(DAY)
    page.go_back()
    page.wait_for_url(f"{url}/models")


def test_whoever_opens_it_sees_the_first_advertiser_with_events_and_chooses_another(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.get_by_label("Advertiser")).to_have_value(HOSTILE)
    expect_lists(page, httpx.get(f"{url}/history/%3Cimg src=x onerror=alert(1)%3E").json()["history"][DAY])
    expect(page.locator("main")).to_contain_text("12,345")
    expect(page.locator("#overview h2")).to_have_count(len(MODELS))
    page.get_by_label("Advertiser").fill("ACME")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(f"{url}/?advertiser=ACME&date={DAY}")
    expect_lists(page, httpx.get(f"{url}/history/ACME").json()["history"][DAY])


def test_what_there_is_not_is_told(page: Page, url: str) -> None:
    page.goto(f"{url}/?advertiser=NOBODY")
    expect(page.locator("#message")).to_have_text(httpx.get(f"{url}/history/NOBODY").json()["detail"])
    expect(page.locator("main section")).to_have_count(0)
    page.get_by_label("Advertiser").fill("!QUIET")
    page.get_by_label("Advertiser").press("Enter")
    expect(page.locator("#message")).to_have_text(
        "No lists from 2024-11-14 to 2024-11-20: there were no events of this advertiser."
    )
    page.get_by_label("Advertiser").fill("ACME")
    page.get_by_label("Advertiser").press("Enter")
    expect(page.locator("main section")).to_have_count(len(MODELS))
    expect(page.locator("#message")).to_have_text("")


def test_a_browser_asks_for_the_script_each_time(url: str) -> None:
    answer = httpx.get(f"{url}/dashboard/page.js")
    assert answer.headers["cache-control"] == "no-cache"
    again = httpx.get(f"{url}/dashboard/page.js", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert httpx.get(f"{url}/dashboard/nothing").headers["content-type"] == "application/problem+json"
