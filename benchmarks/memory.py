"""Memory of the studio's own process once its page was served; the worker's is measured with the training."""

import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.page import served_page, warm_environment
from benchmarks.scratch import scratch_studio

VISITS = 10
GRADIO_ALONE = "import gradio, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def measure(options: Options) -> list[Figure]:
    """The peak after a page was visited a few times; what Gradio takes alone stands beside it."""
    with scratch_studio(options.models) as studio, served_page(studio.workspace.root) as page:
        for path in ("/", "/config", "/api/live", "/api/system") * VISITS:
            httpx.get(page.url + path, timeout=30).raise_for_status()
        peak = peak_bytes(page.pid)
    done = subprocess.run([sys.executable, "-c", GRADIO_ALONE], capture_output=True, check=True, env=warm_environment())
    alone = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    return [
        Figure(
            name="peak memory of the studio",
            value=peak / 1e6,
            unit="MB",
            note=f"after {VISITS} visits; a process with nothing but gradio: {alone / 1e6:.0f} MB",
        )
    ]


def peak_bytes(pid: int) -> int:
    """The most that a process has kept in memory; where the system does not say, what it keeps now."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return int(psutil.Process(pid).memory_info().rss)
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


MEMORY = Benchmark(name="memory", title="Memory of the studio", measure=measure)
