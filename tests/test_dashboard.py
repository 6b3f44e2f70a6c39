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

pytestmark = pytest.mark.skipif(not BROWSER, reason="no browser is installed (apt-get install chromium)")


@pytest.fixture
def url(night: Night, tmp_path: Path) -> Iterator[str]:
    """The API over two published days; an advertiser's id looks like HTML."""
    hostile = "<img src=x onerror=alert(1)>"
    for shift, day in enumerate((BEFORE, DAY)):
        active, views, ads = ordinary_logs(day, shift)
        views += [(hostile, "p00", day)] * 3
        ads += [(hostile, "p00", "impression", day)] * 3
        night.deliver([*active, hostile], views, ads)
        night.run(day)
    port = free_port()
    with serve(port, night.warehouse.url("recommendations_api"), tmp_path / "api.log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page() -> Iterator[Page]:
    """A page that fails the test for whatever the browser complains of: scripts, refused content."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=sandbox)
        page = browser.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        yield page
        browser.close()
    assert [told for told in complaints if "status of 4" not in told and "status of 5" not in told] == []


def lists(page: Page) -> dict[str, list[list[str]]]:
    """What is shown: rows of text by model."""
    return {
        section.locator("h2").inner_text(): [
            row.locator("td").all_inner_texts() for row in section.locator("tbody tr").all()
        ]
        for section in page.locator("main section").all()
    }


def shown(section: Any) -> list[list[str]]:
    """The API's list as the page should show it, without figures that are fractions."""
    return [[str(entry["rank"]), entry["product_id"]] for entry in section]


def test_the_lists_of_every_model_are_shown_and_the_address_says_which(page: Page, url: str) -> None:
    history = httpx.get(f"{url}/history/BOLT").json()["history"]
    page.goto(f"{url}/?advertiser=BOLT")
    expect(page.locator("main section h2")).to_have_text(MODELS)
    found = lists(page)
    assert {model: [row[:2] for row in rows] for model, rows in found.items()} == {
        model: shown(entries) for model, entries in history[DAY].items()
    }
    assert [row[2] for row in found["TopProduct"]] == [str(entry["views"]) for entry in history[DAY]["TopProduct"]]
    assert page.locator("main section").first.locator("p").nth(1).inner_text() != ""
    expect(page.locator("#published")).to_contain_text(f"{DAY}, published")

    page.get_by_label("Day").select_option(BEFORE)
    expect(page.locator("main tbody tr").first).to_be_visible()
    page.wait_for_url(f"{url}/?advertiser=BOLT&date={BEFORE}")
    assert [row[:2] for row in lists(page)["TopProduct"]] == shown(history[BEFORE]["TopProduct"])

    page.go_back()
    page.wait_for_url(f"{url}/?advertiser=BOLT&date={DAY}")
    expect(page.get_by_label("Day")).to_have_value(DAY)
    page.goto(f"{url}/?advertiser=BOLT&date=2024-01-01")
    expect(page.locator("#message")).to_have_text("There is no list of 2024-01-01 here; this is the newest.")
    expect(page.get_by_label("Day")).to_have_value(DAY)


def test_whoever_opens_it_sees_the_first_advertiser_and_chooses_another(page: Page, url: str) -> None:
    page.goto(url)
    hostile = httpx.get(f"{url}/advertisers").json()["advertisers"][0]["advertiser_id"]
    expect(page.get_by_label("Advertiser")).to_have_value(hostile)
    expect(page.locator("main section h2")).to_have_text(["SmoothedCTR", "TopCTR", "TopProduct"])
    assert lists(page)["TopProduct"] == [["1", "p00", "3"]]
    expect(page.locator("#overview h2")).to_have_count(len(MODELS))
    page.get_by_label("Advertiser").fill("ACME")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(f"{url}/?advertiser=ACME&date={DAY}")
    assert len(lists(page)["TopProduct"]) == 20


def test_an_advertiser_that_does_not_exist_is_told_as_the_api_tells_it(page: Page, url: str) -> None:
    page.goto(f"{url}/?advertiser=NOBODY")
    detail = httpx.get(f"{url}/history/NOBODY").json()["detail"]
    expect(page.locator("#message")).to_have_text(detail)
    expect(page.locator("main section")).to_have_count(0)
    page.get_by_label("Advertiser").fill("ACME")
    page.get_by_label("Advertiser").press("Enter")
    expect(page.locator("main section")).to_have_count(len(MODELS))
    expect(page.locator("#message")).to_have_text("")
