"""The moments of a training step at which memory can peak, in bytes."""

from dataclasses import dataclass, replace
from typing import Any

from studio.memory import layers, terms
from studio.memory.parameters import trained_layers
from studio.memory.setup import Setup
from studio.memory.shapes import Shape

FROZEN: dict[str, Any] = {"tuner": "prompt_tuning", "options": {"num_virtual_tokens": 0}}
PHASES = ("loss", "final_norm", "forward", "backward_last", "backward_first", "embeddings", "optimizer", "generation")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The terms of one step in bytes. `checkpoints`: what all layers keep; `layer`: one layer's saved activations,
    `early`: what the first layer has not of them."""

    weights: float
    reference: float
    adapter: float
    gradients: float
    optimizer: float
    step: float
    checkpoints: float
    layer: float
    early: float
    transient: float
    casts: float
    loss: float
    hidden: float
    generation: float
    unpacked: float
    spike: float

    @property
    def resident(self) -> float:
        """What is there from the second step on, whatever happens."""
        return self.weights + self.reference + self.adapter + self.optimizer


def compute_terms(setup: Setup, shape: Shape) -> Terms:
    """All terms of one step."""
    tokens, h = setup.tokens, shape.hidden
    layer = layers.saved(setup, shape) * tokens
    wide = layers.residual_bytes(setup)
    casts = layers.once(setup, shape)
    deep, frozen = trained_layers(setup, shape), 0
    if setup.tuner == "partial":  # below the first layer that learns only embeddings may want a gradient
        deep, frozen = min(deep, int(setup.options.get("trained_layers", 2))), deep
        frozen -= deep
    kept = deep * (layer + casts) + frozen * layers.saved(replace(setup, **FROZEN), shape) * tokens
    early = layers.untouched(setup, shape) * tokens
    if setup.checkpointing:
        kept = shape.layers * (wide * h + layers.past_checkpoints(setup, shape)) * tokens
    else:
        kept -= early
    unpacked = terms.dequantized(setup, shape)
    return Terms(
        weights=terms.weights(setup, shape),
        reference=terms.reference_model(setup, shape),
        adapter=terms.adapter(setup, shape),
        gradients=terms.gradients(setup, shape),
        optimizer=terms.optimizer(setup, shape),
        step=terms.step_temporary(setup, shape),
        checkpoints=kept,
        layer=layer,
        early=early,
        transient=layers.transient(setup, shape, unpacked),
        casts=casts,
        loss=terms.loss(setup, shape),
        hidden=tokens * (8.0 * h if setup.trains_weights else 6.0 * h),
        generation=terms.generation(setup, shape),
        unpacked=unpacked,
        spike=terms.embedding_spike(setup, shape),
    )


def peaks(setup: Setup, shape: Shape, of: Terms) -> dict[str, float]:
    """Bytes allocated at each phase."""
    tokens, h = setup.tokens, shape.hidden
    again = setup.checkpointing
    held = of.gradients if setup.accumulation > 1 else 0.0  # kept through the next forward pass
    full = setup.tuner == "full"
    head = shape.embedding_weights * setup.weight_bytes if terms.trains_head(setup) else 0.0
    matrix = 2.0 * h * shape.intermediate if setup.trains_weights else 0.0
    early = of.gradients
    if setup.trains_weights:  # the first layer's are being made; those of separate embeddings come last
        early -= 0.5 * of.gradients / shape.parameters * shape.layer_weights
        early -= 0 if shape.tied or not full else head
    shared = head if held and shape.tied else 0.0  # the head's, before the embeddings' is added to it
    live = of.layer + of.casts if again else 0.0
    cache = 0.0
    if setup.dtype == "float32" and setup.autocast and full and again:
        cache = 2.0 * shape.layers * shape.linear_weights
    beside = 0.5 * of.layer if setup.objective in ("dpo", "kto") and setup.reference != "precomputed" else 0.0
    start = of.resident + held
    dense = layers.dense_product(setup, shape)
    moving = of.transient + matrix + (dense if again else 0.0)
    first = layers.residual_bytes(setup) * h * tokens + live if again else of.layer - of.early
    if again:  # those of all layers: they go with the graph, when the loss does
        first += shape.layers * layers.past_checkpoints(setup, shape) * tokens
    passing = (tokens * layers.product(setup, shape) or of.unpacked) + dense
    ending = cache + of.hidden + terms.loss_forward(setup, shape) if cache else 0.0
    found = {
        "loss": start + of.checkpoints + of.hidden + of.loss,
        "final_norm": start + of.checkpoints + (26.0 if setup.trains_weights else 24.0) * h * tokens + head,
        "forward": start + of.checkpoints + max(ending, (0.6 * of.layer if again else 0.0) + cache + passing + beside),
        "backward_last": start + of.checkpoints + live + moving + head + 2.0 * h * tokens,
        "backward_first": of.resident + max(held + shared, early) + first + moving,
        "embeddings": of.resident + of.gradients + of.spike,
        "optimizer": of.resident + of.gradients + of.step,
        "generation": of.resident + of.generation,
    }
    absent = {"embeddings": not of.spike, "generation": not of.generation}
    return {name: value for name, value in found.items() if not absent.get(name)}
