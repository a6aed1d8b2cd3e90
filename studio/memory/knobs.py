"""Which knob helps most: every alternative is estimated anew, none is guessed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from studio.memory.estimate import Box, estimate, largest_batch, longest_sequence
from studio.memory.parameters import adapts_experts
from studio.memory.setup import MATERIALISED, PROMPT_TUNERS, Setup
from studio.memory.shapes import Shape
from studio.memory.speed import slowdown

Knob = tuple[str, dict[str, Any]]
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("full_float32", {"tuner": "full", "options": {}, "quantization": "none", "dtype": "float32"}),
    ("full", {"tuner": "full", "options": {}, "quantization": "none", "dtype": "bfloat16"}),
    ("full_8bit", {"tuner": "full", "options": {}, "quantization": "none", "dtype": "bfloat16", "optim": "adamw_8bit"}),
    ("lora", {"tuner": "lora", "quantization": "none", "dtype": "bfloat16"}),
    ("int8_lora", {"tuner": "lora", "quantization": "int8", "dtype": "bfloat16"}),
    ("qlora", {"tuner": "lora", "quantization": "nf4", "dtype": "bfloat16"}),
)
"""The rows of the table of cards: methods as changes of a setup."""


def alternatives(setup: Setup, shape: Shape) -> Iterator[Knob]:
    """(name, changes) of what can be turned from here, whether it helps or not."""
    yield from _of_batch(setup)
    yield from _of_model(setup, shape)
    if setup.optim == "adamw_torch":
        yield "optimizer_fused", {"optim": "adamw_torch_fused"}
    if setup.optim in ("adamw_torch", "adamw_torch_fused"):
        yield "optimizer_8bit", {"optim": "adamw_8bit"}
        yield "optimizer_paged", {"optim": "paged_adamw_8bit"}
    if setup.head == "full" and setup.objective not in ("reward", *MATERIALISED):
        yield "loss_fused", {"loss": "fused"}
    if setup.attention == "eager":
        yield "attention_sdpa", {"attention": "sdpa"}
    if setup.objective == "dpo" and setup.reference != "precomputed":
        yield "reference_precomputed", {"reference": "precomputed"}


def _of_batch(setup: Setup) -> Iterator[Knob]:
    if not setup.checkpointing and setup.tuner not in ("prefix_tuning", "p_tuning_v2"):
        yield "checkpointing_on", {"checkpointing": True}
    if setup.checkpointing:
        yield "checkpointing_off", {"checkpointing": False}
    if setup.batch > 1:
        yield "batch_half", {"batch": setup.batch // 2, "accumulation": setup.accumulation * 2}
    if setup.length >= 256:
        yield "length_half", {"length": setup.length // 2}


def _of_model(setup: Setup, shape: Shape) -> Iterator[Knob]:
    if setup.tuner == "full":
        yield "lora", {"tuner": "lora", "options": {"r": 16}, "dtype": "bfloat16"}
        yield "qlora", {"tuner": "lora", "options": {"r": 16}, "dtype": "bfloat16", "quantization": "nf4"}
    elif setup.quantization == "none" and setup.tuner in ("lora", *PROMPT_TUNERS):
        yield "quantization_nf4", {"quantization": "nf4", "dtype": "bfloat16"}
    if setup.dtype == "float32":
        yield "dtype_bf16", {"dtype": "bfloat16"}
    if setup.tuner == "lora":
        where = setup.options.get("target_modules", "all-linear")
        if where == "all-linear" and not shape.family.fused:
            yield "targets_attention", {"options": {**setup.options, "target_modules": "attention"}}
        if int(setup.options.get("r", 8)) >= 16 and not adapts_experts(setup, shape):
            yield "rank_half", {"options": {**setup.options, "r": int(setup.options["r"]) // 2}}


def knobs(setup: Setup, shape: Shape, usable: float | None = None, box: Box | None = None) -> list[dict[str, Any]]:
    """Every alternative with its difference in bytes and speed and whether it fits, the most saving first."""
    now = estimate(setup, shape, box).needed
    rows = []
    for name, changes in alternatives(setup, shape):
        other = replace(setup, **changes)
        needed = estimate(other, shape, box).needed
        rows.append(
            {
                "name": name,
                "changes": changes,
                "bytes": round(needed - now),
                "speed": slowdown(setup, other, shape),
                "fits": None if usable is None else needed <= usable,
            }
        )
    return sorted(rows, key=lambda row: row["bytes"])


def settings_that_fit(setup: Setup, shape: Shape, usable: float, box: Box | None = None) -> list[dict[str, Any]]:
    """Up to three ways to fit into `usable` bytes: one knob where that suffices, else two, the fastest first."""
    found = [
        {"names": [row["name"]], "changes": row["changes"], "speed": row["speed"]}
        for row in knobs(setup, shape, usable, box)
        if row["fits"] and row["bytes"] < 0
    ]
    found += _smaller(setup, shape, usable, box)
    if len(found) < 3:
        found += _pairs(setup, shape, usable, box)
    if len(found) < 3 and found:
        found += _roomier(setup, found[0], shape, box)
    return sorted(found, key=lambda one: (len(one["names"]), -one["speed"]))[:3]


def _roomier(setup: Setup, way: dict[str, Any], shape: Shape, box: Box | None) -> list[dict[str, Any]]:
    """A way that fits with one more knob, for whoever wants room to spare."""
    other = replace(setup, **way["changes"])
    found = []
    for second in knobs(other, shape, box=box):
        if second["bytes"] < 0 and second["name"] not in way["names"]:
            changes = {**way["changes"], **second["changes"]}
            speed = slowdown(setup, replace(setup, **changes), shape)
            found.append({"names": [*way["names"], second["name"]], "changes": changes, "speed": speed})
    return found


def _smaller(setup: Setup, shape: Shape, usable: float, box: Box | None) -> list[dict[str, Any]]:
    """The largest batch that fits, with the steps as they were, and the longest sequence that fits."""
    found = []
    batch, length = largest_batch(setup, shape, usable, box), longest_sequence(setup, shape, usable, box)
    if 0 < batch < setup.batch:
        together = -(-setup.batch * setup.accumulation // batch)
        found.append({"names": ["batch_fit"], "changes": {"batch": batch, "accumulation": together}, "speed": 0.0})
    if 0 < length < setup.length:
        speed = slowdown(setup, replace(setup, length=length), shape)
        found.append({"names": ["length_fit"], "changes": {"length": length}, "speed": speed})
    return found


def _pairs(setup: Setup, shape: Shape, usable: float, box: Box | None) -> list[dict[str, Any]]:
    """Two knobs together, neither of which is enough alone."""
    rows = [row for row in knobs(setup, shape, usable, box) if row["bytes"] < 0]
    alone = {row["name"] for row in rows if row["fits"]}
    found: dict[frozenset[str], dict[str, Any]] = {}
    for row in [row for row in rows if not row["fits"]][:4]:
        other = replace(setup, **row["changes"])
        for second in knobs(other, shape, usable, box):
            names = frozenset((row["name"], second["name"]))
            if not second["fits"] or second["bytes"] >= 0 or second["name"] in alone or len(names) < 2:
                continue
            changes = {**row["changes"], **second["changes"]}
            speed = slowdown(setup, replace(setup, **changes), shape)
            found.setdefault(names, {"names": [row["name"], second["name"]], "changes": changes, "speed": speed})
    return list(found.values())


def table(setup: Setup, shape: Shape, sizes: dict[str, float], box: Box | None = None) -> list[dict[str, Any]]:
    """For each method the bytes it needs and which of the cards (name → usable bytes) hold it."""
    rows = []
    for name, changes in METHODS:
        if changes["tuner"] == "lora" and setup.tuner != "lora":
            changes = {**changes, "options": {"r": 16}}
        needed = estimate(replace(setup, **changes), shape, box).needed
        rows.append({"method": name, "needed": round(needed), "cards": {n: needed <= u for n, u in sizes.items()}})
    return rows
