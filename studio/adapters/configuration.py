"""adapter_config.json from outside → what PEFT may be told: known settings alone, and no name of code or of a file."""

import json
import re
from dataclasses import dataclass
from typing import Any

from studio.adapters.kinds import DROPPED, KINDS, Kind
from studio.errors import UserError

LARGEST = 4 * 1024**2  # bytes
HARMLESS_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")  # the others change the base's weights
MODULE = re.compile(r"[\w.]{1,300}")
NOTHING: tuple[Any, ...] = (None, False, {}, [], "")


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the file said: `settings` checked and taken over; `says_base` its base model; `feedforward` (IA³) and
    `saved` (whole layers) as endings of module names; `left_out` what was dropped although it said something."""

    peft_type: str
    settings: dict[str, Any]
    says_base: str
    feedforward: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return KINDS[self.peft_type]


def read_configuration(text: bytes, *, any_task: bool = False) -> Stated:
    """Check adapter_config.json. Raises UserError naming the setting that cannot be used here.

    `any_task`: also one that does not write, such as a reward model.
    """
    config = _parsed(text)
    peft_type = config.get("peft_type")
    if not isinstance(peft_type, str) or peft_type not in KINDS:
        raise UserError(
            f"The adapter is of the kind {str(peft_type)[:40]!r}, which cannot be used here.",
            f"Known are {', '.join(KINDS)}.",
        )
    if not any_task and config.get("task_type") not in (None, "CAUSAL_LM"):
        raise UserError(
            f"The adapter is made for the task {str(config['task_type'])[:40]!r}; only CAUSAL_LM can be talked to.",
            "Choose an adapter that writes text.",
        )
    _check_base_stays(config)
    kind = KINDS[peft_type]
    settings = {name: value for name, value in config.items() if name in kind.fields}
    for name, value in settings.items():
        _check_value(name, value, kind)
    unknown = {name: value for name, value in config.items() if name not in kind.fields and name not in DROPPED}
    for name, value in unknown.items():
        if not any(value is nothing or value == nothing for nothing in NOTHING):
            raise UserError(
                f"adapter_config.json sets {name[:60]!r}, which is not supported here.",
                "Train the adapter without it, or choose another.",
            )
    return Stated(
        peft_type=peft_type,
        settings=settings,
        says_base=str(config.get("base_model_name_or_path") or "")[:400],
        feedforward=_endings(config, "feedforward_modules"),
        saved=_endings(config, "modules_to_save"),
        left_out=tuple(name for name in ("auto_mapping", "revision", "tokenizer_kwargs") if config.get(name)),
    )


def written(stated: Stated, base_model: str, modules: list[str]) -> dict[str, Any]:
    """The adapter_config.json that is kept: `modules` are those that the tensors are for."""
    values = {
        **stated.settings,
        **stated.kind.fixed,
        "peft_type": stated.peft_type,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "inference_mode": True,
    }
    if stated.kind.soft_prompt:
        return values
    values |= {"target_modules": modules, "modules_to_save": list(stated.saved) or None}
    if stated.peft_type == "IA3":
        values["feedforward_modules"] = [name for name in modules if _ends(name, stated.feedforward)]
    return values


def is_saved(module: str, stated: Stated) -> bool:
    """Whether a module was saved whole rather than changed by the adapter."""
    return _ends(module, stated.saved)


def is_feedforward(module: str, stated: Stated) -> bool:
    """Whether (IA)³ scales this module's inputs rather than its outputs."""
    return _ends(module, stated.feedforward)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        config = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise UserError("adapter_config.json is not valid JSON.", "Copy or download it again.") from None
    if not isinstance(config, dict):
        raise UserError("adapter_config.json is not an object.", "Copy or download it again.")
    return config


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _check_base_stays(config: dict[str, Any]) -> None:
    """An adapter that only fits a base which was changed for it, or changes it, would be wrong or spoil the others."""
    beginning = config.get("init_lora_weights")
    if config.get("loftq_config") or not any(beginning is allowed or beginning == allowed for allowed in
                                             HARMLESS_BEGINNINGS):  # fmt: skip
        raise UserError(
            f"The adapter begins with {str(beginning)[:40]!r}, which changes the base model's own weights.",
            "Save it converted to plain LoRA (PEFT: path_initial_model_for_weight_conversion), then bring it in.",
        )
    if config.get("bias", "none") != "none":
        raise UserError(
            "The adapter also trained biases of the base model, which all adapters share here.",
            "Train it with bias=none, or choose another.",
        )


def _check_value(name: str, value: Any, kind: Kind) -> None:
    good = kind.fields[name](value)
    if good and name in ("rank_pattern", "alpha_pattern") and value:
        good = all(MODULE.fullmatch(module) for module in value)  # PEFT takes them for regular expressions
    if not good:
        raise UserError(f"adapter_config.json sets {name} to {str(value)[:60]!r}, which cannot be.", "Check the file.")


def _endings(config: dict[str, Any], name: str) -> tuple[str, ...]:
    value = config.get(name) or []
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and MODULE.fullmatch(word) for word in words):
        raise UserError(f"adapter_config.json sets {name} to something else than names of layers.", "Check the file.")
    return tuple(words)


def _ends(module: str, endings: tuple[str, ...]) -> bool:
    return any(module == ending or module.endswith(f".{ending}") for ending in endings)
