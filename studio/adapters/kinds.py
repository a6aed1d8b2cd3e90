"""The kinds of adapter that can be brought in: their tuner, what their file holds, which settings they need."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST = 1_000_000  # nothing that is counted in a configuration is more
ACTIVATIONS = ("gelu", "relu", "silu")  # of a bottleneck; PEFT's extension would call any function of that name

Check = Callable[[Any], bool]


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= MOST  # NaN is not


def is_flag(value: Any) -> bool:
    return type(value) is bool


def is_count_or_none(value: Any) -> bool:
    return value is None or is_count(value)


def one_of(*words: str) -> Check:
    return lambda value: value in words


def by_module(check: Check) -> Check:
    """Whether every value of a table from modules to values passes; the modules are checked for themselves."""
    return lambda table: table is None or (isinstance(table, dict) and all(check(value) for value in table.values()))


def is_mask(value: Any) -> bool:
    return isinstance(value, list) and all(is_flag(one) for one in value)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`parts`: endings of its tensors, by module; none for soft prompts, which have one tensor of their own.

    `fields`: what of adapter_config.json is taken over, with a check. What is not listed is dropped when it says
    nothing or cannot matter, and refused when it does.
    """

    tuner: str
    fields: dict[str, Check]
    parts: tuple[str, ...] = ()
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def soft_prompt(self) -> bool:
        return not self.parts


LORA_PARTS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
LORA_FIELDS: dict[str, Check] = {
    "r": is_count,
    "lora_alpha": is_number,
    "lora_dropout": is_number,
    "fan_in_fan_out": is_flag,
    "use_rslora": is_flag,
    "use_dora": is_flag,
    "rank_pattern": by_module(is_count),
    "alpha_pattern": by_module(is_number),
}
PROMPT_FIELDS: dict[str, Check] = {
    "num_virtual_tokens": is_count,
    "token_dim": is_count,
    "num_transformer_submodules": is_count_or_none,
    "num_attention_heads": is_count_or_none,
    "num_layers": is_count_or_none,
}
# Values with which nothing is done at loading but to take the weights of the file.
AS_SAVED = {"init_lora_weights": True}

KINDS: dict[str, Kind] = {
    "LORA": Kind(tuner="lora", parts=LORA_PARTS, fields=LORA_FIELDS, fixed=AS_SAVED),
    "ADALORA": Kind(
        tuner="adalora",
        parts=("lora_A", "lora_B", "lora_E"),
        fields={
            **LORA_FIELDS,
            "rank_pattern": by_module(is_mask),
            **dict.fromkeys(("init_r", "target_r", "tinit", "tfinal", "deltaT"), is_count),
            **dict.fromkeys(("beta1", "beta2", "orth_reg_weight"), is_number),
            "total_step": is_count_or_none,
        },
        fixed=AS_SAVED,
    ),
    "IA3": Kind(tuner="ia3", parts=("ia3_l",), fields={"fan_in_fan_out": is_flag}, fixed={"init_ia3_weights": True}),
    "SHIRA": Kind(
        tuner="shira",
        parts=("shira_weight", "shira_indices"),
        fields={"r": is_count, "fan_in_fan_out": is_flag},
        fixed={"mask_type": "random", "init_weights": True},  # the mask itself is in the file
    ),
    "BOTTLENECK": Kind(
        tuner="bottleneck",
        parts=("bottleneck_down", "bottleneck_up"),
        fields={"bottleneck_size": is_count, "activation": one_of(*ACTIVATIONS)},
    ),
    "PROMPT_TUNING": Kind(tuner="prompt_tuning", fields=PROMPT_FIELDS, fixed={"prompt_tuning_init": "RANDOM"}),
    "P_TUNING": Kind(
        tuner="p_tuning",
        fields={
            **PROMPT_FIELDS,
            "encoder_reparameterization_type": one_of("MLP", "LSTM"),
            "encoder_hidden_size": is_count_or_none,
            "encoder_num_layers": is_count,
            "encoder_dropout": is_number,
        },
    ),
    "PREFIX_TUNING": Kind(
        tuner="prefix_tuning",
        fields={**PROMPT_FIELDS, "prefix_projection": is_flag, "encoder_hidden_size": is_count_or_none},
    ),
}

# Never taken over: they name code, files or other hosts, or say how training began or where. The rest is as saved.
DROPPED = (
    "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode", "task_type", "peft_type",
    "target_modules", "feedforward_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "modules_to_save", "megatron_core", "qalora_group_size", "ensure_weight_tying", "runtime_config", "loftq_config",
    "eva_config", "tokenizer_name_or_path", "tokenizer_kwargs", "prompt_tuning_init", "prompt_tuning_init_text",
    "random_seed", "init_weights", "mask_type", "init_lora_weights", "init_ia3_weights", "bias",
)  # fmt: skip
