"""A real tab in Chromium, where Playwright and a browser are there."""

import shutil
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from benchmarks.page import Page
from benchmarks.worker import cpu_seconds

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True, kw_only=True)
class Tab:
    """`share`: percent of one core of the server. `received`: bytes a second."""

    share: float
    received: float


def chromium() -> str | None:
    """The program of a browser of this machine; None when there is none, or no Playwright to drive it."""
    if find_spec("playwright") is None:
        return None
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def watch_tab(program: str, page: Page, job: str, seconds: float, *, settle: float) -> Tab:
    """Open the job's page, let it settle, and count what the server does and the tab receives."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            tab = browser.new_page()
            session = tab.context.new_cdp_session(tab)
            session.send("Network.enable")
            received = [0.0]

            def count(event: dict[str, Any]) -> None:
                received[0] += event["encodedDataLength"]

            session.on("Network.loadingFinished", count)
            tab.goto(f"{page.url}/?tab=jobs&job={job}")
            tab.wait_for_selector(".js-plotly-plot", timeout=60_000)
            tab.wait_for_timeout(1000 * settle)
            received[0] = 0.0
            cpu, began = cpu_seconds(page.pid), time.monotonic()
            tab.wait_for_timeout(1000 * seconds)
            took = time.monotonic() - began
            return Tab(share=100 * (cpu_seconds(page.pid) - cpu) / took, received=received[0] / took)
        finally:
            browser.close()
