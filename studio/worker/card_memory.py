"""What a job takes of its card, kept beside what the formula said; written however the job ends."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from studio import hardware
from studio.data.chat_template import IGNORED
from studio.errors import UserError
from studio.jobs.memory_plan import setup_of, write_measured
from studio.jobs.spec import TrainSpec
from studio.memory.estimate import Estimate, estimate
from studio.memory.gpus import of_this_box
from studio.memory.setup import Setup
from studio.memory.shapes import read_shape
from studio.memory.speed import tokens_per_second


class Meter(Protocol):
    """What a card tells: its name, and bytes."""

    def name(self) -> str: ...
    def total(self) -> int: ...
    def reset(self) -> None: ...
    def allocated(self) -> int: ...
    def reserved(self) -> int: ...
    def driver(self) -> int | None: ...


class CudaMeter:
    """The first CUDA card, by torch and by its driver."""

    def name(self) -> str:
        return str(torch.cuda.get_device_name())

    def total(self) -> int:
        return int(torch.cuda.mem_get_info()[1])

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def allocated(self) -> int:
        return int(torch.cuda.max_memory_allocated())

    def reserved(self) -> int:
        return int(torch.cuda.max_memory_reserved())

    def driver(self) -> int | None:
        """What the driver counts for this process, context included; None where it does not tell."""
        return hardware.process_memory(os.getpid())


@contextmanager
def measured(
    folder: Path, spec: TrainSpec, trainer: Any, rows: list[dict[str, Any]], meter: Meter | None = None
) -> Iterator[None]:
    """Measure what happens inside, and keep it with the formula's answer; without a card nothing is done."""
    if meter is None:
        if not torch.cuda.is_available():
            yield
            return
        meter = CudaMeter()
    setup, found = predicted(spec, trainer, rows)
    meter.reset()
    began, ran_out = time.monotonic(), False
    try:
        yield
    except torch.OutOfMemoryError:
        ran_out = True
        raise
    finally:
        seconds = time.monotonic() - began
        values = _record(folder.name, meter, setup, found) | {"out_of_memory": ran_out}
        values["tokens_per_second"] = None if ran_out else trainer.real_tokens / max(seconds, 1e-9)
        values["predicted_tokens_per_second"] = _speed(trainer, setup, meter.name())
        write_measured(folder, values)


def predicted(spec: TrainSpec, trainer: Any, rows: list[dict[str, Any]]) -> tuple[Setup, Estimate | None]:
    """The configuration as it runs, with the longest row and the share that is learned, and its estimate."""
    longest, learned = _lengths(spec, rows)
    setup = setup_of(spec, longest, learned)
    weights = next(trainer.model.parameters()).dtype
    known = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
    values: dict[str, Any] = {"checkpointing": bool(trainer.args.gradient_checkpointing)}
    if spec.quantization == "none" and weights in known:
        values["dtype"] = known[weights]
    setup = Setup(**{**asdict(setup), **values})
    try:
        return setup, estimate(setup, read_shape(trainer.model.config.to_dict()))
    except UserError:
        return setup, None  # an architecture that the formulas do not know is measured all the same


def _lengths(spec: TrainSpec, rows: list[dict[str, Any]]) -> tuple[int, float]:
    """(tokens of the longest sequence, share of tokens with a label); max_length and 1 for answers written later."""
    sequences = [one for row in rows for one in _sequences(row)]
    if not sequences:
        return spec.max_length, 1.0
    total, learned = sum(length for length, _ in sequences), sum(count for _, count in sequences)
    return max(length for length, _ in sequences), max(1, learned) / max(1, total)


def _sequences(row: dict[str, Any]) -> list[tuple[int, int]]:
    """(tokens, those with a label) of each sequence of a row, whichever objective's it is."""
    if "input_ids" in row:
        return [(len(row["input_ids"]), _learned(row["labels"]))] if "labels" in row else []
    prompt = len(row.get("prompt_ids", ()))
    for names in (("chosen_input_ids", "rejected_input_ids"), ("chosen_ids", "rejected_ids"), ("completion_ids",)):
        if names[0] in row:
            labels = [row.get(name.replace("_input_ids", "_labels"), row[name]) for name in names]
            return [(prompt + len(row[name]), _learned(one)) for name, one in zip(names, labels, strict=True)]
    return []


def _learned(labels: list[int]) -> int:
    return sum(label != IGNORED for label in labels)


def _record(job: str, meter: Meter, setup: Setup, found: Estimate | None) -> dict[str, Any]:
    return {
        "job": job,
        "card": meter.name(),
        "card_bytes": meter.total(),
        "torch": torch.__version__,
        "setup": {**asdict(setup), "options": dict(setup.options)},
        "predicted": found.allocated if found else None,
        "resident": found.terms.resident if found else None,
        "needed": found.needed if found else None,
        "phase": found.phase if found else None,
        "parts": found.parts if found else None,
        "allocated": meter.allocated(),
        "reserved": meter.reserved(),
        "driver": meter.driver(),
    }


def _speed(trainer: Any, setup: Setup, card: str) -> float | None:
    known = next((one for one in of_this_box() if one.name == card), None)
    try:
        shape = read_shape(trainer.model.config.to_dict())
    except UserError:
        return None
    return tokens_per_second(setup, shape, known) if known else None


def peak_memory() -> int:
    """The most bytes that this process held: of the card when there is one, else of main memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
