"""A bottleneck adapter for PEFT, which has none: importing this file registers it. It needs torch and peft alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from peft import PeftType
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method
from torch import nn

NAME = "BOTTLENECK"


def _add_peft_type() -> None:
    """PeftType is a closed enumeration of strings; a method of one's own needs a member in it."""
    member = str.__new__(PeftType, NAME)
    member._name_, member._value_ = NAME, NAME
    PeftType._member_map_[NAME] = PeftType._value2member_map_[NAME] = member
    PeftType._member_names_.append(NAME)
    type.__setattr__(PeftType, NAME, member)


if NAME not in PeftType.__members__:
    _add_peft_type()


@dataclass
class BottleneckConfig(PeftConfig):
    """y + up(activation(down(y))) after each target, a linear layer with output y."""

    bottleneck_size: int = 64
    activation: str = "gelu"  # a function of torch.nn.functional
    target_modules: list[str] | str | None = field(default_factory=lambda: ["o_proj", "down_proj"])
    exclude_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType[NAME]


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear layer and the small networks of its adapters; input and output (…, out_features)."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.in_features, self.out_features = _features(base_layer)
        self.bottleneck_down: Any = nn.ModuleDict()
        self.bottleneck_up: Any = nn.ModuleDict()
        self.activations: dict[str, Any] = {}
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        """Add an adapter. Its second matrix is zero, so that it begins without effect."""
        down = nn.Linear(self.out_features, config.bottleneck_size)
        up = nn.Linear(config.bottleneck_size, self.out_features)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name] = down, up
        self.activations[adapter_name] = getattr(nn.functional, config.activation)
        self._move_adapter_to_device_of_base_layer(adapter_name)  # type: ignore[operator]
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)  # type: ignore[operator]

    def forward(self, x: torch.Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any) -> Any:
        output = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return output
        if adapter_names is not None:
            return self._each_row_its_own(output, adapter_names)
        for name in self.active_adapters:  # type: ignore[union-attr]
            if name in self.bottleneck_down:
                output = output + self._change(output, name)
        return output

    def _change(self, output: torch.Tensor, name: str) -> torch.Tensor:
        down = self.bottleneck_down[name]
        narrow = self.activations[name](down(output.to(down.weight.dtype)))
        change: torch.Tensor = self.bottleneck_up[name](narrow).to(output.dtype)
        return change

    def _each_row_its_own(self, output: torch.Tensor, adapter_names: list[str]) -> torch.Tensor:
        changed = output.clone()
        for name in set(adapter_names):
            if name in self.bottleneck_down:  # not "__base__"
                rows = [row for row, adapter in enumerate(adapter_names) if adapter == name]
                changed[rows] = output[rows] + self._change(output[rows], name)
        return changed


class BottleneckModel(BaseTuner):
    """A model whose targets have bottleneck adapters. They are not linear, so there is nothing to merge."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **optional_kwargs: Any,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def merge_and_unload(self, *args: Any, **kwargs: Any) -> nn.Module:
        raise NotImplementedError("A bottleneck adapter is not linear: it cannot be merged into the weights.")

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """`adapter_names` of a mixed batch reach every layer."""
        names = kwargs.pop("adapter_names", None)
        layers = [part for part in self.modules() if isinstance(part, BottleneckLayer)] if names is not None else []
        hooks = [part.register_forward_pre_hook(partial(_hand_on, names), with_kwargs=True) for part in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _hand_on(names: list[str], module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return args, {**kwargs, "adapter_names": names}


def _features(layer: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear layer or of transformers' Conv1D, which keeps its weight the other way round."""
    if hasattr(layer, "in_features"):
        return int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]
    return int(layer.nx), int(layer.nf)  # type: ignore[arg-type]


def _register() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if PeftType[NAME] not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=NAME.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel)


_register()
