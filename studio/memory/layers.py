"""What one decoder layer keeps for its backward pass and needs while it runs, in bytes a token."""

from studio.memory.parameters import adapter_parameters, adapts_experts, bottleneck_places, ia3_modules, targets
from studio.memory.setup import PROMPT_TUNERS, Setup
from studio.memory.shapes import Shape


def residual_bytes(setup: Setup) -> int:
    """Bytes of one value of the residual stream."""
    return 4 if setup.dtype == "float32" or _widened(setup) else 2


def _widened(setup: Setup) -> bool:
    """Whether quantized matrices get float32 inputs, and so give float32 outputs."""
    return setup.quantization != "none" and (setup.float32_rest or setup.tuner == "ia3")


def saved(setup: Setup, shape: Shape) -> float:
    """Bytes a token that one layer keeps without checkpointing. Source: the libraries' code, and the simulation."""
    parts = _norms(setup, shape) + _attention(setup, shape) + _feedforward(setup, shape) + _tuner(setup, shape)
    return parts + _shared_inputs(setup, shape)


def _norms(setup: Setup, shape: Shape) -> float:
    """Norms keep their float32 input and its scale; trained ones the normalised values as well."""
    family, h = shape.family, shape.hidden
    count = family.norms
    total = count * (4.0 * h + 4)
    heads = (shape.q + shape.kv) if family.head_norms else 0
    total += 4 * heads + (4 * (shape.heads + shape.kv_heads) if family.head_norms else 0)
    if setup.trains_weights:
        value = 4 if family.scaled_norms or setup.dtype == "float32" else 2
        total += value * (count * h + heads)
    return total


def _value(setup: Setup) -> int:
    """Bytes of a value inside a layer: 16 bits unless everything is float32."""
    return 4 if setup.dtype == "float32" and not setup.autocast else 2


def _attention(setup: Setup, shape: Shape) -> float:
    """Queries, keys, values, output and log-sum-exp; a padded batch repeats keys and values and keeps a mask.

    Eager attention keeps the scores instead, in float32 and 16 bits, and its output only where the matrix after it
    needs it.
    """
    q, kv, heads, value = shape.q, shape.kv, shape.heads, _value(setup)
    rows = setup.length + setup.virtual_tokens
    needs_output = setup.trains_weights or "o_proj" in _shared_targets(setup, shape)
    total = value * (2.0 * q + 2 * kv) + 4 * heads
    if shape.family.fused:  # the values are a view, which keeps the product; the output is laid out otherwise
        total += value * (q + kv + (q if needs_output else 0))
    if (setup.padded or setup.tuner in ("prefix_tuning", "p_tuning_v2")) and setup.attention == "sdpa":
        total += 2 * value * (q - kv) + value * rows
    if setup.attention == "eager":
        total += 2 * value * (q - kv) - 4 * heads + (4 + value) * heads * rows
        total -= 0 if needs_output else value * q
    if setup.trains_weights:
        total += _inputs(setup, shape, copies=3)
    return total


def _inputs(setup: Setup, shape: Shape, copies: int) -> float:
    """The common input of several trained matrices: one, but as many 16-bit copies as float32 is cast to."""
    if setup.dtype != "float32":
        return 2.0 * shape.hidden
    return 2.0 * copies * shape.hidden if setup.autocast else 4.0 * shape.hidden


def _feedforward(setup: Setup, shape: Shape) -> float:
    """Gate before and after its activation, and up; trained ones the inputs of their matrices."""
    i, value = shape.intermediate, 4 if _widened(setup) else _value(setup)
    if shape.experts:
        return _experts(setup, shape)
    total = 3.0 * value * i
    if setup.trains_weights:
        total += value * i + _inputs(setup, shape, copies=2)
    return total


def _experts(setup: Setup, shape: Shape) -> float:
    """As many feed-forwards as experts a token is sent to, each with its own copy of the input (grouped_mm)."""
    h, i, k, n = shape.hidden, shape.intermediate, shape.experts_per_token, shape.experts
    total = k * (6.0 * i + 2 * h) + 4 * n + 24 * k
    if setup.trains_weights or adapts_experts(setup, shape):
        total += k * (2 * i + 2 * h) + 2 * h
    return total


