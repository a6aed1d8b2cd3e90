"""How many weights a tuner trains: PEFT's own counts, from the shapes alone."""

from collections.abc import Callable, Iterable
from typing import Any

from studio.errors import UserError
from studio.memory.setup import Setup
from studio.memory.shapes import ATTENTION, Shape

GROUPS = {"attention": ATTENTION, "q_v": ("q_proj", "v_proj", "qkv_proj")}


def targets(setup: Setup, shape: Shape) -> tuple[tuple[str, int, int], ...]:
    """(name, inputs, outputs) of the linear modules of a layer that an adapter sits on.

    Raises UserError when a name is none of the model's.
    """
    chosen = _chosen(setup)
    if isinstance(chosen, str) and chosen in GROUPS:
        chosen = GROUPS[chosen]
    elif chosen == "all-linear":
        return shape.linear
    names = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    if not names:
        raise UserError("No target modules are given.", "Such as all-linear, attention, q_v or q_proj,v_proj.")
    found = tuple(one for one in shape.linear if one[0] in names)
    if not found:
        known = ", ".join(name for name, _, _ in shape.linear)
        raise UserError(f"The model has no module called {', '.join(map(str, names))}.", f"It has: {known}.")
    return found


def adapter_parameters(setup: Setup, shape: Shape) -> int:
    """Weights of the adapter in all layers, without copies by `modules_to_save`; 0 when weights are trained."""
    return COUNTS[setup.tuner](setup, shape) if setup.tuner in COUNTS else 0


def trainable_parameters(setup: Setup, shape: Shape) -> int:
    """Weights that learn: equal to PEFT's `get_nb_trainable_parameters()`. The score of a reward model always does,
    beside an adapter as a copy."""
    if setup.tuner == "full":
        return shape.parameters
    score = shape.hidden if shape.scores else 0
    if setup.tuner == "partial":
        return partial_parameters(setup, shape) + score
    return score + adapter_parameters(setup, shape) + len(setup.modules_to_save) * shape.embedding_weights


def trained_layers(setup: Setup, shape: Shape) -> int:
    """Decoder layers through which the backward pass goes."""
    if setup.tuner != "partial" or setup.options.get("train_embeddings"):
        return shape.layers
    return min(int(setup.options.get("trained_layers", 2)), shape.layers)


def partial_parameters(setup: Setup, shape: Shape) -> int:
    options = setup.options
    count = min(int(options.get("trained_layers", 2)), shape.layers) * shape.layer_weights
    count += shape.hidden if options.get("train_norm", True) else 0
    head, embeddings = bool(options.get("train_head")), bool(options.get("train_embeddings"))
    tables = int(head or embeddings) if shape.tied else int(head) + int(embeddings)
    return count + tables * shape.embedding_weights


def _total(shape: Shape, some: Iterable[tuple[str, int, int]], count: Callable[[int, int], int]) -> int:
    return shape.layers * sum(count(inputs, outputs) for _, inputs, outputs in some)


def _lora(setup: Setup, shape: Shape) -> int:
    r, dora = int(setup.options.get("r", 8)), 1 if setup.options.get("use_dora") else 0
    total = _total(shape, targets(setup, shape), lambda inputs, outputs: r * (inputs + outputs) + dora * outputs)
    return total + (_experts(r, shape) if adapts_experts(setup, shape) else 0)


def adapts_experts(setup: Setup, shape: Shape) -> bool:
    """Whether LoRA sits on experts too: PEFT counts them among all linear layers, and their router."""
    return bool(shape.experts) and setup.tuner == "lora" and _chosen(setup) == "all-linear"


def _experts(r: int, shape: Shape) -> int:
    """Every expert has a rank of its own, twice as wide for gate and up, which are one matrix."""
    h, i, n = shape.hidden, shape.intermediate, shape.experts
    return shape.layers * (n * (2 * r * (h + 2 * i) + r * (i + h)) + r * (h + n))


def _chosen(setup: Setup) -> Any:
    return setup.options.get("target_modules", "all-linear")


def _adalora(setup: Setup, shape: Shape) -> int:
    r = int(setup.options.get("init_r", 12))
    return _total(shape, targets(setup, shape), lambda inputs, outputs: r * (inputs + outputs + 1))


def _shira(setup: Setup, shape: Shape) -> int:
    r = int(setup.options.get("r", 8))
    return _total(shape, targets(setup, shape), lambda inputs, outputs: r * (inputs + outputs))


def ia3_modules(setup: Setup, shape: Shape) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
    """(modules whose outputs are scaled, modules whose inputs are scaled)."""
    outputs = [one for one in shape.linear if one[0] in ("k_proj", "v_proj", "qkv_proj")]
    without = setup.options.get("feedforward_modules") == "without"
    return outputs, [] if without else [one for one in shape.linear if one[0] == "down_proj"]


def _ia3(setup: Setup, shape: Shape) -> int:
    outer, inner = ia3_modules(setup, shape)
    return _total(shape, outer, lambda inputs, outputs: outputs) + _total(shape, inner, lambda inputs, outputs: inputs)


def bottleneck_places(setup: Setup) -> int:
    """Adapters in a layer: Houlsby's after attention and feed-forward, Pfeiffer's after feed-forward."""
    return 1 if setup.options.get("placement") == "pfeiffer" else 2


def _bottleneck(setup: Setup, shape: Shape) -> int:
    size = int(setup.options.get("bottleneck_size", 64))
    return shape.layers * bottleneck_places(setup) * (2 * size * shape.hidden + size + shape.hidden)


def _prompt_tuning(setup: Setup, shape: Shape) -> int:
    return int(setup.options.get("num_virtual_tokens", 20)) * shape.hidden


def _p_tuning(setup: Setup, shape: Shape) -> int:
    width, hidden = int(setup.options.get("encoder_hidden_size", 128)), shape.hidden
    vectors = _prompt_tuning(setup, shape)
    if setup.options.get("encoder_reparameterization_type", "MLP") == "MLP":
        return vectors + _dense(hidden, width) + _dense(width, width) + _dense(width, hidden)
    first = 2 * 4 * width * (hidden + width + 2)  # both directions, four gates, two biases each
    second = 2 * 4 * width * (2 * width + width + 2)
    return vectors + first + second + _dense(2 * width, 2 * width) + _dense(2 * width, hidden)


def _prefix(setup: Setup, shape: Shape) -> int:
    tokens, prefix = int(setup.options.get("num_virtual_tokens", 20)), 2 * shape.layers * shape.kv
    if not setup.options.get("prefix_projection", setup.tuner == "prefix_tuning"):
        return tokens * prefix
    width = int(setup.options.get("encoder_hidden_size", 128))
    return tokens * shape.kv + _dense(shape.kv, width) + _dense(width, prefix)


def _dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


COUNTS: dict[str, Callable[[Any, Shape], int]] = {
    "lora": _lora,
    "adalora": _adalora,
    "ia3": _ia3,
    "bottleneck": _bottleneck,
    "shira": _shira,
    "prompt_tuning": _prompt_tuning,
    "p_tuning": _p_tuning,
    "prefix_tuning": _prefix,
    "p_tuning_v2": _prefix,
}
