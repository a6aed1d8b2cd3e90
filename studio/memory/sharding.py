"""What one of several cards holds: DDP copies, ZeRO-2, ZeRO-3 and FSDP divide."""

from dataclasses import replace

from studio.memory.phases import Terms
from studio.memory.setup import Setup
from studio.memory.shapes import Shape

BUCKET = 25 * 1024**2
"""DDP's bucket of gradients (torch.nn.parallel): two are in flight."""


def divide(terms: Terms, setup: Setup, shape: Shape) -> Terms:
    """The terms of one rank. Activations are each rank's own: a batch is that of one card.

    ddp: everything, and buckets of gradients. zero2: gradients and optimizer divided. zero3 and fsdp: weights as
    well, while the layer at work and the next one are whole. Source: DeepSpeed's `estimate_zero2/3` (2P + 18P/n).
    """
    ranks = setup.cards
    if ranks == 1 or setup.sharding == "none":
        return terms
    if setup.sharding == "ddp":
        return replace(terms, gradients=terms.gradients + min(terms.gradients, 2 * BUCKET))
    divided = replace(
        terms, gradients=terms.gradients / ranks, optimizer=terms.optimizer / ranks, step=terms.step / ranks
    )
    if setup.sharding == "zero2":
        return divided
    whole = 2 * shape.layer_weights * setup.weight_bytes if setup.quantization == "none" else 0.0
    return replace(
        divided,
        weights=terms.weights / ranks + min(whole, terms.weights),
        reference=terms.reference / ranks,
        adapter=terms.adapter / ranks,
    )
