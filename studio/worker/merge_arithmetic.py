"""The updates of several adapters → one: PEFT's arithmetic on the matrices of one layer, and what came of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft.utils import merge_utils

from studio.methods.merging import MERGE_METHODS
from studio.methods.options import Options

EXACT_SVD = 2048  # the smaller side of a matrix up to which all of its directions are computed
OVERSAMPLING, POWER_ITERATIONS = 32, 4
RANK = "svd_rank"  # the one option that is not the arithmetic's


@dataclass(frozen=True)
class Update:
    """One adapter's part of one layer: `weight` · `scaling` · B·A, with A (r, in) and B (out, r) in float32."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    weight: float


Factors = tuple[torch.Tensor, torch.Tensor]


def merge_layer(updates: Sequence[Update], options: Options, rank: int) -> Factors:
    """(A (rank, in), B (out, rank)) of the merged update, whose scaling is 1; rows that are not needed are zero."""
    method = MERGE_METHODS[options.name]
    if method.acts_on == "factors":
        return pad(merge_factors(updates, options), rank)
    if method.acts_on == "stack":
        return pad(stack(updates), rank)
    if method.arithmetic == "task_arithmetic":
        return pad(cut_stack(stack(updates), rank), rank)
    weights = torch.tensor([update.weight for update in updates])
    deltas = [update.scaling * (update.b @ update.a) for update in updates]
    return pad(cut(combine(deltas, weights, options), rank), rank)


def stack(updates: Sequence[Update]) -> Factors:
    """The weighted sum as it is: A one below the other, B side by side (PEFT's "cat")."""
    a = torch.cat([update.weight * update.scaling * update.a for update in updates], dim=0)
    return a, torch.cat([update.b for update in updates], dim=1)


def merge_factors(updates: Sequence[Update], options: Options) -> Factors:
    """A of all A, B of all B. Each gets the root of the weight, one of them the sign, as in PEFT."""
    full = [update.weight * update.scaling for update in updates]
    roots = torch.tensor([math.sqrt(abs(value)) for value in full])
    signs = torch.tensor([math.copysign(1.0, value) for value in full])
    a = combine([update.a for update in updates], roots * signs, options)
    return a, combine([update.b for update in updates], roots, options)


def cut_stack(factors: Factors, rank: int) -> Factors:
    """The best approximation of B·A of a rank, without B·A: QR of both, then the SVD of the small middle."""
    a, b = factors
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.T)
    u, s, vh = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    return vh[:rank] @ q_a.T, q_b @ (u[:, :rank] * s[:rank])


def cut(delta: torch.Tensor, rank: int) -> Factors:
    """The strongest `rank` directions of an update (out, in); of large ones by randomized SVD (arXiv 0909.4061)."""
    if min(delta.shape) <= EXACT_SVD:
        u, s, vh = torch.linalg.svd(delta, full_matrices=False)
    else:
        u, s, v = torch.svd_lowrank(delta, q=min(rank + OVERSAMPLING, *delta.shape), niter=POWER_ITERATIONS)
        vh = v.T
    return vh[:rank], u[:, :rank] * s[:rank]


def pad(factors: Factors, rank: int) -> Factors:
    """The same with rows and columns of zeros up to the rank: PEFT wants one rank in all layers."""
    a, b = factors
    missing = rank - a.shape[0]
    if missing <= 0:
        return a, b
    return torch.cat([a, a.new_zeros(missing, a.shape[1])]), torch.cat([b, b.new_zeros(b.shape[0], missing)], dim=1)


def merge_vectors(vectors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """(IA)³: factors that do nothing at 1. What each does beyond that adds up; PEFT adds the factors themselves, which
    is the same where the weights add up to 1, and scales the whole layer where they do not."""
    parts = [weight * (vector - 1) for vector, weight in zip(vectors, weights, strict=True)]
    return 1 + torch.stack(parts).sum(dim=0)


def squared_norm(factors: Factors) -> float:
    """‖B·A‖² (Frobenius) = Σ (A·Aᵀ) ∘ (Bᵀ·B): two small matrices instead of a large one."""
    a, b = (factor.double() for factor in factors)
    return float(((a @ a.T) * (b.T @ b)).sum())


def squared_distance(one: Factors, other: Factors) -> float:
    """‖B₁·A₁ − B₂·A₂‖²."""
    return squared_norm((torch.cat([one[0], other[0]]), torch.cat([one[1], -other[1]], dim=1)))


def combine(tensors: list[torch.Tensor], weights: torch.Tensor, options: Options) -> torch.Tensor:
    """PEFT's arithmetic of a method on tensors of one shape."""
    function = getattr(merge_utils, MERGE_METHODS[options.name].arithmetic)
    return function(tensors, weights, **{name: v for name, v in options.library_options().items() if name != RANK})
