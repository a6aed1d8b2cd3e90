"""Spec + model folder → tokenizer and model, with dtype, attention and quantization said out loud."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import (
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from studio import hardware
from studio.base_models import read_config
from studio.data.chat_template import PLAIN_TEMPLATE
from studio.errors import UserError
from studio.jobs.spec import TrainSpec
from studio.jobs.training_options import Quantization
from studio.methods.tuners import TUNERS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """`weights`: dtype of the base model. `autocast`: dtype of the arithmetic around it, None for the weights'."""

    weights: torch.dtype
    autocast: torch.dtype | None

    def __str__(self) -> str:
        name = str(self.weights).removeprefix("torch.")
        return f"{name}, {str(self.autocast).removeprefix('torch.')} arithmetic" if self.autocast else name


def device() -> torch.device:
    """The device that training runs on: a CUDA card, Apple's GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def half_precision(where: torch.device) -> torch.dtype | None:
    """The 16-bit type that `where` computes fast, None when it has none."""
    if where.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if where.type == "cpu" and hardware.cpu().bf16:
        return torch.bfloat16
    return None


def choose_precision(spec: TrainSpec, where: torch.device) -> Precision:
    """The dtypes of a job. Frozen weights may be 16-bit; weights that are trained stay float32 unless asked."""
    half = half_precision(where)
    if spec.dtype != "auto":
        chosen = DTYPES[spec.dtype]
        return Precision(chosen, chosen if chosen != torch.float32 else None)
    if half is None:
        return Precision(torch.float32, None)
    trains_weights = TUNERS[spec.tuner.name].whole_model
    weights = torch.float32 if trains_weights or half == torch.float16 else half
    return Precision(weights, half)


def load_tokenizer(folder: Path, chat_template: str) -> PreTrainedTokenizerBase:
    """The model's tokenizer; "plain" replaces its chat template, so that it is saved with what was learned."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if chat_template == "plain":
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    folder: Path, *, dtype: torch.dtype, where: torch.device, spec: Quantization | None, scores: bool = False
) -> PreTrainedModel:
    """The base model in eval-ready form; `scores` puts a head that gives one number in place of the language head.

    Raises UserError when its config would run foreign code.
    """
    read_config(folder)
    options: dict[str, Any] = {}
    if spec is not None and spec.quantization != "none":
        options["quantization_config"] = quantized(spec, dtype)
    if where.type == "cuda":
        options["device_map"] = {"": 0}
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    model = kind.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        trust_remote_code=False,
        use_safetensors=True,
        low_cpu_mem_usage=True,
        **options,
        **({"num_labels": 1} if scores else {}),
    )
    _keep_packing(model)
    return model if options else model.to(where)


def continue_adapter(model: PreTrainedModel, config: PeftConfig, folder: Path) -> PeftModel:
    """The model with a new adapter that begins as the one in `folder` ended.

    TRL makes a frozen copy of an adapter that it is handed, and measures against that copy.
    """
    adapted = get_peft_model(model, config)
    begun = get_peft_model_state_dict(adapted)
    learned = load_peft_weights(str(folder), device="cpu")
    strange = sorted(learned.keys() - begun.keys())
    if strange:
        raise UserError(
            f"The adapter in {folder.parent.name} does not fit the model: {strange[0]} has no place in it.",
            "Continue from a job of the same base model and tuner.",
        )
    set_peft_model_state_dict(adapted, begun | learned)  # a reward model's head is new
    return adapted


def _keep_packing(model: PreTrainedModel) -> None:
    """On CPUs with AVX512-BF16 bitsandbytes packs 4-bit weights anew, rounded, at the first evaluation.

    After that the base is another model, and DoRA and SHiRA, which unpack the weights, read nonsense.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantized(spec: Quantization, dtype: torch.dtype) -> Any:
    """bitsandbytes' configuration for NF4 (arXiv 2305.14314) or LLM.int8 (arXiv 2208.07339).

    What is not quantized (norms, embeddings, head) keeps `dtype`: it is frozen, so that float32, which
    `prepare_model_for_kbit_training` would make of it, holds nothing more and takes up to a few GB.
    """
    from transformers import BitsAndBytesConfig

    if spec.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=spec.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=DTYPES.get(spec.bnb_4bit_compute_dtype, dtype),
    )
