"""Rules of thumb → a recommendation for this data set, model and card, each value with its reason. Pure arithmetic."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from studio.data.examples import DatasetType
from studio.errors import UserError
from studio.methods.objectives import OBJECTIVES

Task = Literal["chat", "style", "classification", "code", "domain", "alignment"]
RANKS: dict[Task, int] = {"chat": 8, "style": 8, "classification": 4, "code": 16, "domain": 16, "alignment": 8}
PAIRED: tuple[DatasetType, ...] = ("preference", "unpaired_preference")
FEW_FOR_LORA, MANY_FOR_FULL = 10_000, 100_000  # rows
LARGE, HUGE = 13e9, 70e9  # parameters
# Bytes a weight, as rules of thumb for models that the memory room does not know, and without a card: full in
# float32 with AdamW; frozen in bfloat16, in float32 (a CPU), in 4 bits; each but the first with a quarter for adapter
# and activations.
FULL, FROZEN, FROZEN_CPU, FROZEN_NF4 = 16, 2.5, 5, 0.75
SPARE = 1.5e9  # bytes that a card's driver, the activations of a small batch and the logits take
LENGTH_STEP, LONGEST, LONGEST_CPU = 64, 4096, 1024  # tokens
TASKS: tuple[Task, ...] = tuple(RANKS)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the advice is made of. `parameters` and `max_position_embeddings` are 0 when not known, `tokens` holds
    quantiles of the examples' lengths (p50, p95, max), empty when not measured; `memory_bytes` is the card's, or
    the main memory where there is no card; `estimated` is what the memory room says that full fine-tuning, LoRA and
    QLoRA take on a card ({full, lora, nf4}: bytes), empty where it does not know the model."""

    rows: int
    dataset_type: DatasetType
    task: Task = "chat"
    hurry: bool = False
    tokens: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    max_position_embeddings: int = 0
    has_chat_template: bool = True
    has_card: bool = False
    memory_bytes: int = 16 * 10**9
    estimated: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One value: `key` is the option's (`tuner.r`; empty for a hint without one), `rule` its entry in advice.yaml."""

    key: str
    value: Any
    rule: str
    figures: dict[str, Any] = field(default_factory=dict)

    def explain(self, language: str) -> dict[str, str]:
        """{reason, note, section} in "en" or "zh"; `note` is empty where the document needs no correction."""
        rule = rules()[self.rule]
        note = rule.get("note", {}).get(language, "")
        return {"reason": rule["reason"][language].format(**self.figures), "note": note, "section": rule["section"]}


@dataclass(frozen=True)
class Recommendation:
    """Choices in the order in which they are best read."""

    choices: tuple[Choice, ...]

    def values(self) -> dict[str, Any]:
        """Spec values, objective and tuner included; the rest keeps the spec's defaults."""
        values: dict[str, Any] = {}
        for choice in self.choices:
            group, _, name = choice.key.rpartition(".")
            if name:
                (values.setdefault(group, {}) if group else values)[name] = choice.value
        return values


@cache
def rules() -> dict[str, dict[str, Any]]:
    """The rules by name: section, reason and note in both languages."""
    read: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return read


def advise(facts: Facts) -> Recommendation:
    """What to train how. Raises UserError when no objective learns from such rows, or there are none."""
    if facts.rows < 1:
        raise UserError("The data set has no rows.", "Choose another one.")
    objective = _objective(facts)
    tuner = _tuner(facts)
    choices = [objective, tuner]
    if tuner.value == "lora":
        choices += _lora(facts)
    choices += [_quantization(facts, tuner.value), _learning_rate(facts, tuner.value)]
    epochs = _epochs(facts)
    batch, share = _batch(facts), _eval_share(facts)
    choices += [epochs, *batch, _max_length(facts), _chat_template(facts), share]
    choices += _optimizer(facts, choices)
    learned = round(facts.rows * (1 - share.value))
    choices += _reports(learned, epochs.value, batch[0].value * batch[1].value)
    return Recommendation((*choices, *_hints(facts)))


