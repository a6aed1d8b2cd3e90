"""LoRA for some tokens of a pass and not for others, over weights that stay as they are.

PEFT's `adapter_names` does the same, one loop over adapters in each of some hundred layers, and makes of every adapter
modules in the model, which take long to put in and take out. Here an adapter is its tensors and nothing else.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch.nn.functional import linear

from studio.errors import UserError

KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<side>[AB])\.weight")
# Options that say how an adapter began, was trained or is scaled; any other changes what its layers do.
UNDERSTOOD = {
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "use_rslora"),
    *("init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core", "runtime_config"),
}


@dataclass(frozen=True)
class LoraWeights:
    """`parts`: path of a linear layer → (A (r, inputs), B (outputs, r), scaling). `size`: bytes."""

    parts: dict[str, tuple[torch.Tensor, torch.Tensor, float]]
    size: int


@dataclass(frozen=True)
class Span:
    """The tokens from `begin` to before `end` of a pass are read with these weights."""

    begin: int
    end: int | None
    weights: LoraWeights


class LoraSwitch:
    """Which tokens of the next pass through a model are read with which adapter."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._spans: Sequence[Span] = ()
        for path, module in _linear_layers(model).items():
            module.register_forward_hook(_adding(self, path))

    @contextmanager
    def set(self, spans: Sequence[Span]) -> Iterator[None]:
        """Only inside the block; no token otherwise."""
        self._spans = spans
        try:
            yield
        finally:
            self._spans = ()

    def add(self, path: str, inputs: torch.Tensor, output: torch.Tensor) -> None:
        """output += scaling · B A inputs, in the adapter's precision, for the tokens (1, tokens, width) of a span."""
        for span in self._spans:
            part = span.weights.parts.get(path)
            if part is not None:
                a, b, scaling = part
                change = linear(linear(inputs[:, span.begin : span.end].to(a.dtype), a), b)
                output[:, span.begin : span.end].add_(change, alpha=scaling)


def _adding(switch: LoraSwitch, path: str) -> Any:
    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if switch._spans:
            switch.add(path, inputs[0], output)

    return hook


def is_plain(config: Any, folder_keys: Sequence[str], model: torch.nn.Module) -> bool:
    """Whether an adapter is matrices A and B beside linear layers of the decoder, and nothing more."""
    if not isinstance(config, LoraConfig):
        return False
    plain = LoraConfig()
    for field in dataclasses.fields(config):
        if field.name not in UNDERSTOOD and (getattr(config, field.name) or None) != (
            getattr(plain, field.name, None) or None
        ):
            return False
    layers = _linear_layers(model)
    found = [KEY.fullmatch(key) for key in folder_keys]
    return bool(found) and all(match is not None and match["path"] in layers for match in found)


def read_lora(file: Path, config: LoraConfig, model: Any) -> LoraWeights | None:
    """The weights in an adapter's file, on the model's device; None when it is not plain. Raises UserError.

    Half precision is widened to float32, as PEFT does.
    """
    tensors = load_file(file)
    if not is_plain(config, list(tensors), model):
        return None
    layers, sides = _linear_layers(model), {}
    for key, tensor in tensors.items():
        match = KEY.fullmatch(key)
        assert match is not None
        sides[match["path"], match["side"]] = tensor
    parts = {}
    for path in dict.fromkeys(path for path, _ in sides):
        a, b = sides.get((path, "A")), sides.get((path, "B"))
        layer = layers[path]
        if a is None or b is None or (a.shape[1], b.shape[0]) != (layer.in_features, layer.out_features):
            raise UserError(
                f"The adapter does not fit the model: {path} has another size there.",
                "Choose an adapter of this base model.",
            )
        parts[path] = (_settle(a, model.device), _settle(b, model.device), _scaling(config, path))
    return LoraWeights(parts, sum(a.nbytes + b.nbytes for a, b, _ in parts.values()))


def _settle(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    # A copy of its own: the tensors of a file hold all of its memory.
    return tensor.to(device, torch.float32 if half else tensor.dtype, copy=True).contiguous()


def _scaling(config: LoraConfig, path: str) -> float:
    rank = config.rank_pattern.get(get_pattern_key(list(config.rank_pattern), path), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(list(config.alpha_pattern), path), config.lora_alpha)
    return float(alpha / math.sqrt(rank) if config.use_rslora else alpha / rank)


def _linear_layers(model: torch.nn.Module) -> dict[str, Any]:
    """Path → linear layer (also bitsandbytes') within the decoder's layers; the head sees fewer tokens."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in path
    }
