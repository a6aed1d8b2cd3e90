"""A spec as Axolotl's YAML, with the keys of its configuration reference (0.18)."""

from collections.abc import Callable
from typing import Any

import yaml

from studio.data.chat_template import PLAIN_TEMPLATE
from studio.errors import UserError
from studio.jobs.code import INSTEAD
from studio.jobs.spec import TrainSpec
from studio.methods.objectives import OBJECTIVES
from studio.methods.targets import modules
from studio.methods.tuners import TUNERS

TRAIN, EVAL = "axolotl-train.jsonl", "axolotl-eval.jsonl"
HEAD = """# Axolotl (keys as of 0.18): axolotl train axolotl.yaml
# The rows are {train} beside it. Axolotl makes batches in its own way, so losses are close, not equal.
"""


def axolotl_yaml(spec: TrainSpec, *, base_model: str, config: dict[str, Any], evaluates: bool) -> str:
    """The configuration. Raises UserError with the reason where Axolotl cannot do the same."""
    values = {
        "base_model": base_model,
        "trust_remote_code": False,
        **_tuner(spec, config),
        **_objective(spec),
        "datasets": [_dataset(spec, TRAIN)],
        **({"test_datasets": [{**_dataset(spec, EVAL), "split": "train"}]} if evaluates else {}),
        "val_set_size": 0,
        **_template(spec),
        **_learning(spec),
        "output_dir": "./axolotl-out",
    }
    return HEAD.format(train=TRAIN) + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _tuner(spec: TrainSpec, config: dict[str, Any]) -> dict[str, Any]:
    options: Any = spec.tuner
    if options.name == "full":
        return {}
    if options.name == "partial":
        raise UserError("Axolotl is told by name which weights learn, which the studio does not write.", INSTEAD)
    if options.name != "lora":
        raise UserError(f"Axolotl has no {TUNERS[options.name].title}.", INSTEAD)
    where = modules(config, options.target_modules)
    targets = {"lora_target_linear": True} if where == "all-linear" else {"lora_target_modules": where}
    values: dict[str, Any] = {
        "adapter": "qlora" if spec.quantization == "nf4" else "lora",
        "lora_r": options.r,
        "lora_alpha": options.lora_alpha,
        "lora_dropout": options.lora_dropout,
        **targets,
    }
    return values | _quantization(spec) | _lora_variant(options)


def _quantization(spec: TrainSpec) -> dict[str, Any]:
    kwargs = {"bnb_4bit_use_double_quant": spec.bnb_4bit_use_double_quant}
    kinds: dict[str, dict[str, Any]] = {
        "nf4": {"load_in_4bit": True, "bnb_config_kwargs": kwargs},
        "int8": {"load_in_8bit": True},
    }
    return kinds.get(spec.quantization, {})


def _lora_variant(options: Any) -> dict[str, Any]:
    variant = {
        "peft_use_dora": options.use_dora,
        "peft_use_rslora": options.use_rslora,
        "peft_init_lora_weights": "" if options.init_lora_weights == "default" else options.init_lora_weights,
        "loraplus_lr_ratio": 0 if options.loraplus_lr_ratio == 1 else options.loraplus_lr_ratio,
    }
    return {key: value for key, value in variant.items() if value}


def _objective(spec: TrainSpec) -> dict[str, Any]:
    name = spec.objective.name
    if name not in SAYS:
        raise UserError(f"The studio writes no Axolotl configuration for {OBJECTIVES[name].title}.", INSTEAD)
    if spec.start_from:
        raise UserError("It continues from another job, which the studio does not write for Axolotl.", INSTEAD)
    if spec.ewc_lambda:
        raise UserError("Axolotl has no elastic weight consolidation.", INSTEAD)
    return SAYS[name](spec.objective)


def _sft(options: Any) -> dict[str, Any]:
    if options.loss_type != "nll":
        raise UserError(f"Axolotl has no loss {options.loss_type}.", INSTEAD)
    return {"neftune_noise_alpha": options.neftune_noise_alpha} if options.neftune_noise_alpha else {}


def _dpo(options: Any) -> dict[str, Any]:
    values = {"rl": "dpo", "rl_beta": options.beta, "dpo_loss_type": [options.loss_type]}
    return values | ({"dpo_label_smoothing": options.label_smoothing} if options.label_smoothing else {})


def _orpo(options: Any) -> dict[str, Any]:
    return {"rl": "orpo", "orpo_alpha": options.beta, "remove_unused_columns": False}


def _kto(options: Any) -> dict[str, Any]:
    if getattr(options, "loss_type", "kto") != "kto":
        raise UserError(f"Axolotl has no loss {options.loss_type} for KTO.", INSTEAD)
    return {
        "rl": "kto",
        "rl_beta": options.beta,
        "kto_desirable_weight": options.desirable_weight,
        "kto_undesirable_weight": options.undesirable_weight,
        "remove_unused_columns": False,
    }


SAYS: dict[str, Callable[[Any], dict[str, Any]]] = {"sft": _sft, "dpo": _dpo, "orpo": _orpo, "kto": _kto}


def _dataset(spec: TrainSpec, file: str) -> dict[str, Any]:
    """How the rows of axolotl_rows.py are read."""
    place = {"path": file, "ds_type": "json"}
    kinds: dict[str, dict[str, Any]] = {
        "sft": {
            "type": "chat_template",
            "field_messages": "messages",
            "roles_to_train": [],
            "train_on_eos": "turn",
            "message_field_training": "train",
        },
        "dpo": {"type": "chat_template.default", "field_messages": "messages"},
        "orpo": {"type": "chat_template.argilla"},
        "kto": {"type": {"field_prompt": "prompt", "field_completion": "completion", "field_label": "label"}},
    }
    if file == TRAIN:
        place["split"] = "train"
    return place | kinds[spec.objective.name]


def _template(spec: TrainSpec) -> dict[str, Any]:
    if spec.chat_template == "plain":
        return {"chat_template": "jinja", "chat_template_jinja": PLAIN_TEMPLATE}
    return {"chat_template": "tokenizer_default"}


def _learning(spec: TrainSpec) -> dict[str, Any]:
    warmup = {"warmup_ratio": spec.warmup_steps} if spec.warmup_steps < 1 else {"warmup_steps": int(spec.warmup_steps)}
    half: dict[str, dict[str, Any]] = {
        "auto": {"bf16": "auto"},
        "bfloat16": {"bf16": True},
        "float16": {"fp16": True},
        "float32": {"bf16": False},
    }
    values: dict[str, Any] = {
        "sequence_len": spec.max_length,
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "micro_batch_size": spec.per_device_train_batch_size,
        "gradient_accumulation_steps": spec.gradient_accumulation_steps,
        "num_epochs": spec.num_train_epochs,
        "learning_rate": spec.learning_rate,
        "lr_scheduler": spec.lr_scheduler_type,
        **warmup,
        "optimizer": spec.optim,
        "weight_decay": spec.weight_decay,
        "max_grad_norm": spec.max_grad_norm,
        **half[spec.dtype],
        "gradient_checkpointing": spec.gradient_checkpointing == "on",
        "logging_steps": spec.logging_steps,
        "eval_steps": spec.eval_steps,
        "save_steps": spec.save_steps,
        "save_total_limit": spec.save_total_limit,
        "seed": spec.seed,
    }
    if spec.max_steps > 0:
        values["max_steps"] = spec.max_steps
    if spec.train_sampling_strategy == "group_by_length":
        values["group_by_length"] = True
    return values