def gigabytes(facts: Facts) -> dict[str, float]:
    """{full, lora, nf4, have}: what training takes and what there is, in GiB, to one digit."""
    frozen = FROZEN if facts.has_card else FROZEN_CPU
    needed = {"full": FULL, "lora": frozen, "nf4": FROZEN_NF4}
    amounts = facts.estimated or {name: facts.parameters * each + SPARE for name, each in needed.items()}
    return {name: round(amount / 2**30, 1) for name, amount in (amounts | {"have": facts.memory_bytes}).items()}


def _objective(facts: Facts) -> Choice:
    wanted, rule = {
        "preference": ("dpo", "objective_dpo"),
        "unpaired_preference": ("kto", "objective_kto"),
    }.get(facts.dataset_type, ("sft", "objective_sft_first" if facts.task == "alignment" else "objective_sft"))
    if wanted == "dpo" and not facts.has_chat_template and "orpo" in OBJECTIVES:
        wanted, rule = "orpo", "objective_orpo"
    if wanted not in OBJECTIVES:
        raise UserError("No objective here learns from such rows.", "Choose another data set.")
    return Choice(key="objective.name", value=wanted, rule=rule)


def _tuner(facts: Facts) -> Choice:
    needed = gigabytes(facts)
    figures = {**_rows(facts), **needed}
    if facts.dataset_type in PAIRED:
        name = "pairs"
    elif facts.rows <= MANY_FOR_FULL:
        name = "small" if facts.rows < FEW_FOR_LORA else "middle"
    elif not facts.parameters:
        name = "unknown"
    else:
        name = "tight" if needed["full"] > needed["have"] else "full"
    if name == "full":
        return Choice(key="tuner.name", value="full", rule="tuner_full", figures=figures)
    return Choice(key="tuner.name", value="lora", rule=f"tuner_lora_{name}", figures=figures)


def _lora(facts: Facts) -> Iterator[Choice]:
    r, rule = RANKS[facts.task], "rank_task"
    if facts.task == "code" and not facts.hurry:
        r = 32
    if facts.task == "domain" and facts.dataset_type == "language_modeling":
        r, rule = 32, "rank_raw_text"
    if facts.rows > MANY_FOR_FULL and r < 32:
        r, rule = 32, "rank_many_rows"
    if facts.parameters >= HUGE:
        r, rule = 64, "rank_large"
    yield Choice(key="tuner.r", value=r, rule=rule, figures={"r": r, **_rows(facts)})
    yield Choice(key="tuner.lora_alpha", value=2 * r, rule="alpha")
    small = facts.rows < 1000
    rule = "dropout_small" if small else "dropout_none"
    yield Choice(key="tuner.lora_dropout", value=0.05 if small else 0.0, rule=rule, figures=_rows(facts))
    yield Choice(key="tuner.target_modules", value="all-linear", rule="targets")


def _quantization(facts: Facts, tuner: str) -> Choice:
    figures = gigabytes(facts)
    if tuner == "full":
        return Choice(key="quantization", value="none", rule="quantization_full")
    if not facts.parameters and not facts.estimated:
        return Choice(key="quantization", value="none", rule="quantization_unknown")
    if figures["lora"] <= figures["have"]:
        return Choice(key="quantization", value="none", rule="quantization_none", figures=figures)
    rule = "quantization_nf4" if figures["nf4"] <= figures["have"] else "quantization_too_large"
    return Choice(key="quantization", value="nf4", rule=rule, figures=figures)


def _learning_rate(facts: Facts, tuner: str) -> Choice:
    if facts.dataset_type in PAIRED:
        value, rule = (1e-5 if facts.parameters >= LARGE else 2e-5), "learning_rate_preference"
    elif tuner == "full":
        value, rule = (1e-5 if facts.parameters >= 3e9 else 2e-5), "learning_rate_full"
    elif facts.parameters >= LARGE:
        value, rule = 1e-4, "learning_rate_large"
    else:
        value, rule = 2e-4, "learning_rate_lora"
    return Choice(key="learning_rate", value=value, rule=rule)


