"""How near the memory formulas are to a simulation of the real model classes, on all of simulated.yaml; how fast."""

import time
from pathlib import Path
from statistics import mean

import yaml

from benchmarks.contract import Benchmark, Figure, Options
from studio.memory import models
from studio.memory.estimate import estimate
from studio.memory.setup import Setup
from studio.memory.shapes import read_shape

CONFIGURATIONS = Path(__file__).parent.parent / "tests" / "memory" / "simulated.yaml"
MOST_DIFFERENCE = 2.0  # percent
MOST_MILLISECONDS = 1.0  # of one evaluation
EVALUATIONS = 500


def measure(options: Options) -> list[Figure]:
    """Differences in percent of the simulated peak, and the time of one evaluation."""
    rows = yaml.safe_load(CONFIGURATIONS.read_text(encoding="utf-8"))
    differences = [abs(difference(row)) for row in rows]
    note = f"{len(rows)} configurations, 0.5B to 72B"
    return [
        Figure(name="largest difference", value=max(differences), unit="%", goal=MOST_DIFFERENCE, note=note),
        Figure(name="mean difference", value=mean(differences), unit="%", note=note),
        Figure(name="one evaluation", value=milliseconds(), unit="ms", goal=MOST_MILLISECONDS),
    ]


def difference(row: dict) -> float:
    """Formula over simulation, in percent, of one configuration."""
    from studio.worker.simulate import simulate

    config = models.well_known()[row["model"]]
    setup = Setup(**{key: value for key, value in row.items() if key not in ("model", "quick")})
    return 100 * (estimate(setup, read_shape(config)).allocated / simulate(config, setup)["allocated"] - 1)


def milliseconds() -> float:
    """Of one evaluation, over many."""
    shape, setup = read_shape(models.find("meta-llama/Llama-2-7b-hf")), Setup(batch=4)
    began = time.perf_counter()
    for _ in range(EVALUATIONS):
        estimate(setup, shape)
    return (time.perf_counter() - began) / EVALUATIONS * 1000


MEMORY_FORMULAS = Benchmark(name="memory_formulas", title="Memory: formula and simulation", measure=measure)
