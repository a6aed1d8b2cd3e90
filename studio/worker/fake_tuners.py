"""The tuner's own PEFT modules on a model of fake tensors."""

from typing import Any

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from studio.errors import UserError
from studio.memory.parameters import GROUPS
from studio.memory.setup import Setup
from studio.worker.stand_ins import FourBits

KNOWN = ("full", "partial", "lora", "adalora", "ia3", "prompt_tuning", "p_tuning", "prefix_tuning", "p_tuning_v2")


def check(setup: Setup) -> None:
    """Raises UserError for what would be simulated as something else."""
    wrong = {
        f"The tuner {setup.tuner}": setup.tuner not in KNOWN,
        "The quantization int8": setup.quantization == "int8",
        f"The objective {setup.objective}": setup.objective not in ("sft", "dpo"),
        "The optimizer adafactor": setup.optim == "adafactor",
        "The loss liger": setup.loss == "liger",
        f"A loss of {setup.logit_bytes:g} bytes a logit": setup.loss == "full" and setup.logit_bytes != 12,
        "A loop that keeps its outputs": setup.keep_outputs,
        "modules_to_save": bool(setup.modules_to_save),
        "More than one card": setup.cards > 1 and setup.sharding != "none",
    }
    names = [name for name, found in wrong.items() if found]
    if names:
        raise UserError(
            f"{names[0]} cannot be simulated.",
            "The formula's estimate stands. Simulated are sft and dpo on one card, with full, partial and PEFT's "
            "tuners, float or nf4 weights, AdamW, 8-bit and paged AdamW or SGD, and a fused or full loss.",
        )


def trained_model(base: PreTrainedModel, setup: Setup) -> Any:
    """The model with its tuner."""
    if setup.quantization == "nf4":
        _quantize(base, setup)
    if setup.tuner == "full":
        return base
    if setup.tuner == "partial":
        return _freeze(base, setup)
    model = peft.get_peft_model(base, _config(setup), autocast_adapter_dtype=setup.adapter_bytes == 4)
    if setup.adapter_bytes == 2:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    return model


def _quantize(base: PreTrainedModel, setup: Setup) -> None:
    head = base.get_output_embeddings()
    for module in list(base.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and child is not head:
                setattr(module, name, FourBits(child, double=setup.double_quant))
    base.is_loaded_in_4bit = True  # what tells PEFT to take its 4-bit classes
    if setup.float32_rest:
        for parameter in base.parameters():
            if parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.to(torch.float32)


def _freeze(base: PreTrainedModel, setup: Setup) -> PreTrainedModel:
    base.requires_grad_(False)
    layers = next(m for m in base.modules() if isinstance(m, nn.ModuleList) and len(m) == base.config.num_hidden_layers)
    for layer in layers[-int(setup.options.get("trained_layers", 2)) :]:
        layer.requires_grad_(True)
    if setup.options.get("train_norm", True):
        base.model.norm.requires_grad_(True)
    if setup.options.get("train_embeddings"):
        base.get_input_embeddings().requires_grad_(True)
    if setup.options.get("train_head"):
        base.get_output_embeddings().requires_grad_(True)
    return base


def _config(setup: Setup) -> peft.PeftConfig:
    options = dict(setup.options)
    tokens = int(options.get("num_virtual_tokens", 20))
    kind: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    if setup.tuner in ("lora", "adalora"):
        where = options.get("target_modules", "all-linear")
        kind["target_modules"] = GROUPS.get(where, where) if isinstance(where, str) else list(where)
        if not isinstance(kind["target_modules"], str):
            kind["target_modules"] = list(kind["target_modules"])
        kind["lora_dropout"] = setup.dropout
    if setup.tuner == "lora":
        return peft.LoraConfig(r=int(options.get("r", 8)), use_dora=bool(options.get("use_dora")), **kind)
    if setup.tuner == "adalora":
        return peft.AdaLoraConfig(init_r=int(options.get("init_r", 12)), total_step=100, **kind)
    if setup.tuner == "ia3":
        modules = ["k_proj", "v_proj"], ["down_proj"] if options.get("feedforward_modules") != "without" else []
        return peft.IA3Config(target_modules=[*modules[0], *modules[1]], feedforward_modules=modules[1], **kind)
    if setup.tuner == "prompt_tuning":
        return peft.PromptTuningConfig(num_virtual_tokens=tokens, **kind)
    width = int(options.get("encoder_hidden_size", 128))
    if setup.tuner == "p_tuning":
        encoder = options.get("encoder_reparameterization_type", "MLP")
        return peft.PromptEncoderConfig(
            num_virtual_tokens=tokens, encoder_hidden_size=width, encoder_reparameterization_type=encoder, **kind
        )
    project = bool(options.get("prefix_projection", setup.tuner == "prefix_tuning"))
    return peft.PrefixTuningConfig(
        num_virtual_tokens=tokens, prefix_projection=project, encoder_hidden_size=width, **kind
    )
