"""A job's spec → the question that the memory room answers, and what a job on a card has measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from studio.errors import UserError
from studio.jobs.spec import TrainSpec
from studio.memory.calibration import Measured, fit
from studio.memory.estimate import Box, estimate
from studio.memory.gpus import Card
from studio.memory.setup import MATERIALISED, Setup
from studio.memory.shapes import Shape
from studio.methods.tuners import TUNERS
from studio.workspace import MEMORY, Workspace, read_json, write_json


def setup_of(spec: TrainSpec, length: int | None = None, supervised_share: float = 1.0) -> Setup:
    """The configuration of a job on a card with bfloat16. `length`: tokens of its longest example, when known.

    Gradient checkpointing that is left to the studio counts as off: see `settled`.
    """
    whole = TUNERS[spec.tuner.name].whole_model
    dtype = spec.dtype if spec.dtype != "auto" else ("float32" if whole else "bfloat16")
    options = {key: value for key, value in spec.tuner.library_options().items() if value is not None}
    return Setup(
        tuner=spec.tuner.name,
        options=options,
        objective=spec.objective.name,
        batch=spec.per_device_train_batch_size,
        length=min(spec.max_length, length or spec.max_length),
        padded=spec.per_device_train_batch_size > 1 or spec.objective.name == "dpo",
        quantization=spec.quantization,
        double_quant=spec.bnb_4bit_use_double_quant,
        dtype=dtype,
        autocast=spec.dtype != "float32",
        optim=spec.optim,
        checkpointing=spec.gradient_checkpointing == "on",
        accumulation=spec.gradient_accumulation_steps,
        loss="full" if spec.objective.name in MATERIALISED else "fused",
        supervised_share=supervised_share,
        reference="model" if whole else "adapter",
        reward_model=bool(getattr(spec.objective, "reward_model", "")),
    )


def settled(spec: TrainSpec, setup: Setup, shape: Shape, usable: float, box: Box | None = None) -> Setup:
    """`setup` with checkpointing that is left to the studio decided: on where the job would not fit without."""
    if spec.gradient_checkpointing != "auto" or estimate(setup, shape, box).fits(usable):
        return setup
    return replace(setup, checkpointing=True)


def write_measured(folder: Path, values: dict[str, Any]) -> None:
    """Keep what a job measured on its card, in its folder."""
    write_json(folder / MEMORY, values)


def read_measured(workspace: Workspace) -> list[Measured]:
    """What the workspace's jobs measured on cards, the oldest first. Folders without figures are not in it."""
    found: list[Measured] = []
    if not workspace.jobs.is_dir():
        return found
    for folder in sorted(path for path in workspace.jobs.iterdir() if path.is_dir()):
        values = read_json(folder / MEMORY)
        if isinstance(values, dict) and values.get("predicted") and not values.get("out_of_memory"):
            names = Measured.__dataclass_fields__
            found.append(Measured(**{name: values[name] for name in names if name in values}))
    return found


def box_of(workspace: Workspace, card: Card | None) -> Box:
    """What this workspace's jobs taught about a card."""
    return fit(read_measured(workspace), card.name) if card is not None else Box()


CHANGED = {
    "batch": "per_device_train_batch_size",
    "accumulation": "gradient_accumulation_steps",
    "length": "max_length",
    "quantization": "quantization",
    "optim": "optim",
    "dtype": "dtype",
}
"""Fields of Setup that are options of a spec under another name."""


def spec_values(spec: TrainSpec, changes: dict[str, Any]) -> dict[str, Any]:
    """The values of a spec with a knob's changes taken over. Raises UserError for a change that no job can make."""
    values = spec.model_dump(mode="json")
    for name, value in changes.items():
        if name == "checkpointing":
            values["gradient_checkpointing"] = "on" if value else "off"
        elif name in CHANGED:
            values[CHANGED[name]] = value
        elif name == "tuner":
            values["tuner"] = {"name": value}
        elif name == "options":
            values["tuner"] |= value
        else:
            raise UserError(f"A job has no option for {name}.", "Choose another of the settings that fit.")
    return values
