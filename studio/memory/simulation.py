"""Asks a worker process to run the model class on fake tensors, and compares its answer with the formula's."""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from studio.errors import UserError
from studio.memory.estimate import Box, beside
from studio.memory.gpus import Card
from studio.memory.setup import Setup
from studio.memory.shapes import Config
from studio.settings import worker_environment

WORKER = "studio.worker.simulate"
SECONDS = 120.0
UNKNOWN = (
    "loss", "trainable_parameters", "parameters", "max_batch", "max_length", "tokens_per_second", "seconds_per_step",
)  # fmt: skip
"""What a simulation alone does not tell."""
TRUSTED = 0.03
"""Difference above which the simulation wins: the formula misses something about this model."""


def simulate(config: Config, setup: Setup, seconds: float = SECONDS) -> dict[str, Any]:
    """{"allocated", "phase", "phases", "parts", "stacks"} in bytes. Needs no weights and no GPU. Raises UserError."""
    question = json.dumps({"config": config, "setup": {**asdict(setup), "options": dict(setup.options)}})
    try:
        done = subprocess.run(
            [sys.executable, "-m", WORKER],
            input=question,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=worker_environment(),
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"The simulation took more than {seconds:.0f} seconds.", "Take a shorter sequence.") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise UserError(
            f"The model class of {config.get('model_type', 'this model')} cannot be simulated: {last[:200]}.",
            "Check the config.json; the first step of a real job will tell.",
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise UserError(answer["error"]["message"], answer["error"]["hint"])
    return answer


def compare(simulated: dict[str, Any], allocated: float) -> dict[str, Any]:
    """The simulation, its difference to the formula (positive: the formula says more), and which of them to believe."""
    difference = allocated / simulated["allocated"] - 1
    believed = "simulation" if abs(difference) > TRUSTED else "formula"
    return {**simulated, "difference": difference, "believed": believed}


def merge(
    values: dict[str, Any], compared: dict[str, Any], setup: Setup, card: Card | None, box: Box | None = None
) -> dict[str, Any]:
    """An estimate's answer with the simulation beside it; where that is believed, its peak takes the formula's place.

    The largest batch and length stay the formula's, and are left out where it is not believed.
    """
    merged = {**values, "simulation": compared}
    if compared["believed"] == "formula":
        return merged
    resident = values["weights"] + values["adapter"] + values["optimizer"]
    return merged | _peak(compared, setup, card, resident, box) | {"max_batch": None, "max_length": None}


def alone(simulated: dict[str, Any], setup: Setup, card: Card | None) -> dict[str, Any]:
    """The answer for an architecture that the formulas do not know: what the simulation tells, the rest None."""
    parts = simulated["parts"]
    unknown = dict.fromkeys(UNKNOWN)
    resident = sum(parts.get(name, 0) for name in ("weights", "adapter", "optimizer"))
    return {
        **{name: parts.get(name, 0) for name in ("weights", "adapter", "gradients", "optimizer", "activations")},
        **unknown,
        "simulation": {**simulated, "difference": None, "believed": "simulation"},
        **_peak(simulated, setup, card, resident),
    }


def _peak(
    simulated: dict[str, Any], setup: Setup, card: Card | None, resident: float, box: Box | None = None
) -> dict[str, Any]:
    allocated = simulated["allocated"]
    needed, shown = beside(allocated, resident, setup.head, box)
    return {
        "allocated": allocated,
        "needed": round(needed),
        "nvidia_smi": round(shown),
        "phase": simulated["phase"],
        "phases": simulated["phases"],
        "parts": simulated["parts"],
        "stacks": simulated.get("stacks", {simulated["phase"]: simulated["parts"]}),
        "card": card.name if card else None,
        "usable": round(card.usable) if card else None,
        "margin": round(card.usable - needed) if card else None,
        "fits": needed <= card.usable if card else None,
    }