def _tuner(setup: Setup, shape: Shape) -> float:
    """What the adapter's modules keep of their inputs and outputs."""
    if setup.trains_weights or setup.tuner in PROMPT_TUNERS:
        return 0.0
    if setup.tuner == "ia3":
        return _ia3(setup, shape)
    if setup.tuner == "shira":
        return 0.0  # but for its inputs, which are shared
    if setup.tuner == "bottleneck":  # what goes in, and the narrow values before and after the activation
        value = 2 if setup.autocast else setup.adapter_bytes
        size = int(setup.options.get("bottleneck_size", 64))
        return bottleneck_places(setup) * value * (1.0 * shape.hidden + 2 * size)
    return _low_rank(setup, shape)


def _ia3(setup: Setup, shape: Shape) -> float:
    outer, inner = ia3_modules(setup, shape)
    return sum(2.0 * outputs for _, _, outputs in outer) + sum(4.0 * inputs for _, inputs, _ in inner)


def _casts_own_input(setup: Setup) -> bool:
    """Whether every adapter casts its input for itself: float32 ones under autocast, or beside 16-bit weights."""
    wide = setup.adapter_bytes == 4 and (setup.autocast or setup.dtype != "float32")
    return wide and (setup.quantization == "none" or setup.float32_rest)


def _shared_targets(setup: Setup, shape: Shape) -> set[str]:
    """The modules that keep the very input that their neighbours keep: adapted ones, and all of bitsandbytes' int8."""
    if setup.quantization == "int8":
        return {name for name, _, _ in shape.linear}
    if setup.tuner not in ("lora", "adalora", "shira"):
        return set()
    if setup.tuner != "shira" and (_casts_own_input(setup) or setup.dropout):
        return set()
    return {name for name, _, _ in targets(setup, shape)}


def _shared_inputs(setup: Setup, shape: Shape) -> float:
    """Inputs that modules keep in common; that of the attention's last one is counted as the attention's output."""
    shared = {SHARES.get(name, name) for name in _shared_targets(setup, shape)}
    widths = {"attention": shape.hidden, "feedforward": shape.hidden, "down_proj": shape.intermediate}
    value = 4 if setup.adapter_bytes == 4 and not setup.autocast and setup.tuner != "shira" else 2
    return sum(1.0 * value * widths.get(one, 0) for one in shared)


def past_checkpoints(setup: Setup, shape: Shape) -> float:
    """Bytes a token that a layer keeps in spite of checkpointing: the inputs of int8 matrices, which bitsandbytes
    holds where use_reentrant=False does not see them (MatMul8bitLt's `ctx.tensors`)."""
    if setup.quantization != "int8":
        return 0.0
    names = {name for name, _, _ in shape.linear}
    return 2.0 * (2 * shape.hidden + shape.q + (shape.intermediate if "down_proj" in names else 0)) - (
        2.0 * shape.hidden if "down_proj" not in names else 0
    )


def product(setup: Setup, shape: Shape) -> float:
    """Bytes a token while int8's widest product is made: the input's codes, the sums in int32, in float16 and in 16
    bits; 0 without int8."""
    if setup.quantization != "int8":
        return 0.0
    return max(inputs + 8.0 * outputs for _, inputs, outputs in shape.linear)


def untouched(setup: Setup, shape: Shape) -> float:
    """Bytes a token that the first layer does not keep without checkpointing, because no gradient is wanted before
    its first adapter."""
    if setup.trains_weights or setup.tuner in PROMPT_TUNERS:
        return 0.0
    names = _adapted(setup, shape)
    norms = _norms(setup, shape) / 2
    before = norms
    if not names & {"q_proj", "k_proj", "v_proj", "qkv_proj"}:
        before += _attention(setup, shape)
        if "o_proj" not in names:
            before += norms
            if not names & {"gate_proj", "up_proj", "gate_up_proj"}:
                before += _feedforward(setup, shape)
    return before


def _adapted(setup: Setup, shape: Shape) -> set[str]:
    if setup.tuner == "ia3":
        return {"k_proj"}
    if setup.tuner == "bottleneck":
        return {"down_proj"} if bottleneck_places(setup) == 1 else {"o_proj", "down_proj"}
    return {name for name, _, _ in targets(setup, shape)}


