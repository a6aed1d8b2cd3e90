"""What keeps on a CPU's fake tensors exactly what the CUDA kernels keep: attention, 4-bit layers, head, 8-bit Adam."""

from typing import Any

import bitsandbytes
import torch
from torch import nn

TILE_TOKENS, TILE_WORDS = 4096, 32768  # of TRL's fused head


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


class _Unpacked(torch.autograd.Function):
    """A product with weights that are unpacked for it, in both directions, and not kept."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, layer: "FourBits") -> torch.Tensor:
        ctx.layer = layer
        whole = torch.empty(layer.out_features, layer.in_features, dtype=torch.bfloat16)
        return nn.functional.linear(values.to(torch.bfloat16), whole)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        layer = ctx.layer
        whole = torch.empty(layer.out_features, layer.in_features, dtype=torch.bfloat16)
        return gradients[0].to(torch.bfloat16) @ whole, None


class FourBits(bitsandbytes.nn.Linear4bit):
    """bitsandbytes' 4-bit layer in bytes: half a byte a weight, its scales, its tables. PEFT takes it for one."""

    def __init__(self, linear: nn.Linear, *, double: bool) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.compute_dtype = torch.bfloat16
        count = self.in_features * self.out_features
        blocks = -(-count // 64)
        self.weight = nn.Parameter(torch.empty((count + 1) // 2, 1, dtype=torch.uint8), requires_grad=False)
        self.weight.compress_statistics, self.weight.quant_type = double, "nf4"  # type: ignore[attr-defined]
        scales = [torch.empty(blocks, dtype=torch.uint8 if double else torch.float32), torch.empty(16)]
        if double:
            scales += [torch.empty(-(-blocks // 256)), torch.empty(256), torch.empty(())]
        for index, scale in enumerate(scales):
            self.register_buffer(f"scale{index}", scale)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = _Unpacked.apply(x, self).to(x.dtype)
        return result if self.bias is None else result + self.bias.to(x.dtype)


class _FusedLoss(torch.autograd.Function):
    """TRL's chunked head: one tile of logits, seven numbers a token, gradients accumulated in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        tokens = hidden.shape[0]
        tile = torch.empty(min(tokens, TILE_TOKENS), TILE_WORDS, dtype=torch.bfloat16)
        numbers = [torch.empty(tokens) for _ in range(7)]
        words = _words(weight)
        ctx.save_for_backward(hidden, weight, numbers[0], numbers[1])
        del tile, words
        return numbers[2] * 1

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden, weight, _, _ = ctx.saved_tensors
        of_hidden = torch.zeros(hidden.shape)
        of_weight = torch.zeros(weight.shape) if ctx.needs_input_grad[1] else None
        tile = torch.empty(min(hidden.shape[0], TILE_TOKENS), TILE_WORDS, dtype=torch.bfloat16)
        words = _words(weight)
        del words
        result = of_hidden.to(hidden.dtype), None if of_weight is None else of_weight.to(weight.dtype)
        del tile
        return result


def _words(weight: torch.Tensor) -> torch.Tensor | None:
    """The 16-bit copy of the tile's words that float32 weights need under autocast."""
    if weight.dtype == torch.float32 and torch.is_autocast_enabled("cpu"):
        return torch.empty(TILE_WORDS, weight.shape[1], dtype=torch.bfloat16)
    return None


class FusedHead(nn.Module):
    """In place of the output head: keeps the hidden states that reach it, and makes their loss without logits."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.weight = head.weight
        self.hidden: torch.Tensor | None = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.hidden = hidden
        return hidden[..., :1].detach()

    def loss(self, share: float) -> torch.Tensor:
        """The loss of this share of the tokens. Must follow a forward pass."""
        assert self.hidden is not None
        hidden, self.hidden = self.hidden[:, :-1], None
        learned = max(1, round(hidden.shape[0] * hidden.shape[1] * share))
        index = torch.arange(learned)
        return _FusedLoss.apply(hidden.reshape(-1, hidden.shape[-1])[index], self.weight).sum()


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
