"""A spec as a Python script on plain transformers, PEFT and TRL, which gives the job's own losses."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from studio import hardware
from studio.errors import UserError
from studio.jobs.code import INSTEAD
from studio.jobs.code.loading_code import loading, model_class, scores
from studio.jobs.code.own_code import (
    BOTTLENECK,
    HOLDING,
    PPO,
    SOFT,
    Judge,
    holding,
    judging,
    source_of,
)  # fmt: skip
from studio.jobs.code.reward_code import reward_code
from studio.jobs.code.tuner_code import TunerCode, call, tuner_code
from studio.jobs.events import Started
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS

PARTS = Path(__file__).parent / "parts"
PACKAGES = ("torch", "transformers", "peft", "trl", "datasets")
START, WEIGHTS = "start_adapter", "adapter_model.safetensors"  # the folder beside the script that it begins with
CONTINUING = ("get_peft_model", "get_peft_model_state_dict", "load_peft_weights", "set_peft_model_state_dict")


@dataclass(frozen=True, kw_only=True)
class ObjectiveCode:
    """`module` of TRL, its trainer and config; `arguments`: more of the trainer's, as lines.

    `untouched`: the trainer's method that would tokenise the rows, and `given`, what it gives in place of that.
    `rows` and `reading`: the parts that make rows and read a file. `soft`: whether a soft prompt needs nothing more.
    `own`: files of studio/methods that hold the trainer, where there is no module.
    """

    module: str
    trainer: str
    config: str
    arguments: str = ""
    untouched: str = "_prepare_dataset"
    given: str = "rows"
    rows: str = ""
    reading: str = "reading"
    soft: bool = False
    own: tuple[str, ...] = ()


PROMPTS: dict[str, Any] = {"untouched": "_tokenize_prompts", "given": "rows, None, {}", "rows": "prompts"}
# What plain TRL can say. How rows are made for each is in parts/rows_NAME.txt.
OBJECTIVE_CODE = {
    "sft": ObjectiveCode(module="trl", trainer="SFTTrainer", config="SFTConfig", soft=True),
    "dpo": ObjectiveCode(
        module="trl", trainer="DPOTrainer", config="DPOConfig", arguments="    ref_model=None,\n", soft=True
    ),
    "orpo": ObjectiveCode(
        module="trl.experimental.orpo", trainer="ORPOTrainer", config="ORPOConfig", untouched="tokenize_row"
    ),
    "cpo": ObjectiveCode(
        module="trl.experimental.cpo", trainer="CPOTrainer", config="CPOConfig", untouched="tokenize_row"
    ),
    "kto": ObjectiveCode(
        module="trl",
        trainer="KTOTrainer",
        config="KTOConfig",
        arguments="    ref_model=None,\n",
        reading="reading_arranged",
        soft=True,
    ),
    "reward": ObjectiveCode(module="trl", trainer="RewardTrainer", config="RewardConfig"),
    "grpo": ObjectiveCode(module="trl", trainer="GRPOTrainer", config="GRPOConfig", **PROMPTS),
    "rloo": ObjectiveCode(module="trl", trainer="RLOOTrainer", config="RLOOConfig", **PROMPTS),
    "ppo": ObjectiveCode(module="", trainer="PPOTrainer", config="PPOConfig", rows="prompts", own=PPO),
}


def script_of(
    spec: TrainSpec,
    *,
    base_model: str,
    config: dict[str, Any],
    started: Started | None = None,
    continues: bool = False,
    judge: Judge | None = None,
) -> str:
    """The script of a job; `config` is the base model's config.json. Raises UserError with the reason why not.

    `continues`: it begins with the adapter of an earlier job, which lies beside it in the folder START. `judge`: the
    reward model; an adapter lies beside it too.
    """
    objective = OBJECTIVE_CODE[spec.objective.name]
    _refuse_what_trl_lacks(spec, objective, judge)
    tuner = tuner_code(spec, config, base_model)
    rewards, names = reward_code(spec.objective) if OBJECTIVES[spec.objective.name].rewarded else ("", [])
    if judge is not None:
        rewards, names = f"{rewards}\n\n\n{judging(judge)}" if names else judging(judge), [*names, "reward_model"]
    if names:
        objective = replace(objective, arguments=f"    reward_funcs=[{', '.join(names)}],\n")
    before = _continuing(spec, tuner) if continues else tuner.before
    ready = ["judge = load_judge()"] if judge is not None else []
    blocks = [
        _head(spec, objective, tuner, base_model, continues, judge),
        *_own_source(spec, objective, judge),
        _part("tokens"),
        _part(f"rows_{objective.rows or spec.objective.name}"),
        _part(objective.reading),
        *([rewards] if rewards else []),
        loading(spec, started),
        *([f"# What learns\n{before}\n"] if before else []),
        *ready,
        _training(spec, objective, tuner, continues),
    ]
    return "\n\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _refuse_what_trl_lacks(spec: TrainSpec, objective: ObjectiveCode, judge: Judge | None) -> None:
    if getattr(spec.objective, "reward_model", "") and judge is None:
        raise UserError("The reward model of this job is not here.", INSTEAD)
    if spec.tuner.name in SOFT and not objective.soft:
        raise UserError(
            f"{objective.trainer} does not count in a soft prompt before the text; the studio corrects that.",
            INSTEAD,
        )


def _own_source(spec: TrainSpec, objective: ObjectiveCode, judge: Judge | None) -> Iterator[str]:
    """The studio's files that the libraries have no word for."""
    if spec.tuner.name == "bottleneck" or (judge is not None and judge.tuner == "bottleneck"):
        yield f"# The bottleneck adapter, which PEFT has not\n{source_of(BOTTLENECK)}"
    if objective.own:
        yield f"# PPO, which TRL has no more\n{source_of(objective.own)}"
    if spec.ewc_lambda:
        yield _part("consolidation")


