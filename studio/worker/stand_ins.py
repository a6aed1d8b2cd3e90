"""What keeps on a CPU's fake tensors exactly what the CUDA kernels keep: attention, dropout, 8-bit Adam."""

from typing import Any

import torch
from torch import nn


class FlashAttention(torch.autograd.Function):
    """Keeps q, k, v, output and log-sum-exp; its backward accumulates dq in float32 and repeats dk, dv for groups."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, torch.empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v, _, lse = ctx.saved_tensors
        kept = [torch.empty_like(q), torch.empty(q.shape, dtype=torch.float32), torch.empty_like(lse)]
        kept += [torch.empty_like(k), torch.empty_like(v)]
        if k.shape[1] != q.shape[1]:
            kept += [torch.empty_like(q), torch.empty_like(q)]
        return kept[0], kept[3], kept[4]


class MaskedAttention(torch.autograd.Function):
    """The memory-efficient kernel, which a mask leads to: keeps the mask as numbers as well."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, bias, out, torch.empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, _, _, lse = ctx.saved_tensors
        extra = torch.empty_like(lse)
        result = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), None
        del extra
        return result


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Stands for transformers' sdpa: flash without a mask, memory-efficient with one. (batch, heads, length, width)."""
    if torch.is_autocast_enabled("cpu"):  # on autocast's list of 16-bit operators
        query, key, value = query.bfloat16(), key.bfloat16(), value.bfloat16()
    if attention_mask is None:
        return FlashAttention.apply(query, key, value).transpose(1, 2).contiguous(), None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = _repeat(key, groups), _repeat(value, groups)
    bias = torch.empty(query.shape[0], 1, query.shape[2], key.shape[2], dtype=query.dtype)
    return MaskedAttention.apply(query, key, value, bias).transpose(1, 2).contiguous(), None


def _repeat(states: torch.Tensor, groups: int) -> torch.Tensor:
    batch, heads, length, width = states.shape
    wide = states[:, :, None].expand(batch, heads, groups, length, width)
    return wide.reshape(batch, heads * groups, length, width)


class EightBitAdam(torch.optim.Optimizer):
    """bitsandbytes' states: two bytes a value and a scale per 256; small tensors and `embeddings` in 32 bits."""

    def __init__(self, parameters: list[nn.Parameter], embeddings: nn.Parameter | None) -> None:
        super().__init__(parameters, {})
        self.embeddings = embeddings

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            if parameter.grad is None or state:
                continue
            count = parameter.numel()
            small = count < 4096 or parameter is self.embeddings
            for name in ("first", "second"):
                state[name] = torch.zeros(count, dtype=torch.float32 if small else torch.uint8)
                if not small:
                    state[f"{name}_scale"] = torch.zeros(-(-count // 256))


def dropout(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """CUDA's dropout, which keeps a mask of one byte; the CPU's keeps its noise in two."""
    return torch.native_dropout(values, p, training)[0] if training and p > 0 else values


def convert(module: nn.Module, change: Any, recurse: bool = True) -> nn.Module:
    """`Module._apply` that replaces parameters: torch's own swaps them, which fake tensors do not allow."""
    for child in module.children() if recurse else ():
        convert(child, change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                changed = change(parameter)
            if changed is not parameter:
                module._parameters[name] = nn.Parameter(changed.detach(), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module
