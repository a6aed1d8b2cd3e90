"""What open tabs cost: 20 that look at a running job of 5,000 points, and one in a real browser."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.browser import chromium, watch_tab
from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.page import Page, end, served_page
from benchmarks.poller import Poller
from benchmarks.scratch import scratch_studio
from benchmarks.training import SAMPLE, make_job
from benchmarks.worker import cpu_seconds
from studio import workspace as names
from studio.jobs.events import EventReader
from studio.jobs.launchers.local import write_record
from studio.settings import REPOSITORY

OPEN = 20
POINTS = 5000
MOST_SHARE = 15.0  # percent of one core
MOST_BYTES = 10_000.0  # a second and tab
SETTLE = 5.0  # seconds before anything is counted: the first answer holds every point


def measure(options: Options) -> list[Figure]:
    """The server's CPU time while tabs poll it, and what they receive."""
    with scratch_studio(options.models) as studio:
        job = make_job(studio, SAMPLE)
        with talking_job(job), served_page(studio.workspace.root) as page:
            alone = share_of_a_core(page, options.seconds / 2)
            share, received = asyncio.run(poll(page, job.name, options.seconds))
            browser = chromium()
            tab = watch_tab(browser, page, job.name, options.seconds, settle=SETTLE) if browser else None
    note = f"{OPEN} tabs, job of {POINTS} points and 5 more a second; without a tab {alone:.1f} %"
    figures = [
        Figure(name=f"server with {OPEN} tabs", value=share, unit="% of a core", goal=MOST_SHARE, note=note),
        Figure(name="received by a tab", value=received, unit="bytes/s", goal=MOST_BYTES, note="headers and bodies"),
    ]
    if tab is not None:
        note = "the whole page in Chromium, after it was drawn"
        figures += [
            Figure(name="server with one browser tab", value=tab.share, unit="% of a core", goal=MOST_SHARE, note=note),
            Figure(name="received by the browser tab", value=tab.received, unit="bytes/s", goal=MOST_BYTES, note=note),
        ]
    return figures


@contextmanager
def talking_job(folder: Path) -> Iterator[None]:
    """Let a process that only talks be the job's worker."""
    command = [sys.executable, "-m", "benchmarks.fake_job", str(folder), str(POINTS)]
    with (folder / names.LOG).open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, cwd=REPOSITORY)
    try:
        write_record(folder, process.pid)
        reader, points = EventReader(folder / names.EVENTS), 0
        while points < POINTS:
            points += len(reader.read())
            if process.poll() is not None:
                raise RuntimeError("the fake job died")
            time.sleep(0.05)
        yield
    finally:
        end(process)


def share_of_a_core(page: Page, seconds: float) -> float:
    """Percent of one core that the server takes while nobody asks."""
    before = cpu_seconds(page.pid)
    time.sleep(seconds)
    return 100 * (cpu_seconds(page.pid) - before) / seconds


async def poll(page: Page, job: str, seconds: float) -> tuple[float, float]:
    """(percent of one core of the server, bytes a second and tab) while all tabs poll."""
    pollers = [Poller(page.url, job, offset=number / OPEN) for number in range(OPEN)]
    tasks = [asyncio.create_task(poller.run()) for poller in pollers]
    await asyncio.sleep(SETTLE)
    bytes_before = sum(poller.received for poller in pollers)
    cpu_before, began = cpu_seconds(page.pid), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, took = cpu_seconds(page.pid) - cpu_before, time.monotonic() - began
    received = sum(poller.received for poller in pollers) - bytes_before
    for task in tasks:
        if task.done():
            task.result()  # a poller that died tells why
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return 100 * cpu / took, received / took / OPEN


TABS = Benchmark(name="tabs", title="Open tabs", measure=measure)