def _continuing(spec: TrainSpec, tuner: TunerCode) -> str:
    """Lines that make the adapter and give it what the earlier job's had learned."""
    return f"""model = get_peft_model(model, {call(tuner.name, _values(spec, tuner), "    ")})
learned = load_peft_weights(str(HERE / {START!r}), device="cpu")
set_peft_model_state_dict(model, get_peft_model_state_dict(model) | learned)"""


def _values(spec: TrainSpec, tuner: TunerCode) -> dict[str, Any]:
    return {**(tuner.values or {}), "task_type": OBJECTIVES[spec.objective.name].task_type}


def _part(name: str) -> str:
    return (PARTS / f"{name}.txt").read_text(encoding="utf-8")


def _head(
    spec: TrainSpec,
    objective: ObjectiveCode,
    tuner: TunerCode,
    base_model: str,
    continues: bool,
    judge: Judge | None,
) -> str:
    packages = " ".join(f"{name}=={metadata.version(name).partition('+')[0]}" for name in PACKAGES)
    quantized = " bitsandbytes" if spec.quantization != "none" else ""
    quantizing = ["BitsAndBytesConfig"] if quantized else []
    seeded = ["set_seed"] if scores(spec) else []
    judging_class = ["AutoModelForSequenceClassification"] if judge is not None else []
    transformers = [*judging_class, model_class(spec), "AutoTokenizer", *quantizing, *tuner.transformers, *seeded]
    what = f"{OBJECTIVES[spec.objective.name].title}, {TUNERS[spec.tuner.name].title}"
    expressions = "import re\n" if OBJECTIVES[spec.objective.name].rewarded else ""
    names = [
        *(["PeftModel"] if judge is not None and not judge.whole else []),
        *([tuner.name] if tuner.name and not tuner.own else []),
        *(CONTINUING if continues else ()),
    ]
    peft = f"from peft import {', '.join(names)}\n" if names else ""
    trl = f"from {objective.module} import {objective.config}, {objective.trainer}\n" if objective.module else ""
    begun = f"\nBegins with the adapter of {_quoted(spec.start_from)}: {START}/{WEIGHTS}."
    begins = begun if continues else ""
    return f'''"""{_quoted(spec.name or "a job")}: {what}. Made by the Fine-tuning Studio; it needs nothing of it.

Reads train.jsonl (and eval.jsonl) beside it, prints the losses, saves what was learned.{begins}
    pip install {packages}{quantized}
"""

import json
import os
import random
{expressions}from pathlib import Path

import torch
from datasets import Dataset
{peft}{tuner.imports}from transformers import {", ".join(transformers)}
{trl}
HERE = Path(__file__).resolve().parent
BASE_MODEL = {base_model!r}
MAX_LENGTH = {spec.max_length}
BATCH_SIZE = {spec.per_device_train_batch_size}
SEED = {spec.seed}
'''


