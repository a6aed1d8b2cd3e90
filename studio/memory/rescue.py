"""What to do when no knob makes a training fit: a larger card, the leanest method, a shorter text, a smaller model."""

from dataclasses import replace
from typing import Any

from studio.errors import UserError
from studio.memory import gpus, models
from studio.memory.estimate import Box, estimate, longest_sequence
from studio.memory.setup import Setup
from studio.memory.shapes import Shape, read_shape

LEAN: dict[str, Any] = {
    "tuner": "lora", "options": {"r": 8}, "quantization": "nf4", "dtype": "bfloat16", "batch": 1, "checkpointing": True,
    "optim": "paged_adamw_8bit", "reference": "adapter", "value_model": False, "modules_to_save": (),
}  # fmt: skip
"""What takes least of a card: QLoRA with one example at once, checkpointing, and states in main memory."""
SHORTEST = 64  # tokens that are worth training on


def rescue(setup: Setup, shape: Shape, usable: float, box: Box | None = None) -> dict[str, Any]:
    """What would be possible, None where nothing is: `card` holds the training as it is, `lean_card` the leanest one
    of this model; `length` is the longest text of the leanest on this card, and `model` the largest well-known model
    that it holds at this length. `lean`: the changes that make it so."""
    lean = replace(setup, **LEAN)
    longest = longest_sequence(lean, shape, usable, box)
    return {
        "card": smallest_card(estimate(setup, shape, box).needed),
        "lean_card": smallest_card(estimate(lean, shape, box).needed),
        "length": longest if longest >= SHORTEST else None,
        "model": largest_model(lean, usable, box),
        "lean": LEAN,
    }


def smallest_card(needed: float) -> str | None:
    """The card of the catalogue with least memory that has so many bytes."""
    fitting = [card for card in gpus.catalogue().values() if card.usable >= needed]
    return min(fitting, key=lambda card: card.usable).name if fitting else None


def largest_model(setup: Setup, usable: float, box: Box | None = None) -> str | None:
    """The well-known model of most weights that fits."""
    for name in sorted(models.parameter_counts(), key=models.parameter_counts().__getitem__, reverse=True):
        try:
            if estimate(setup, read_shape(models.well_known()[name]), box).fits(usable):
                return name
        except UserError:  # it has no module that these options name
            continue
    return None