def _low_rank(setup: Setup, shape: Shape) -> float:
    """LoRA: beside 16-bit weights a float32 adapter casts its input anew in every module, so q, k and v keep three
    copies. Beside quantized ones all share one. Dropout keeps a mask, and its product in place of the input.
    DoRA and AdaLoRA keep products as well."""
    r = int(setup.options.get("init_r", 12) if setup.tuner == "adalora" else setup.options.get("r", 8))
    value = 4 if setup.adapter_bytes == 4 and not setup.autocast else 2
    own = _casts_own_input(setup)
    total = 0.0
    for _, inputs, outputs in targets(setup, shape):
        total += value * r
        if own:
            total += value * inputs + (inputs if setup.dropout else 0)
        elif setup.dropout:
            total += (value + 1) * inputs
        if setup.options.get("use_dora"):
            total += 4.0 * outputs
        if setup.tuner == "adalora":
            total += 2.0 * outputs
    return total


SHARES = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention", "qkv_proj": "attention",
          "gate_proj": "feedforward", "up_proj": "feedforward", "gate_up_proj": "feedforward"}  # fmt: skip


def once(setup: Setup, shape: Shape) -> float:
    """Bytes that one layer keeps however many tokens there are: 16-bit copies of float32 weights and adapters
    under autocast, and whole experts where an adapter's product is added to them (PEFT's ParamWrapper)."""
    total = 0.0
    if setup.autocast and setup.dtype == "float32":
        total += 2.0 * shape.linear_weights
    if setup.autocast and setup.adapter_bytes == 4 and setup.tuner in ("lora", "adalora"):
        total += 2.0 * adapter_parameters(setup, shape) / shape.layers
    if adapts_experts(setup, shape):
        total += setup.weight_bytes * shape.expert_weights
    if setup.tuner == "shira":
        total += setup.weight_bytes * _dense(setup, shape) + 20.0 * adapter_parameters(setup, shape) / shape.layers
    return total


def _dense(setup: Setup, shape: Shape) -> int:
    """Weights of one layer's adapted matrices: SHiRA keeps a changed copy of each for the backward pass."""
    return sum(inputs * outputs for _, inputs, outputs in targets(setup, shape))


def dense_product(setup: Setup, shape: Shape) -> float:
    """Bytes in the forward pass while DoRA takes the norm of a whole matrix, or SHiRA adds to one in float32 (torch's
    add_out_dense_sparse_cuda): copies of the largest one."""
    if setup.tuner == "shira":
        copies = 8.0 if setup.adapter_bytes > setup.weight_bytes else 0.0
    elif setup.options.get("use_dora"):
        copies = 20.0
    else:
        return 0.0
    return copies * max(inputs * outputs for _, inputs, outputs in targets(setup, shape))


def transient(setup: Setup, shape: Shape, unpacked: float) -> float:
    """Bytes while one layer is back-propagated: gradients of activations. Read off the simulation.

    Two moments of the feed-forward compete: the product of gate and up has its gradient, while the matrix after it
    is `unpacked`; or gate, up and product have theirs, the product itself being gone. An adapter that casts its own
    input passes through float32 on its way back. With eager attention the scores' gradients come later, when the
    feed-forward's activations are gone.
    """
    h, i = shape.hidden, shape.intermediate * max(1, shape.experts_per_token)
    value = 4 if _widened(setup) else _value(setup)
    names = {name for name, _, _ in targets(setup, shape)} if setup.tuner in ("lora", "adalora", "shira") else set()
    kept = setup.trains_weights or "down_proj" in names or adapts_experts(setup, shape) or setup.quantization == "int8"
    product = value * i * setup.tokens + unpacked
    both = (2.0 if kept else 3.0) * value * i * setup.tokens
    around = 1.0 * value * h * setup.tokens
    if _casts_own_input(setup) and "down_proj" in names and setup.tuner != "shira":
        around, product = 10.0 * h * setup.tokens, 6.0 * i * setup.tokens
    if setup.dtype == "float32" and setup.autocast:
        around += 2.0 * h * setup.tokens
    if setup.tuner == "adalora":
        around += 8.0 * i * setup.tokens
    total = around + max(product, both)
    if setup.attention == "eager":
        rows = setup.length + setup.virtual_tokens
        scores = 5.0 * shape.heads * rows * setup.tokens - _feedforward(setup, shape) * setup.tokens
        total = max(total, around + scores)
    return total
