"""`make screenshots`: pictures of the pages over sample logs of 30 days, for the README and docs/."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from playwright.sync_api import Page, sync_playwright

from elt.migrate import migrate
from elt.settings import PROJECT
from local import airflow, demo, s3
from local.api import serve
from local.postgres import MASTER, Postgres

IN_DOCS = ("overview", "advertiser", "product", "night")


def chromium() -> str | None:
    """The path of the browser of this machine."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def drawn(page: Page) -> None:
    """Waits until every figure has its picture."""
    page.wait_for_function(
        "document.querySelectorAll('figure[data-chart]').length === document.querySelectorAll('.uplot').length"
    )


@contextmanager
def demonstration() -> Iterator[tuple[str, dict[str, str]]]:
    """The API over the demo's logs, loaded without Airflow; yields its address, and a place (name: path) a page."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where this runs as root
        postgres = stack.enter_context(Postgres(folder / "postgres", airflow.free_port(54320)))
        postgres.provision("recommendations")
        migrate(postgres.url(MASTER, "recommendations"))
        postgres.let_log_in("recommendations_pipeline", "recommendations_api")
        s3_url = stack.enter_context(s3.s3_server(airflow.free_port(9000)))
        env = s3.environment(s3_url) | demo.environment(postgres)
        today = datetime.now(UTC).date()
        days = [today - timedelta(n) for n in range(demo.DAYS, 0, -1)]
        advertiser = demo.land_logs(env, days)
        demo.rebuild(env, days[0], days[-1])
        demo.deliver_again(env, today - timedelta(demo.AGAIN))
        demo.rebuild(env, today - timedelta(demo.AGAIN), today - timedelta(demo.AGAIN))
        port = airflow.free_port(8000)
        stack.enter_context(serve(port, postgres.url("recommendations_api", "recommendations"), folder / "api.log"))
        url = f"http://127.0.0.1:{port}"
        product = httpx.get(f"{url}/recommendations/{advertiser}").json()["recommendations"][0]["product_id"]
        yield (
            url,
            {
                "overview": "/",
                "advertiser": f"/advertisers/{advertiser}",
                "product": f"/advertisers/{advertiser}/products/{product}",
                "night": f"/nights/{days[-demo.BROKEN]}",
                "search": f"/search?q={product}",
            },
        )


def main() -> int:
    if not (browser_path := chromium()):
        print("no browser is installed: apt-get install chromium", file=sys.stderr)
        return 1
    pictures = PROJECT / "docs" / "pictures"
    with demonstration() as (url, places), sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=browser_path, args=sandbox)
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        for name in IN_DOCS:
            page.goto(url + places[name])
            drawn(page)
            page.screenshot(path=pictures / f"{name}.png")
        browser.close()
    print(f"{', '.join(IN_DOCS)} in {pictures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
