"""How fast a card trains: floating-point operations of a token over what the card computes. Rough, and said so."""

from studio.memory.gpus import Card
from studio.memory.setup import Setup
from studio.memory.shapes import Shape

SHARE_OF_PEAK = 0.4
"""Share of the card's peak that training reaches: an assumption until this box has measured its own."""
UNPACKING = {"none": 1.0, "int8": 1.5, "nf4": 1.25}
"""Time of a product with quantized weights over one without: an assumption likewise."""


def flops_per_token(setup: Setup, shape: Shape) -> float:
    """Operations for one token of a batch, forward and backward. 2 a weight forward, 2 for the gradients of
    activations, 2 for those of weights where they learn; checkpointing runs the layers' forward once more."""
    active = shape.layers * (shape.linear_weights + _active_experts(shape))
    scores = 2.0 * setup.length * shape.q * shape.layers  # causal: half of length × length
    layers, head = 2.0 * active + scores, 2.0 * shape.embedding_weights * setup.supervised_share
    passes = 2.0 + (1.0 if setup.trains_weights else 0.0) + (1.0 if setup.checkpointing else 0.0)
    reference = 1.0 if setup.objective in ("dpo", "kto", "grpo", "rloo") and setup.reference != "precomputed" else 0.0
    return (passes + reference) * layers + (3.0 if setup.trains_weights else 2.0) * head


def _active_experts(shape: Shape) -> int:
    return shape.experts_per_token * 3 * shape.hidden * shape.intermediate


def tokens_per_second(setup: Setup, shape: Shape, card: Card, factor: float = 1.0) -> float | None:
    """Tokens a second on one card; None where its speed is not known. `factor`: measured over predicted here."""
    if not card.flops:
        return None
    reached = card.flops * SHARE_OF_PEAK / UNPACKING[setup.quantization]
    return factor * reached / flops_per_token(setup, shape)


def slowdown(setup: Setup, other: Setup, shape: Shape) -> float:
    """Speed of `other` over that of `setup`, minus one: −0.25 is a quarter slower."""
    now = flops_per_token(setup, shape) * UNPACKING[setup.quantization]
    then = flops_per_token(other, shape) * UNPACKING[other.quantization]
    return now / then - 1
