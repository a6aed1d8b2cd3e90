"""How many weights a model has and a tuner trains, from config.json alone: PEFT's own counts, without torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

Config = dict[str, Any]
Linear = tuple[str, int, int]  # name, inputs, outputs


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder-only model: `linear` are the linear layers of one decoder layer, `norms` its other weights."""

    layers: int
    hidden: int
    vocab: int
    kv_dim: int  # key heads × head width
    linear: tuple[Linear, ...]
    biases: int  # weights of the biases of one decoder layer
    norms: int
    final_norm: int
    positions: int  # learned position embeddings, all of them
    tied: bool
    head_bias: int

    @property
    def layer(self) -> int:
        """Weights of one decoder layer."""
        return sum(inputs * outputs for _, inputs, outputs in self.linear) + self.biases + self.norms

    @property
    def embeddings(self) -> int:
        return self.vocab * self.hidden

    @property
    def total(self) -> int:
        """Weights of the model, tied ones once."""
        head = self.head_bias + (0 if self.tied else self.embeddings)
        return self.embeddings + self.positions + self.layers * self.layer + self.final_norm + head


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """How an architecture of the Llama family differs; `norms` in vectors of hidden size a layer."""

    norms: int = 2
    head_norms: bool = False  # a norm on queries and keys, of one head's width
    wide_norms: bool = False  # the same over all heads
    head_dim: int | None = None  # what the library takes when config.json says nothing
    tied: bool = False
    bias_qkv: bool = False


LLAMA_LIKE: dict[str, _Kind] = {
    "llama": _Kind(),
    "mistral": _Kind(),
    "qwen2": _Kind(bias_qkv=True),
    "qwen3": _Kind(head_norms=True, head_dim=128),
    "gemma": _Kind(tied=True, head_dim=256),
    "gemma2": _Kind(norms=4, tied=True, head_dim=256),
    "gemma3_text": _Kind(norms=4, head_norms=True, tied=True, head_dim=256),
    "smollm3": _Kind(tied=True),
    "granite": _Kind(),
    "olmo2": _Kind(wide_norms=True),
}

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
GPT2_SIZES = ("n_embd", "n_layer", "n_positions", "vocab_size")


def shape_of(config: Config) -> Shape | None:
    """The shape of a model by its config.json; None for an architecture that is not known here.

    None as well when the file leaves a size to the library's default, as that of a gpt2 or Gemma 3 may.
    """
    kind = str(config.get("model_type", ""))
    sizes = GPT2_SIZES if kind == "gpt2" else SIZES
    if any(not isinstance(config.get(size), int) for size in sizes):
        return None
    if kind in LLAMA_LIKE:
        return _llama_like(config, LLAMA_LIKE[kind])
    makers = {"phi3": _phi3, "gpt2": _gpt2}
    return makers[kind](config) if kind in makers else None


def parameters(config: Config) -> int | None:
    """Weights of the base model, tied ones once; None when the architecture is not known."""
    shape = shape_of(config)
    return shape.total if shape else None


def linear_shapes(config: Config) -> tuple[Linear, ...] | None:
    """(name, inputs, outputs) of the linear layers of one decoder layer; None when not known."""
    shape = shape_of(config)
    return shape.linear if shape else None


def trainable_parameters(options: Any, config: Config, *, scores: bool = False) -> int | None:
    """Weights that a tuner with these options trains on a model; None when architecture or tuner are not known here.

    Equal to PEFT's `get_nb_trainable_parameters()`. `scores`: a reward model, whose head gives one number, learns
    with every tuner and takes the place of the language head.
    """
    shape, count = shape_of(config), COUNTS.get(options.name)
    if shape is None or count is None:
        return None
    if not scores:
        return count(options, shape)
    headless = replace(shape, tied=True, head_bias=0)
    if options.name == "partial":
        options = options.model_copy(update={"train_head": False})
    return count(options, headless) + shape.hidden


def _llama_like(config: Config, kind: _Kind) -> Shape:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    keys = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or kind.head_dim or hidden // heads
    inner = config["intermediate_size"]
    linear = (
        ("q_proj", hidden, heads * width),
        ("k_proj", hidden, keys * width),
        ("v_proj", hidden, keys * width),
        ("o_proj", heads * width, hidden),
        ("gate_proj", hidden, inner),
        ("up_proj", hidden, inner),
        ("down_proj", inner, hidden),
    )
    biases = 0
    if kind.bias_qkv or config.get("attention_bias"):
        biases += (heads + 2 * keys) * width
    if config.get("attention_bias") and not kind.bias_qkv:
        biases += hidden
    if config.get("mlp_bias"):
        biases += 2 * inner + hidden
    inside = 2 * width if kind.head_norms else (heads + keys) * width if kind.wide_norms else 0
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        vocab=config["vocab_size"],
        kv_dim=keys * width,
        linear=linear,
        biases=biases,
        norms=kind.norms * hidden + inside,
        final_norm=hidden,
        positions=0,
        tied=config.get("tie_word_embeddings", kind.tied),
        head_bias=0,
    )


