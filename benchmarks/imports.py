"""What imports cost, and that none of the page's brings torch in."""

import json
import subprocess
import sys

from benchmarks.contract import Benchmark, Figure, Options
from benchmarks.page import warm_environment
from studio.settings import REPOSITORY, worker_environment

LIGHT = ("studio.cli.main", "studio.jobs.studio", "studio.ui.server", "gradio")
WORKER = "studio.worker.train"
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"}

LIGHT_CODE = "import importlib, json, sys, time; importlib.import_module(sys.argv[1]); "
# As the worker does: see studio/worker/quiet.py and studio/loading.py; and without the latter, to see what it spares.
WORKER_CODE = """import importlib, json, sys, time; sys.modules["bitsandbytes"] = None
from studio.loading import loading
with loading():
    importlib.import_module(sys.argv[1])
"""
COLLECTED_CODE = "import sys; sys.modules['bitsandbytes'] = None; " + LIGHT_CODE
TELL = "print(json.dumps([time.process_time(), sorted(name for name in sys.modules if '.' not in name)]))"


def measure(options: Options) -> list[Figure]:
    """CPU-seconds of a process that does nothing but import one module; the best of several."""
    figures, heavy = [], set()
    for module in LIGHT:
        runs = [import_once(module, LIGHT_CODE, warm_environment()) for _ in range(options.rounds)]
        figures.append(_figure(module, [cpu for cpu, _ in runs]))
        heavy |= runs[0][1] & HEAVY
    for name, code in ((WORKER, WORKER_CODE), (f"{WORKER}, garbage looked for", COLLECTED_CODE)):
        runs = [import_once(WORKER, code, worker_environment()) for _ in range(2)]
        figures.append(_figure(name, [cpu for cpu, _ in runs]))
    return [
        Figure(
            name="torch and its kin in the page's imports",
            value=len(heavy),
            unit="packages",
            goal=0,
            note=", ".join(sorted(heavy)),
        ),
        *figures,
    ]


def import_once(module: str, code: str, environment: dict[str, str]) -> tuple[float, set[str]]:
    """(CPU-seconds of the process, top-level modules that it then holds)."""
    done = subprocess.run(
        [sys.executable, "-c", code + TELL, module],
        capture_output=True,
        check=True,
        env=environment,
        cwd=REPOSITORY,
    )
    cpu, loaded = json.loads(done.stdout.splitlines()[-1])
    return float(cpu), set(loaded)


def _figure(module: str, cpu: list[float]) -> Figure:
    return Figure(name=f"import {module}", value=min(cpu), unit="CPU-seconds", note=f"best of {len(cpu)}")


IMPORTS = Benchmark(name="imports", title="Imports", measure=measure)