def _quoted(text: str) -> str:
    """What the user wrote, for a docstring."""
    return text.replace("\\", "/").replace('"""', "'''")


def _training(spec: TrainSpec, objective: ObjectiveCode, tuner: TunerCode, continues: bool) -> str:
    result = "model" if TUNERS[spec.tuner.name].whole_model else "adapter"
    made = call(tuner.name, _values(spec, tuner), " " * 8)
    peft = f"    peft_config={f'{tuner.wrap}({made})' if tuner.wrap else made},\n"
    on_cpu = "" if spec.quantization == "none" or hardware.cpu().bf16 else ON_CPU
    return f'''class Trainer({objective.trainer}):
    def {objective.untouched}(self, rows, *args, **kwargs):
        return {objective.given}  # they are tokenised already
{WARMING if 0 < spec.warmup_steps < 1 else ""}{tuner.methods}{HOLDING if spec.ewc_lambda else ""}

train_rows = read("train.jsonl")
eval_rows = read("eval.jsonl") if (HERE / "eval.jsonl").is_file() else []
config = {objective.config}(
{_keywords(_arguments(spec))}
    output_dir=str(HERE / "checkpoints"),
    eval_strategy="steps" if eval_rows else "no",
    eval_steps={spec.eval_steps} if eval_rows else None,
    bf16=autocast == torch.bfloat16,
    fp16=autocast == torch.float16,
    use_cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
)
trainer = Trainer(
    model=model,
    args=config,
    train_dataset=Dataset.from_list(train_rows),
    eval_dataset=Dataset.from_list(eval_rows) if eval_rows else None,
    processing_class=tokenizer,
{objective.arguments}{peft if tuner.name and not continues else ""})
{on_cpu}{tuner.after}{holding(spec) if spec.ewc_lambda else ""}trainer.train()
{tuner.saving or "trainer.save_model"}(str(HERE / "{result}"){tuner.saved})
print(json.dumps([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]))
'''


WARMING = """
    def create_scheduler(self, num_training_steps, optimizer=None):
        # Only whole steps warm up: transformers rounds a share up, and the rate of the first of them is 0
        self.args.warmup_steps = int(num_training_steps * self.args.warmup_steps)
        return super().create_scheduler(num_training_steps, optimizer)
"""
ON_CPU = """if not torch.cuda.is_available():
    for parameter in trainer.model.parameters():  # TRL makes adapters of a quantized model bfloat16: slow on a CPU
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
"""


def _arguments(spec: TrainSpec) -> dict[str, Any]:
    """What is passed to TRL's config word for word."""
    same = (
        "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
        "gradient_accumulation_steps", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm",
        "optim", "train_sampling_strategy", "seed", "logging_steps", "save_steps", "save_total_limit",
    )  # fmt: skip
    unused = OBJECTIVES[spec.objective.name].unused
    return {
        **{name: getattr(spec, name) for name in (*same, "max_length") if name not in unused},
        **spec.objective.library_options(),
        "data_seed": spec.seed,
        "per_device_eval_batch_size": spec.per_device_train_batch_size,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "gradient_checkpointing": spec.gradient_checkpointing == "on",
        "logging_first_step": True,
        "report_to": "none",
    }


def _keywords(values: dict[str, Any]) -> str:
    return "\n".join(f"    {name}={value!r}," for name, value in values.items())