def _phi3(config: Config) -> Shape:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    keys = config.get("num_key_value_heads") or heads
    width, inner = config.get("head_dim") or hidden // heads, config["intermediate_size"]
    linear = (
        ("qkv_proj", hidden, (heads + 2 * keys) * width),
        ("o_proj", heads * width, hidden),
        ("gate_up_proj", hidden, 2 * inner),
        ("down_proj", inner, hidden),
    )
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        vocab=config["vocab_size"],
        kv_dim=keys * width,
        linear=linear,
        biases=0,
        norms=2 * hidden,
        final_norm=hidden,
        positions=0,
        tied=config.get("tie_word_embeddings", False),
        head_bias=0,
    )


def _gpt2(config: Config) -> Shape:
    hidden = config["n_embd"]
    inner = config.get("n_inner") or 4 * hidden
    linear = (
        ("attn.c_attn", hidden, 3 * hidden),
        ("attn.c_proj", hidden, hidden),
        ("mlp.c_fc", hidden, inner),
        ("mlp.c_proj", inner, hidden),
    )
    return Shape(
        layers=config["n_layer"],
        hidden=hidden,
        vocab=config["vocab_size"],
        kv_dim=hidden,
        linear=linear,
        biases=3 * hidden + hidden + inner + hidden,
        norms=4 * hidden,
        final_norm=2 * hidden,
        positions=config["n_positions"] * hidden,
        tied=config.get("tie_word_embeddings", True),
        head_bias=0,
    )


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "attn.c_attn", "attn.c_proj")
Q_V = ("q_proj", "v_proj", "qkv_proj", "attn.c_attn")
KEYS_VALUES = ("k_proj", "v_proj", "qkv_proj", "attn.c_attn")
OUT = ("o_proj", "attn.c_proj")
FEEDFORWARD_OUT = ("down_proj", "mlp.c_proj")
CHOSEN = {"attention": ATTENTION, "q_v": Q_V}


def _sum(shape: Shape, names: tuple[str, ...] | None, count: Callable[[int, int], int]) -> int:
    """`count(inputs, outputs)` over the named linear layers (None: all) of every decoder layer."""
    return shape.layers * sum(
        count(inputs, outputs) for name, inputs, outputs in shape.linear if names is None or name in names
    )


def _full(options: Any, shape: Shape) -> int:
    return shape.total


def _partial(options: Any, shape: Shape) -> int:
    count = min(options.trained_layers, shape.layers) * shape.layer
    count += shape.final_norm if options.train_norm else 0
    tables = (options.train_embeddings or (options.train_head and shape.tied)) + (options.train_head and not shape.tied)
    return int(count + tables * shape.embeddings + (shape.head_bias if options.train_head else 0))


def _lora(options: Any, shape: Shape) -> int:
    direction = 1 if options.use_dora else 0
    return _sum(
        shape,
        CHOSEN.get(options.target_modules),
        lambda inputs, outputs: options.r * (inputs + outputs) + direction * outputs,
    )


def _adalora(options: Any, shape: Shape) -> int:
    return _sum(
        shape, CHOSEN.get(options.target_modules), lambda inputs, outputs: options.init_r * (inputs + outputs + 1)
    )


def _ia3(options: Any, shape: Shape) -> int:
    vectors = _sum(shape, KEYS_VALUES, lambda inputs, outputs: outputs)
    if options.feedforward_modules == "with":
        vectors += _sum(shape, FEEDFORWARD_OUT, lambda inputs, outputs: inputs)
    return vectors


def _bottleneck(options: Any, shape: Shape) -> int:
    names = FEEDFORWARD_OUT if options.placement == "pfeiffer" else FEEDFORWARD_OUT + OUT
    size = options.bottleneck_size
    return _sum(shape, names, lambda inputs, outputs: 2 * size * outputs + size + outputs)


def _shira(options: Any, shape: Shape) -> int:
    return _sum(shape, CHOSEN.get(options.target_modules), lambda inputs, outputs: options.r * (inputs + outputs))


def _prompt_tuning(options: Any, shape: Shape) -> int:
    return int(options.num_virtual_tokens * shape.hidden)


def _p_tuning(options: Any, shape: Shape) -> int:
    width, hidden = options.encoder_hidden_size, shape.hidden
    vectors = options.num_virtual_tokens * hidden
    if options.encoder_reparameterization_type == "MLP":
        return int(vectors + _dense(hidden, width) + _dense(width, width) + _dense(width, hidden))
    first = 2 * 4 * width * (hidden + width + 2)  # both directions, four gates, two biases each
    second = 2 * 4 * width * (2 * width + width + 2)
    return int(vectors + first + second + _dense(2 * width, 2 * width) + _dense(2 * width, hidden))


def _prefix(options: Any, shape: Shape) -> int:
    prefix = 2 * shape.layers * shape.kv_dim
    if not options.prefix_projection:
        return int(options.num_virtual_tokens * prefix)
    width = options.encoder_hidden_size
    return int(options.num_virtual_tokens * shape.kv_dim + _dense(shape.kv_dim, width) + _dense(width, prefix))


def _dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


COUNTS: dict[str, Callable[[Any, Shape], int]] = {
    "full": _full,
    "partial": _partial,
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
