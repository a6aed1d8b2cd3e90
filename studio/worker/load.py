"""Spec + model folder → tokenizer and model, with dtype, attention and quantization said out loud."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from studio import hardware
from studio.base_models import read_config
from studio.data.chat_template import PLAIN_TEMPLATE
from studio.jobs.spec import TrainSpec

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
    trains_all = spec.tuner.name == "full"
    weights = torch.float32 if trains_all or half == torch.float16 else half
    return Precision(weights, half)


def load_tokenizer(folder: Path, chat_template: str) -> PreTrainedTokenizerBase:
    """The model's tokenizer; "plain" replaces its chat template, so that it is saved with what was learned."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if chat_template == "plain":
        tokenizer.chat_template = PLAIN_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, *, dtype: torch.dtype, where: torch.device, spec: TrainSpec | None) -> PreTrainedModel:
    """The base model in eval-ready form. Raises UserError when its config would run foreign code."""
    read_config(folder)
    options: dict[str, Any] = {}
    if spec is not None and spec.quantization == "nf4":
        options["quantization_config"] = four_bits(spec, dtype)
    if where.type == "cuda":
        options["device_map"] = {"": 0}
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        trust_remote_code=False,
        use_safetensors=True,
        low_cpu_mem_usage=True,
        **options,
    )
    return model if options else model.to(where)


def four_bits(spec: TrainSpec, dtype: torch.dtype) -> Any:
    """bitsandbytes' configuration for NF4 (arXiv 2305.14314)."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=spec.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
