"""Which modules of an architecture are meant by "attention" or "feed-forward"; from config.json, without torch."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from studio.errors import UserError

Where = Literal["all-linear", "attention", "q_v"]
WHERE_FIELD: Any = Field(
    default="all-linear",
    title="Where",
    description="all-linear: every linear layer except the output head. attention: q, k, v and the output "
    "projection. q_v: only q and v, as in LoRA's first paper (where q, k, v are one matrix: that one).",
)


@dataclass(frozen=True)
class Names:
    """The linear layers of one decoder layer, by the endings of their names; one name more than once when fused."""

    query: str
    key: str
    value: str
    output: str
    feedforward: tuple[str, ...]
    feedforward_out: str


LLAMA = Names("q_proj", "k_proj", "v_proj", "o_proj", ("gate_proj", "up_proj"), "down_proj")
PHI3 = Names("qkv_proj", "qkv_proj", "qkv_proj", "o_proj", ("gate_up_proj",), "down_proj")
GLM4 = Names("q_proj", "k_proj", "v_proj", "o_proj", ("gate_up_proj",), "down_proj")
PHI = Names("q_proj", "k_proj", "v_proj", "self_attn.dense", ("fc1",), "fc2")
OPT = Names("q_proj", "k_proj", "v_proj", "out_proj", ("fc1",), "fc2")
GPT2 = Names("attn.c_attn", "attn.c_attn", "attn.c_attn", "attn.c_proj", ("mlp.c_fc",), "mlp.c_proj")
GPT_NEOX = Names(
    "query_key_value", "query_key_value", "query_key_value", "attention.dense", ("dense_h_to_4h",), "dense_4h_to_h"
)
FALCON = Names(
    "query_key_value", "query_key_value", "query_key_value", "self_attention.dense", ("dense_h_to_4h",), "dense_4h_to_h"
)
STARCODER2 = Names("q_proj", "k_proj", "v_proj", "o_proj", ("mlp.c_fc",), "mlp.c_proj")

ARCHITECTURES: dict[str, Names] = {
    **dict.fromkeys(
        (
            "llama", "mistral", "ministral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "granite",
            "olmo", "olmo2", "stablelm", "cohere", "cohere2",
        ),
        LLAMA,
    ),
    "phi3": PHI3,
    "glm4": GLM4,
    "phi": PHI,
    "opt": OPT,
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    **dict.fromkeys(("falcon", "bloom"), FALCON),
    "starcoder2": STARCODER2,
}  # fmt: skip


def names_of(config: dict[str, Any]) -> Names:
    """The names of a model's linear layers. Raises UserError when its architecture is not known."""
    kind = str(config.get("model_type", ""))
    if kind not in ARCHITECTURES:
        raise UserError(
            f"Which layers of the architecture {kind!r} are attention is not known here.",
            "Choose LoRA with all-linear, which finds the layers by itself.",
        )
    return ARCHITECTURES[kind]


def modules(config: dict[str, Any], where: Where) -> str | list[str]:
    """PEFT's `target_modules`. Raises UserError when they would have to be named and are not known."""
    if where == "all-linear":
        return "all-linear"
    names = names_of(config)
    chosen = (names.query, names.value) if where == "q_v" else (names.query, names.key, names.value, names.output)
    return sorted(set(chosen))


def check_where(options: Any, config: dict[str, Any]) -> None:
    """The check of tuners with an option `target_modules`."""
    modules(config, options.target_modules)
