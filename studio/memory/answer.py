"""An estimate in plain numbers, for the command line and for the page."""

from typing import Any

from studio.memory.estimate import Box, Estimate, estimate, largest_batch, longest_sequence, stack
from studio.memory.gpus import Card
from studio.memory.setup import Setup
from studio.memory.shapes import Shape
from studio.memory.speed import tokens_per_second


def answer(
    setup: Setup, shape: Shape, card: Card | None = None, box: Box | None = None, pace: float = 1.0
) -> dict[str, Any]:
    """Every number of an estimate, in bytes and counts. `fits`, `max_batch` and `max_length` are None without a card,
    and so are `tokens_per_second` and `seconds_per_step`, where `pace` is measured over predicted speed here.

    `weights … loss` are the terms, whether or not they are there at the peak; `parts` is what is there, adding
    up to `allocated`; `phases` tells the peak of every moment.
    """
    found = estimate(setup, shape, box)
    return {
        **terms_of(found),
        "allocated": round(found.allocated),
        "needed": round(found.needed),
        "nvidia_smi": round(found.nvidia_smi),
        "trainable_parameters": found.trainable_parameters,
        "parameters": found.parameters,
        "phase": found.phase,
        "phases": {name: round(value) for name, value in found.phases.items()},
        "parts": {name: round(value) for name, value in found.parts.items()},
        "stacks": {
            name: {part: round(size) for part, size in stack(found.terms, name, value, setup).items()}
            for name, value in found.phases.items()
        },
        **_on_card(setup, shape, found, card, box),
        **_speed(setup, shape, card, pace),
    }


def terms_of(found: Estimate) -> dict[str, int]:
    """The terms in bytes. `activations`: what the backward pass keeps and needs at most, `loss`: head and loss."""
    terms = found.terms
    live = found.phases["backward_last"] - terms.resident
    return {
        "weights": round(terms.weights + terms.reference),
        "adapter": round(terms.adapter),
        "gradients": round(terms.gradients),
        "optimizer": round(terms.optimizer),
        "activations": round(max(live, terms.checkpoints)),
        "loss": round(terms.loss + terms.hidden),
    }


def _speed(setup: Setup, shape: Shape, card: Card | None, pace: float) -> dict[str, float | None]:
    speed = tokens_per_second(setup, shape, card, pace) if card else None
    step = setup.tokens * setup.accumulation / speed if speed else None
    return {"tokens_per_second": speed, "seconds_per_step": step}


def _on_card(setup: Setup, shape: Shape, found: Estimate, card: Card | None, box: Box | None) -> dict[str, Any]:
    if card is None:
        return {"card": None, "usable": None, "margin": None, "fits": None, "max_batch": None, "max_length": None}
    return {
        "card": card.name,
        "usable": round(card.usable),
        "margin": round(card.usable) - round(found.needed),
        "fits": found.fits(card.usable),
        "max_batch": largest_batch(setup, shape, card.usable, box),
        "max_length": longest_sequence(setup, shape, card.usable, box),
    }
