"""Spec → the arguments of a TRL trainer, every one that matters passed explicitly."""

from pathlib import Path
from typing import Any

import torch

from studio import hardware
from studio.jobs.spec import TrainSpec
from studio.memory.activations import needs_checkpointing, saved_bytes_per_token
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.worker.load import Precision


def training_arguments(
    spec: TrainSpec, folder: Path, *, precision: Precision, where: torch.device, checkpointing: bool, evaluate: bool
) -> dict[str, Any]:
    """Keyword arguments of the objective's TRL config."""
    passed = (
        "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
        "gradient_accumulation_steps", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm",
        "optim", "train_sampling_strategy", "seed", "logging_steps", "save_steps", "max_length",
    )  # fmt: skip
    unused = OBJECTIVES[spec.objective.name].unused
    return {
        **{name: getattr(spec, name) for name in passed if name not in unused},
        **spec.objective.library_options(),
        "output_dir": str(folder),
        "data_seed": spec.seed,
        "per_device_eval_batch_size": spec.per_device_train_batch_size,
        "eval_strategy": "steps" if evaluate else "no",
        "eval_steps": spec.eval_steps if evaluate else None,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_total_limit": None,  # StudioTrainer rotates: it alone knows which checkpoints are whole
        "bf16": precision.autocast == torch.bfloat16,
        "fp16": precision.autocast == torch.float16,
        "use_cpu": where.type == "cpu",
        "gradient_checkpointing": checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if checkpointing else None,
        "logging_nan_inf_filter": False,
        "logging_first_step": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": where.type == "cuda",
        "push_to_hub": False,
    }


def use_checkpointing(spec: TrainSpec, config: Any, *, longest: int, weights: torch.dtype, where: torch.device) -> bool:
    """Whether to compute activations again: as asked, or when keeping them would fill the memory.

    `longest`: tokens of the longest training row.
    """
    if not TUNERS[spec.tuner.name].checkpointing:
        return False  # asked for, it was refused before the start
    if spec.gradient_checkpointing != "auto":
        return spec.gradient_checkpointing == "on"
    per_token = saved_bytes_per_token(
        hidden_size=config.hidden_size,
        intermediate_size=getattr(config, "intermediate_size", 4 * config.hidden_size),
        bytes_per_value=weights.itemsize,
        adapter=not TUNERS[spec.tuner.name].whole_model,
    )
    sequences = spec.per_device_train_batch_size * OBJECTIVES[spec.objective.name].sequences_per_row
    available = torch.cuda.mem_get_info()[0] if where.type == "cuda" else hardware.available_memory()
    return needs_checkpointing(
        tokens=sequences * longest, layers=config.num_hidden_layers, bytes_per_token=per_token, available=available
    )
