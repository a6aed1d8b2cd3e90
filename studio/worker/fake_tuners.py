"""The tuner's own PEFT modules on a model of fake tensors."""

from functools import partial
from typing import Any

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from studio.errors import UserError
from studio.memory.parameters import GROUPS
from studio.memory.setup import MATERIALISED, PROMPT_TUNERS, Setup
from studio.memory.terms import GENERATING
from studio.methods.bottleneck_layers import BottleneckConfig
from studio.worker.fake_layers import EightBits, FourBits, SparseLinear, disabled

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def check(setup: Setup) -> None:
    """Raises UserError for what would be simulated as something else."""
    wrong = {
        f"The objective {setup.objective}, which writes answers before it learns from them,": setup.objective
        in GENERATING,
        f"{setup.objective} with a soft prompt": setup.objective in MATERIALISED and setup.tuner in PROMPT_TUNERS,
        "The loss liger": setup.loss == "liger" and setup.objective not in MATERIALISED,
        f"A loss of {setup.logit_bytes:g} bytes a logit": setup.loss == "full" and setup.logit_bytes != 12,
        "A loop that keeps its outputs": setup.keep_outputs,
        "modules_to_save": bool(setup.modules_to_save),
        "More than one card": setup.cards > 1 and setup.sharding != "none",
    }
    names = [name for name, found in wrong.items() if found]
    if names:
        raise UserError(
            f"{names[0]} cannot be simulated.",
            "The formula's estimate stands. Simulated are sft, dpo, kto, orpo, cpo and reward models on one card, with "
            "every tuner, float, nf4 or int8 weights, every optimizer, and a fused or full loss.",
        )


def trained_model(base: PreTrainedModel, setup: Setup) -> Any:
    """The model with its tuner."""
    if setup.quantization != "none":
        _quantize(base, setup)
    return OWN.get(setup.tuner, _adapted)(base, setup)


def _adapted(base: PreTrainedModel, setup: Setup) -> Any:
    model = peft.get_peft_model(base, _config(setup), autocast_adapter_dtype=setup.adapter_bytes == 4)
    for part in model.modules():  # PEFT copies a reward model's score; a copied fake tensor belongs to no mode
        if isinstance(part, peft.utils.ModulesToSaveWrapper):
            for copied in part.modules_to_save.values():
                copied.weight = nn.Parameter(torch.empty(copied.weight.shape, dtype=copied.weight.dtype))
    if setup.adapter_bytes == 2:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    return model


def _quantize(base: PreTrainedModel, setup: Setup) -> None:
    four = setup.quantization == "nf4"
    wrap: Any = partial(FourBits, double=setup.double_quant) if four else EightBits
    for parent, name, child in _linear(base):
        setattr(parent, name, wrap(child))
    setattr(base, "is_loaded_in_4bit" if four else "is_loaded_in_8bit", True)  # tells PEFT which classes to take
    if setup.float32_rest:
        for parameter in base.parameters():
            if parameter.dtype == torch.bfloat16:
                parameter.data = parameter.data.to(torch.float32)


def _linear(base: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    """(parent, name, module) of the decoder layers' linear modules: not the output head, nor a reward model's score."""
    heads = (base.get_output_embeddings(), getattr(base, "score", None))
    return [
        (parent, name, child)
        for parent in base.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and not any(child is head for head in heads)
    ]


def _sparse(base: PreTrainedModel, setup: Setup) -> PreTrainedModel:
    """SHiRA without PEFT, whose mask needs real weights."""
    base.requires_grad_(False)
    where = setup.options.get("target_modules", "all-linear")
    names = GROUPS.get(where, where) if isinstance(where, str) else where
    for parent, name, child in _linear(base):
        if names == "all-linear" or name in names:
            setattr(parent, name, SparseLinear(child, int(setup.options.get("r", 8)), DTYPES[_adapter(setup)]))
    if hasattr(base, "score"):
        base.score.requires_grad_(True)  # type: ignore[operator]
    base.disable_adapter = partial(disabled, base)  # type: ignore[assignment]
    return base


def _adapter(setup: Setup) -> str:
    return "bfloat16" if setup.adapter_bytes == 2 else "float32"


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
    if hasattr(base, "score"):
        base.score.requires_grad_(True)  # type: ignore[operator]
    return base


def _config(setup: Setup) -> peft.PeftConfig:
    options = dict(setup.options)
    kind: dict[str, Any] = {"task_type": "SEQ_CLS" if setup.objective == "reward" else "CAUSAL_LM"}
    if setup.tuner in PROMPT_TUNERS:
        return _soft_prompt(setup, options, kind)
    if setup.tuner == "bottleneck":
        return _bottleneck(options, kind)
    if setup.tuner == "ia3":
        modules = ["k_proj", "v_proj"], ["down_proj"] if options.get("feedforward_modules") != "without" else []
        return peft.IA3Config(target_modules=[*modules[0], *modules[1]], feedforward_modules=modules[1], **kind)
    where = options.get("target_modules", "all-linear")
    names = GROUPS.get(where, where) if isinstance(where, str) else where
    kind |= {"target_modules": names if isinstance(names, str) else list(names), "lora_dropout": setup.dropout}
    if setup.tuner == "adalora":
        return peft.AdaLoraConfig(init_r=int(options.get("init_r", 12)), total_step=100, **kind)
    return peft.LoraConfig(r=int(options.get("r", 8)), use_dora=bool(options.get("use_dora")), **kind)


def _soft_prompt(setup: Setup, options: dict[str, Any], kind: dict[str, Any]) -> peft.PeftConfig:
    kind["num_virtual_tokens"] = int(options.get("num_virtual_tokens", 20))
    if setup.tuner == "prompt_tuning":
        return peft.PromptTuningConfig(**kind)
    kind["encoder_hidden_size"] = int(options.get("encoder_hidden_size", 128))
    if setup.tuner == "p_tuning":
        encoder = options.get("encoder_reparameterization_type", "MLP")
        return peft.PromptEncoderConfig(encoder_reparameterization_type=encoder, **kind)
    project = bool(options.get("prefix_projection", setup.tuner == "prefix_tuning"))
    return peft.PrefixTuningConfig(prefix_projection=project, **kind)


def _bottleneck(options: dict[str, Any], kind: dict[str, Any]) -> peft.PeftConfig:
    places = ["down_proj"] if options.get("placement") == "pfeiffer" else ["o_proj", "down_proj"]
    size, activation = int(options.get("bottleneck_size", 64)), options.get("activation", "gelu")
    return BottleneckConfig(bottleneck_size=size, activation=activation, target_modules=places, **kind)


OWN = {"full": lambda base, setup: base, "partial": _freeze, "shira": _sparse}
"""The tuners that are none of PEFT's here."""
