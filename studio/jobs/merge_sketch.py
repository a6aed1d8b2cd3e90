"""A method at work on a sample of every layer: numpy twins of PEFT's arithmetic (`peft.utils.merge_utils`)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from studio.methods.merging import MERGE_METHODS, MergeMethod
from studio.methods.options import Options

Matrix = npt.NDArray[np.float32]
Factors = tuple[Matrix, Matrix]


@dataclass(frozen=True)
class Sampled:
    """Some columns of A and rows of B of one layer, for each adapter that has it (None for others).

    `stands_for`: entries of the layer for each sampled one.
    """

    parts: Sequence[Factors | None]
    stands_for: float

    def deltas(self) -> list[Matrix]:
        """B·A of each adapter on the sample; zeros where it leaves the layer alone."""
        a, b = next(part for part in self.parts if part is not None)
        nothing = np.zeros((b.shape[0], a.shape[1]), np.float32)
        return [nothing if part is None else part[1] @ part[0] for part in self.parts]


def merged_sample(
    layers: Sequence[Sampled], weights: npt.NDArray[np.float64], options: Options, seed: int
) -> tuple[list[tuple[Matrix, float]], list[tuple[Matrix, float]]]:
    """(the weighted sum, what the method makes) on the sample: a matrix and what it stands for, layer by layer.

    A cut to a rank is left out: it takes the whole layer. So is what DARE draws: its chance is as good as another.
    """
    method, draw = MERGE_METHODS[options.name], np.random.default_rng(seed)
    summed, merged = [], []
    for layer in layers:
        deltas = layer.deltas()
        total = sum_of(deltas, weights)
        summed.append((total, layer.stands_for))
        merged.append((_merge(layer, deltas, weights, options, method, draw), layer.stands_for))
    return summed, merged


def _merge(
    layer: Sampled,
    deltas: list[Matrix],
    weights: npt.NDArray[np.float64],
    options: Options,
    method: MergeMethod,
    draw: np.random.Generator,
) -> Matrix:
    there = [part is not None for part in layer.parts]
    if method.acts_on != "factors":
        chosen = [delta for delta, is_there in zip(deltas, there, strict=True) if is_there]
        return combine(chosen, weights[there], options, draw)
    roots = np.sqrt(np.abs(weights[there]))
    parts = [part for part in layer.parts if part is not None]
    a = combine([part[0] for part in parts], roots * np.sign(weights[there]), options, draw)
    b = combine([part[1] for part in parts], roots, options, draw)
    return b @ a


def combine(
    tensors: Sequence[Matrix], weights: npt.NDArray[np.float64], options: Any, draw: np.random.Generator
) -> Matrix:
    """One tensor of several of one shape, by the method's arithmetic."""
    arithmetic = MERGE_METHODS[options.name].arithmetic
    if arithmetic == "task_arithmetic":
        return sum_of(tensors, weights)
    thinned = list(_thinned(tensors, arithmetic, float(options.density), draw))
    if arithmetic in ("ties", "dare_ties"):
        return elect(thinned, weights, options.majority_sign_method)
    return sum_of(thinned, weights)


def sum_of(tensors: Sequence[Matrix], weights: npt.NDArray[np.float64]) -> Matrix:
    """Σ weight · tensor"""
    total: Matrix = sum(
        (np.float32(weight) * tensor for tensor, weight in zip(tensors, weights, strict=True)),
        start=np.zeros_like(tensors[0]),
    )
    return total


def _thinned(tensors: Sequence[Matrix], arithmetic: str, density: float, draw: np.random.Generator) -> Iterator[Matrix]:
    for tensor in tensors:
        if density >= 1:
            yield tensor
        elif arithmetic.startswith("dare"):
            yield np.where(draw.random(tensor.shape) < density, tensor / np.float32(density), np.float32(0))
        else:
            yield trim(tensor, density)


def trim(tensor: Matrix, density: float) -> Matrix:
    """The largest share of the entries; zeros in place of the others."""
    kept = int(density * tensor.size)
    if not kept:
        return np.zeros_like(tensor)
    flat = np.abs(tensor).ravel()
    chosen = np.argpartition(flat, flat.size - kept)[flat.size - kept :]
    mask = np.zeros(flat.size, bool)
    mask[chosen] = True
    return np.where(mask.reshape(tensor.shape), tensor, np.float32(0))


def elect(tensors: Sequence[Matrix], weights: npt.NDArray[np.float64], by: str) -> Matrix:
    """TIES (arXiv 2306.01708): the sign of the greater sum or number, then the mean of the entries that have it."""
    stacked = np.stack(tensors)
    votes = stacked.sum(axis=0) if by == "total" else np.sign(stacked).sum(axis=0)
    agrees = np.sign(stacked) == np.where(votes >= 0, 1, -1)
    weighted = stacked * agrees * weights.astype(np.float32).reshape(-1, *[1] * (stacked.ndim - 1))
    mean: Matrix = weighted.sum(axis=0) / np.maximum(agrees.sum(axis=0), 1).astype(np.float32)
    return mean
