"""Linear layers on fake tensors that take and keep the bytes of the real ones: 4-bit, 8-bit, sparse."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bitsandbytes
import torch
from torch import nn

OUTLIERS = 6.0  # transformers' llm_int8_threshold


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


class _Scaled(torch.autograd.Function):
    """bitsandbytes' MatMul8bitLt where no column is an outlier: the input becomes float16 and codes, the product is
    int32, float16 and then of the input's dtype; the input is kept.

    It is kept outside `save_for_backward`, as there: checkpointing (use_reentrant=False) does not see and drop it.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, layer: "EightBits") -> torch.Tensor:
        flat = values.reshape(-1, values.shape[-1])
        codes, scales = _codes(flat.to(torch.float16))
        whole = torch.empty(flat.shape[0], layer.out_features, dtype=torch.int32)
        product = torch.empty(whole.shape, dtype=torch.float16)
        result = product.to(values.dtype)
        del codes, scales, whole, product
        ctx.layer, ctx.kept = layer, flat
        return result.reshape(*values.shape[:-1], layer.out_features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1]).contiguous()
        whole = ctx.layer.weight.to(ctx.kept.dtype, copy=True)
        return (gradient.to(ctx.kept.dtype) @ whole).view(*gradients[0].shape[:-1], ctx.layer.in_features), None


def _codes(half: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scales, codes = torch.empty(half.shape[0]), torch.empty(half.shape, dtype=torch.int8)
    outliers = half.abs() >= OUTLIERS
    del outliers
    return codes, scales


class EightBits(bitsandbytes.nn.Linear8bitLt):
    """bitsandbytes' 8-bit layer in bytes: one a weight and a float32 scale a row. PEFT takes it for one."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.index = linear.in_features, linear.out_features, None
        self.state = bitsandbytes.MatmulLtState()
        self.state.has_fp16_weights, self.state.threshold = False, OUTLIERS
        codes = torch.empty(linear.out_features, linear.in_features, dtype=torch.int8)
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.register_buffer("scales", torch.empty(linear.out_features))
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = _Scaled.apply(x, self)
        return result if self.bias is None else result + self.bias.to(result.dtype)


class _SparseSum(torch.autograd.Function):
    """`weight.clone()` and on it a sparse tensor: float32 values make torch add in float32, on two dense copies
    (add_out_dense_sparse_cuda). The gradient is dense, in the weight's dtype and again in that of the values."""

    @staticmethod
    def forward(ctx: Any, dense: torch.Tensor, values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        result = dense.clone()
        wide = [torch.empty(dense.shape, dtype=values.dtype) for _ in range(2 if dense.dtype != values.dtype else 0)]
        ctx.save_for_backward(indices.to(torch.int64), values * 1.0)
        del wide
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor, None]:
        _, values = ctx.saved_tensors
        wide = gradients[0].to(values.dtype)
        result = torch.empty_like(values)
        del wide
        return None, result, None


class SparseLinear(nn.Module):
    """PEFT's SHiRA layer: a sparse change of `base`'s weights, added to a dense copy of them in every forward pass.

    PEFT draws its mask by what lies in tensors, which fake ones do not have.
    """

    def __init__(self, base: nn.Linear, r: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.base, self.disabled = base, False
        count = r * (base.in_features + base.out_features)
        self.change = nn.Parameter(torch.empty(count, dtype=dtype))
        self.register_buffer("indices", torch.empty(2, count, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.disabled:
            return self.base(x)
        weight: torch.Tensor = self.base.weight
        if not weight.is_floating_point():  # unpacked, as PEFT does to a quantized one
            weight = torch.empty(self.base.out_features, self.base.in_features, dtype=torch.bfloat16)
        return nn.functional.linear(x, _SparseSum.apply(weight, self.change, self.indices), self.base.bias)


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """The model without its sparse changes."""
    layers = [part for part in model.modules() if isinstance(part, SparseLinear)]
    for layer in layers:
        layer.disabled = True
    try:
        yield
    finally:
        for layer in layers:
            layer.disabled = False
