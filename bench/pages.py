"""The pages for people: how soon a browser shows something of each, over the demo's logs; `--large`: also over a
warehouse of 365 days and 5,000 advertisers, whose lists are kept for the newest 60 days, the most that a page reads.

Nothing is in memory or in the browser's cache: every page asks PostgreSQL, every file is transferred.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from playwright.sync_api import Browser, Request, sync_playwright

from bench.day import FOR_LOADING, LAST_DAY, publish
from bench.night import say
from elt import sql
from local.airflow import free_port
from local.api import serve
from local.postgres import Postgres
from local.screenshots import chromium, demonstration

ADVERTISERS, DAYS, LISTED = 5000, 365, 60

PAINTED = """() => new Promise((seen) => new PerformanceObserver((list) => {
    const found = list.getEntriesByName("first-contentful-paint");
    if (found.length) seen(found[0].startTime);
}).observe({ type: "paint", buffered: true }))"""


def tables(quick: bool, large: bool = False) -> str:
    """Markdown. Raises RuntimeError when there is no browser."""
    path = chromium()
    if path is None:
        raise RuntimeError("no browser is installed: apt-get install chromium")
    times = 3 if quick else 9
    lines = [
        "| warehouse | page | server, p50 | first content, p50 | the fastest | wanted | transferred |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=path, args=sandbox)
        stack.callback(browser.close)
        url, places = stack.enter_context(demonstration())
        lines += measured(browser, url, places, "the demo's", 300, times)
        if large:
            lines += measured(browser, _large(stack), LARGE, f"{ADVERTISERS:,} x {DAYS} days", 500, times)
    return "\n".join(lines)


LARGE = {
    "overview": "/",
    "advertiser": "/advertisers/ADVERTISER0000000042",
    "product": "/advertisers/ADVERTISER0000000042/products/p00042",
    "night": f"/nights/{LAST_DAY}",
    "search": "/search?q=p00042",
}


def measured(
    browser: Browser, url: str, places: dict[str, str], warehouse: str, wanted: int, times: int
) -> Iterator[str]:
    """A row of the table for each place (name: path), asked so many times by the server alone and by the browser."""
    client = httpx.Client()  # one: making it takes longer than most pages do
    for name, place in places.items():
        taken, painted = [], []
        for _ in range(times):
            begun = time.perf_counter()
            client.get(url + place).raise_for_status()
            taken.append(1000 * (time.perf_counter() - begun))
            context = browser.new_context()
            page = context.new_page()
            sizes: list[int] = []
            page.on("requestfinished", partial(_add, sizes))
            page.goto(url + place, wait_until="networkidle")
            painted.append(page.evaluate(PAINTED))
            context.close()
        server, content = statistics.median(taken), statistics.median(painted)
        yield (
            f"| {warehouse} | {name} | {server:.0f} ms | {content:.0f} ms | {min(painted):.0f} ms | {wanted} ms "
            f"| {sum(sizes) / 1000:.0f} kB |"
        )
        say(f"{warehouse} {name}: {server:.0f} ms, first content after {content:.0f} ms")


def _add(sizes: list[int], asked: Request) -> None:
    sizes.append(asked.sizes()["responseBodySize"])


def _large(stack: ExitStack) -> str:
    """The API's address over the large warehouse."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    os.chmod(folder, 0o755)  # PostgreSQL runs as another user where this runs as root
    options = {**FOR_LOADING, "autovacuum": "off"}
    postgres = stack.enter_context(Postgres(folder / "postgres", free_port(), **options))
    advertisers = [f"ADVERTISER{n:010}" for n in range(ADVERTISERS)]
    database = publish(postgres, [model.name for model in sql.models()], advertisers, DAYS, LISTED)
    port = free_port()
    stack.enter_context(serve(port, database, folder / "api.log"))
    return f"http://127.0.0.1:{port}"
