"""The product's own worker, run to its end and watched from outside."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from studio import workspace as names
from studio.jobs.events import TERMINAL, EventReader, Finished, Metrics
from studio.settings import worker_environment

PERIOD = 0.02  # seconds between two looks, so a moment of the worker is known to that


@dataclass(frozen=True, kw_only=True)
class Step:
    """A training step as told, and the CPU-seconds of the whole process when it was told."""

    metrics: Metrics
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one worker did. `cpu_seconds`: user and system, from its start until the result was saved."""

    steps: list[Step]
    finished: Finished
    cpu_seconds: float


def run_worker(folder: Path, *, threads: int) -> Run:
    """Let a worker work on a job's folder, with so many threads for arithmetic. Raises RuntimeError when it fails."""
    environment = {**worker_environment(), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "studio.worker", str(folder)]
    with (folder / names.LOG).open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
    try:
        return _watch(process, folder)
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _watch(process: "subprocess.Popen[bytes]", folder: Path) -> Run:
    reader, steps = EventReader(folder / names.EVENTS), []
    while True:
        time.sleep(PERIOD)
        ended = psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
        for event in reader.read():
            if isinstance(event, Metrics) and "loss" in event.values:
                steps.append(Step(metrics=event, cpu_seconds=cpu_seconds(process.pid)))
            if isinstance(event, Finished):
                return Run(steps=steps, finished=event, cpu_seconds=cpu_seconds(process.pid))
            if isinstance(event, TERMINAL):
                raise RuntimeError(f"the worker did not finish: {event}")
        if ended:
            log = (folder / names.LOG).read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the worker died: {log[-2000:]}")
