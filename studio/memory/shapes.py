"""config.json → the shapes of a decoder-only model: widths, layers, weights by kind; without torch."""

from dataclasses import dataclass
from typing import Any

from studio.errors import UserError

Config = dict[str, Any]
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj")
FEEDFORWARD = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")


class UnknownArchitecture(UserError):
    """The formulas do not know this architecture; the simulation may."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How an architecture differs from Llama. `norms`: vectors of the hidden width in a layer."""

    norms: int = 2
    head_norms: bool = False  # queries and keys are normalised, one vector of a head's width each
    scaled_norms: bool = False  # Gemma's: multiplied in float32, so that training keeps float32 products
    scaled_embeddings: bool = False  # Gemma multiplies the embeddings, which keeps nothing but costs a copy
    softcaps_logits: bool = False
    fused: bool = False  # Phi-3: q, k, v in one matrix, gate and up in another
    bias_qkv: bool = False
    tied: bool = False
    head_dim: int = 0  # what transformers takes when config.json says nothing; 0: hidden / heads


FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(),
    "smollm3": Family(tied=True),
    "qwen2": Family(bias_qkv=True),
    "qwen3": Family(head_norms=True, head_dim=128),
    "qwen3_moe": Family(head_norms=True),
    "mixtral": Family(),
    "gemma": Family(scaled_norms=True, scaled_embeddings=True, tied=True, head_dim=256),
    "gemma2": Family(norms=4, scaled_norms=True, scaled_embeddings=True, softcaps_logits=True, tied=True, head_dim=256),
    "gemma3_text": Family(norms=4, head_norms=True, scaled_norms=True, scaled_embeddings=True, tied=True, head_dim=256),
    "phi3": Family(fused=True),
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model as the formulas see it. Widths in values; `q` and `kv` are the widths of all heads together.

    `linear`: (name, inputs, outputs) of one layer's linear modules, the experts' weights not among them.
    `scores`: a reward model, with a score of each token in place of the language head.
    """

    model_type: str
    family: Family
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    biases: int
    experts: int = 0
    experts_per_token: int = 0
    max_length: int = 0
    scores: bool = False

    @property
    def q(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> tuple[tuple[str, int, int], ...]:
        h, i, q, kv = self.hidden, self.intermediate, self.q, self.kv
        if self.family.fused:
            attention: tuple[tuple[str, int, int], ...] = (("qkv_proj", h, q + 2 * kv), ("o_proj", q, h))
            feedforward: tuple[tuple[str, int, int], ...] = (("gate_up_proj", h, 2 * i), ("down_proj", i, h))
        else:
            attention = (("q_proj", h, q), ("k_proj", h, kv), ("v_proj", h, kv), ("o_proj", q, h))
            feedforward = (("gate_proj", h, i), ("up_proj", h, i), ("down_proj", i, h))
        return attention if self.experts else attention + feedforward

    @property
    def linear_weights(self) -> int:
        """Weights of one layer's linear modules: what NF4 and int8 make smaller."""
        return sum(inputs * outputs for _, inputs, outputs in self.linear)

    @property
    def expert_weights(self) -> int:
        """Weights of one layer's experts and their router, which stay as they are under bitsandbytes."""
        return self.experts * (3 * self.hidden * self.intermediate + self.hidden)

    @property
    def layer_small(self) -> int:
        """Weights of one layer's norms and biases."""
        return self.family.norms * self.hidden + (2 * self.head_dim if self.family.head_norms else 0) + self.biases

    @property
    def layer_weights(self) -> int:
        return self.linear_weights + self.expert_weights + self.layer_small

    @property
    def embedding_weights(self) -> int:
        return self.vocab * self.hidden

    @property
    def tables(self) -> int:
        """How many tables of vocabulary × hidden there are: one where the head shares the embeddings."""
        return 1 if self.tied or self.scores else 2

    @property
    def parameters(self) -> int:
        """All weights, tied ones once."""
        score = self.hidden if self.scores else 0
        return self.layers * self.layer_weights + self.hidden + score + self.tables * self.embedding_weights


def read_shape(config: Config) -> Shape:
    """The shape that config.json tells. Raises UnknownArchitecture, or UserError when it lacks a number."""
    text = config.get("text_config") if config.get("model_type") == "gemma3" else config
    if not isinstance(text, dict):
        raise UserError("The config.json has no text_config.", "Give the config.json of a language model.")
    kind = "gemma3_text" if config.get("model_type") == "gemma3" else str(text.get("model_type", ""))
    if kind not in FAMILIES:
        raise UnknownArchitecture(
            f"The formulas do not know the architecture {kind or 'without a name'!r}.",
            "Simulate it: that runs the real model class without its weights.",
        )
    try:
        return _shape(text, kind, FAMILIES[kind])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"The config.json lacks a number that is needed: {error}.", "Give the model's own.") from None


def _count(config: Config, name: str) -> int:
    """A number of the config that is at least 1. Raises KeyError, TypeError or ValueError."""
    value = int(config[name])
    if value < 1:
        raise ValueError(f"{name} is {value}")
    return value


def _shape(config: Config, kind: str, family: Family) -> Shape:
    hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
    kv_heads = _count(config, "num_key_value_heads") if config.get("num_key_value_heads") else heads
    head_dim = _count(config, "head_dim") if config.get("head_dim") else family.head_dim or max(1, hidden // heads)
    experts = int(config.get("num_local_experts") or config.get("num_experts") or 0)
    inner = _count(config, "moe_intermediate_size" if experts and kind == "qwen3_moe" else "intermediate_size")
    q, kv, biases = heads * head_dim, kv_heads * head_dim, 0
    if family.bias_qkv or config.get("attention_bias"):
        biases += q + 2 * kv + (0 if family.bias_qkv else hidden)
    if config.get("mlp_bias"):
        biases += 2 * inner + hidden
    return Shape(
        model_type=kind,
        family=family,
        layers=_count(config, "num_hidden_layers"),
        hidden=hidden,
        intermediate=inner,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=_count(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", family.tied)),
        biases=biases,
        experts=experts,
        experts_per_token=int(config.get("num_experts_per_tok") or 0),
        max_length=int(config.get("max_position_embeddings") or 0),
    )
