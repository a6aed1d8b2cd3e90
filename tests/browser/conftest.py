"""A served studio and a Chromium in front of it: what a user has."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.bootstrap import find_browser
from studio.base_models import STARTER_FOLDER
from studio.starter_model import ensure_starter_model
from tests.conftest import make_tiny_model

ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = Path(__file__).parent / "screenshots"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 60_000  # milliseconds; a busy machine is slow, not broken

# A message is gone after seconds; what it said is what a failure is about.
TELL_TOASTS = """
addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    const toast = node.querySelector?.(".toast-body");
    if (toast) console.log("toast: " + toast.textContent);
  }
}).observe(document.body, { childList: true, subtree: true }));
"""
USUAL = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US", "color_scheme": "light"}
# How many frames the page has asked for.
COUNT_FRAMES = """
(() => {
  const ask = window.requestAnimationFrame.bind(window);
  window.FRAMES = 0;
  window.requestAnimationFrame = (run) => { FRAMES += 1; return ask(run); };
})();
"""


@dataclass
class Served:
    """A studio as `make run` starts it, in a process of its own."""

    workspace: Path
    port: int
    process: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {**os.environ, "STUDIO_WORKSPACE": str(self.workspace), "STUDIO_HUB_TIMEOUT": "1"}
        command = [sys.executable, "-m", "studio", "serve", "--port", str(self.port)]
        with (self.workspace.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 90
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.workspace.parent / "serve.log").read_text()
            try:
                if httpx.get(self.url + "healthz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("the studio did not answer")

    def kill(self) -> None:
        """End it without a word, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@dataclass
class Visit:
    """One page and what went wrong in it."""

    page: Any
    studio: Served
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    opened: bool = False
    failed: int = 0

    def open(self, query: str = "") -> Any:
        """Go to the studio and wait until its tabs are there."""
        self.page.goto(self.studio.url + query)
        self.opened = True
        self.page.wait_for_selector("#tab-data-button", timeout=PATIENCE)
        self.page.wait_for_selector(".st-machine .st-meter", state="attached")  # the widgets live, so events do
        if not query and any(self.studio.workspace.glob("datasets/*/dataset.json")):
            self.page.wait_for_selector("#use-dataset", state="visible")  # the page has chosen the newest data set
        return self.page

    def tab(self, name: str) -> None:
        """Click a tab."""
        self.page.click(f"#tab-{name}-button")


# Not for the whole session: while Playwright is open, an event loop runs in this thread and others cannot.
@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One Chromium for all tests."""
    from playwright.sync_api import sync_playwright

    found = find_browser()
    if found is None:
        pytest.fail("No Chromium or Chrome was found. Install one (Debian: apt install chromium) and run again.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        chromium.new_context(**USUAL)  # the first: its cache is kept, see `visiting`
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def starter() -> Path:
    """The real starter model, kept in the repository's workspace so that it is fetched once."""
    models = ROOT / "workspace" / "models"
    models.mkdir(parents=True, exist_ok=True)
    return ensure_starter_model(models, 3, lambda text: None)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, starter: Path) -> Iterator[Served]:
    """A studio with the starter model and an empty workspace."""
    yield from serve_in(tmp_path_factory.mktemp("served"), starter)


@pytest.fixture
def own_studio(tmp_path: Path, starter: Path) -> Iterator[Served]:
    """A studio that a test may kill."""
    yield from serve_in(tmp_path, starter)


def serve_in(folder: Path, starter: Path) -> Iterator[Served]:
    """A studio below `folder` until the test is done; its jobs end with it."""
    workspace = folder / "workspace"
    (workspace / "models").mkdir(parents=True)
    (workspace / "models" / STARTER_FOLDER).symlink_to(starter)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    studio = Served(workspace, port)
    studio.start()
    try:
        yield studio
    finally:
        for job in httpx.get(studio.url + "api/live?list=0").json().get("jobs", []):
            httpx.post(f"{studio.url}api/jobs/{job['id']}/stop")
        studio.stop()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model, for what needs no sense."""
    return make_tiny_model(tmp_path_factory.mktemp("browser") / "tiny-llama")


@pytest.fixture
def visit(browser: Any, served: Served) -> Iterator[Visit]:
    """A page at 1440 × 900 in English that must raise no error and ask no other host."""
    yield from visiting(browser, served)


@pytest.fixture(scope="module")
def kept_visit(browser: Any, served: Served) -> Iterator[Visit]:
    """The page of `shared`."""
    yield from visiting(browser, served)


@pytest.fixture
def shared(kept_visit: Visit, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The page that a file's tests share, as the test before left it; opened anew after one that failed.

    A page takes seconds to draw; who needs a fresh one takes `visit`.
    """
    again = getattr(request.node, "execution_count", 1) > 1
    if again or not kept_visit.opened or request.session.testsfailed != kept_visit.failed:
        kept_visit.problems.clear()
        kept_visit.open()
    kept_visit.failed = request.session.testsfailed
    yield kept_visit
    assert not kept_visit.problems


def visiting(browser: Any, studio: Served, **options: Any) -> Iterator[Visit]:
    """A page; with `options`, Playwright's, in a context of its own, else in one that knows the studio's scripts.

    Who comes for the first time spends as much again on fetching and compiling them.
    """
    context = browser.new_context(**{**USUAL, **options}) if options else browser.contexts[0]
    context.set_default_timeout(PATIENCE)
    made = Visit(context.new_page(), studio)
    # By default a page is asked at every frame, and draws one to be asked: as much work as what is waited for.
    made.page.wait_for_function = partial(made.page.wait_for_function, polling=100)
    made.page.on("pageerror", lambda error: made.problems.append(str(error)))
    made.page.on("console", lambda message: made.said.append(f"{message.type}: {message.text[:500]}"))
    made.page.add_init_script(TELL_TOASTS + COUNT_FRAMES)
    made.page.on("request", lambda request: _note_foreign(made, request.url))
    yield made
    if options:
        context.close()
    else:
        if made.page.url.startswith("http"):
            made.page.evaluate("localStorage.clear()")
        made.page.close()
        context.clear_cookies()
    assert not made.problems


def _note_foreign(made: Visit, url: str) -> None:
    if not re.match(rf"{re.escape(made.studio.url)}|data:|blob:|about:", url):
        made.problems.append(f"asked another host: {url}")


def keep(page: Any, name: str) -> None:
    """Leave a screenshot for people."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
