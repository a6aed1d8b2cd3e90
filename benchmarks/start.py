"""From the start of the process to the first page, against what Gradio's own import takes on this machine."""

import resource
import subprocess
import sys
import time
from statistics import median

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.page import served_page, warm_environment
from benchmarks.scratch import scratch_studio
from benchmarks.worker import cpu_seconds

MOST_RATIO = 1.5


def measure(options: Options) -> list[Figure]:
    """Alternating, so that what else the machine does meets both; the first round warms up and is not counted."""
    pages, imports = [], []
    with scratch_studio(options.models) as studio:
        for _ in range(options.rounds + 1):
            with served_page(studio.workspace.root) as page:
                pages.append((page.seconds, cpu_seconds(page.pid)))
            imports.append(import_gradio())
    pages, imports = pages[1:], imports[1:]
    note = f"{options.rounds} pairs; best {best(pages, 0):.2f} s against {best(imports, 0):.2f} s"
    return [
        Figure(
            name="first page ÷ import gradio",
            value=median(page[0] / alone[0] for page, alone in zip(pages, imports, strict=True)),
            unit="× time, median pair",
            goal=MOST_RATIO,
            note=note,
        ),
        Figure(
            name="the same, CPU time",
            value=median(page[1] / alone[1] for page, alone in zip(pages, imports, strict=True)),
            unit="× CPU-seconds, median pair",
            goal=MOST_RATIO,
            note=f"best {best(pages, 1):.2f} CPU-seconds against {best(imports, 1):.2f}",
        ),
        Figure(name="first page", value=median(page[0] for page in pages), unit="s, median"),
    ]


def import_gradio() -> tuple[float, float]:
    """(seconds, CPU-seconds) of `python -c "import gradio"`."""
    before, began = _children(), time.monotonic()
    subprocess.run([sys.executable, "-c", "import gradio"], check=True, env=warm_environment())
    return time.monotonic() - began, _children() - before


def best(times: list[tuple[float, float]], which: int) -> float:
    """The least of one column: the run that was disturbed least."""
    return min(one[which] for one in times)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


START = Benchmark(name="start", title="Start of the page", measure=measure)
