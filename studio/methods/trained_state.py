"""The trained weights by their own names: what a checkpoint keeps when PEFT's adapter file is not enough."""

from typing import Any


def read_trained(model: Any) -> dict[str, Any]:
    """name → tensor of every weight that learns."""
    return {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}


def write_trained(model: Any, tensors: dict[str, Any]) -> None:
    """Put them back. Raises KeyError when one is missing: the checkpoint is of another model."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data.copy_(tensors[name])