def _epochs(facts: Facts) -> Choice:
    if facts.hurry and facts.rows >= 100:
        return Choice(key="num_train_epochs", value=1, rule="epochs_hurry")
    if facts.dataset_type in PAIRED:
        return Choice(key="num_train_epochs", value=2 if facts.rows < 1000 else 1, rule="epochs_preference")
    steps = ((500, 5), (10_000, 3), (MANY_FOR_FULL, 2))
    epochs = next((epochs for limit, epochs in steps if facts.rows < limit), 1)
    return Choice(key="num_train_epochs", value=epochs, rule="epochs", figures={"epochs": epochs, **_rows(facts)})


def _batch(facts: Facts) -> tuple[Choice, Choice]:
    """Batch size and accumulation: 16 rows a step, fewer where that would leave under 20 steps an epoch."""
    wanted = 16
    while wanted > 4 and facts.rows < 20 * wanted:
        wanted //= 2
    heavy = facts.parameters >= 3e9 or facts.tokens.get("p95", 0) > 1024 or facts.dataset_type == "preference"
    device = 2 if heavy else 4  # never 1: KTO compares the rows of a batch
    figures = {"batch": wanted, "device": device, "accumulation": wanted // device, **_rows(facts)}
    return (
        Choice(key="per_device_train_batch_size", value=device, rule="batch", figures=figures),
        Choice(key="gradient_accumulation_steps", value=wanted // device, rule="batch", figures=figures),
    )


def _max_length(facts: Facts) -> Choice:
    limit = LONGEST if facts.has_card else LONGEST_CPU
    limit = min(limit, facts.max_position_embeddings or limit)
    p95 = facts.tokens.get("p95", 0)
    if not p95:
        return Choice(key="max_length", value=min(512, limit), rule="max_length_unknown")
    covering = -(-min(facts.tokens.get("max", p95), round(1.25 * p95)) // LENGTH_STEP) * LENGTH_STEP
    value = min(max(128, covering), limit)
    return Choice(key="max_length", value=value, rule="max_length_measured", figures={"p95": f"{p95:,}"})


def _chat_template(facts: Facts) -> Choice:
    template = "model" if facts.has_chat_template else "plain"
    return Choice(key="chat_template", value=template, rule=f"chat_template_{template}")


def _eval_share(facts: Facts) -> Choice:
    if facts.rows < 5:
        return Choice(key="eval_share", value=0.0, rule="eval_none")
    share = next((share for limit, share in ((50, 0.2), (5_000, 0.1), (20_000, 0.05)) if facts.rows < limit), 0.02)
    return Choice(key="eval_share", value=share, rule="eval_share", figures={"share": f"{share:.0%}"})


def _optimizer(facts: Facts, choices: list[Choice]) -> Iterator[Choice]:
    figures = gigabytes(facts)
    quantized = any(choice.key == "quantization" and choice.value == "nf4" for choice in choices)
    full = any(choice.key == "tuner.name" and choice.value == "full" for choice in choices)
    tight = quantized or (full and figures["full"] > 0.7 * figures["have"])
    paged = facts.has_card and tight
    name = "paged_adamw_8bit" if paged else "adamw_torch"
    plain = "optimizer_full" if full else "optimizer_plain"
    yield Choice(key="optim", value=name, rule="optimizer_paged" if paged else plain)


def _reports(rows: float, epochs: float, batch: int) -> Iterator[Choice]:
    steps = max(1, math.ceil(-(-rows // batch) * epochs))
    every = min(500, max(5, steps // 10))
    for key in ("eval_steps", "save_steps"):
        yield Choice(key=key, value=every, rule="reports", figures={"steps": f"{steps:,}"})


def _rows(facts: Facts) -> dict[str, Any]:
    """How many rows there are: as a number, and counted as English does."""
    return {"rows": f"{facts.rows:,}", "counted": "1 row" if facts.rows == 1 else f"{facts.rows:,} rows"}


def _hints(facts: Facts) -> Iterator[Choice]:
    if facts.rows < 50:
        yield Choice(key="", value=None, rule="few_rows", figures=_rows(facts))
    if facts.task in ("domain", "code", "classification") and facts.dataset_type not in PAIRED:
        yield Choice(key="", value=None, rule="forgetting")
    if facts.task in ("code", "alignment"):
        yield Choice(key="", value=None, rule="reward")
