"""What a job's card told: predicted beside measured, and after it ran out, what grew and which settings would fit."""

from typing import Any

from studio import hardware
from studio.errors import UserError
from studio.jobs.memory_plan import box_of, spec_values
from studio.jobs.probe import probe
from studio.jobs.spec import build_spec
from studio.jobs.state import ACTIVE
from studio.jobs.studio import Studio
from studio.memory.estimate import estimate
from studio.memory.gpus import Card
from studio.memory.knobs import settings_that_fit
from studio.memory.setup import Setup
from studio.ui.memory_plan import shape_here
from studio.workspace import MEMORY, PROBE, read_json

MOVING = ("activations", "loss", "gradients", "optimizer", "adapter")
CHANGEABLE = ("batch", "accumulation", "length", "quantization", "optim", "dtype", "checkpointing", "tuner", "options")


def memory_of_finished(studio: Studio, job_id: str) -> dict[str, Any]:
    """Predicted and measured bytes, none when the job measured nothing; `ways` when it ran out of memory.

    `can_probe`: this machine has a card on which its longest batch could be tried.
    """
    can_probe = bool(hardware.gpus())
    record = _record(studio, job_id)
    if record is None:
        return {"can_probe": can_probe}
    told = ("card", "card_bytes", "predicted", "needed", "allocated", "reserved", "driver", "phase", "out_of_memory")
    values = {name: record.get(name) for name in told} | {"can_probe": can_probe}
    if record.get("out_of_memory"):
        values |= {"grew": _grew(record), "ways": ways_of(studio, job_id, record)}
    return values


def _record(studio: Studio, job_id: str) -> dict[str, Any] | None:
    """What the job measured, else what its probe did; None where neither is there."""
    folder = studio.workspace.job(job_id)
    record = read_json(folder / MEMORY) or read_json(folder / PROBE)
    return record if isinstance(record, dict) and "card" in record else None


def probe_job(studio: Studio, job_id: str) -> dict[str, Any]:
    """Try a job's longest batch on this machine's card. Raises UserError, also while a job has the card."""
    busy = next((view.name for view in studio.store.views() if view.status in ACTIVE), None)
    if busy:
        raise UserError(f"The job {busy} has the card.", "Probe when it is done: both together may not fit.")
    return probe(studio.workspace, job_id)


def _grew(record: dict[str, Any]) -> str | None:
    """The largest part of those that a configuration moves; the base model's weights are what they are."""
    parts = record.get("parts") or {}
    return max((name for name in MOVING if name in parts), key=lambda name: float(parts[name]), default=None)


def ways_of(studio: Studio, job_id: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Up to three settings under which the job would fit on its card, by what the formula says."""
    spec = studio.store.view(job_id).training
    shape = shape_here(studio, spec.base_model)
    if shape is None:
        return []
    setup = _setup(record["setup"])
    usable = float(record["card_bytes"])
    box = box_of(studio.workspace, Card(name=record["card"], usable=usable, flops=0, bandwidth=0, kind="this box"))
    found = estimate(setup, shape, box)
    if found.fits(usable):  # the formula said too little about this job: ask for as much more room
        usable *= min(1.0, found.allocated / max(1.0, float(record["allocated"])))
    ways = settings_that_fit(setup, shape, usable, box)
    return [way for way in ways if set(way["changes"]) <= set(CHANGEABLE)]


def retry(studio: Studio, job_id: str, way: int) -> str:
    """Start the job anew under one of its ways; returns the new job's id. Raises UserError."""
    record = _record(studio, job_id)
    ways = ways_of(studio, job_id, record) if record and record.get("out_of_memory") else []
    if not 0 <= way < len(ways):
        raise UserError("There is no such way to try again.", "Look at the job once more.")
    spec = studio.store.view(job_id).training
    return studio.start_job(build_spec(spec_values(spec, ways[way]["changes"])))


def _setup(values: dict[str, Any]) -> Setup:
    return Setup(**{**values, "modules_to_save": tuple(values.get("modules_to_save", ()))})
