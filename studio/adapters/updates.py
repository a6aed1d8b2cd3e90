"""What an adapter adds to a weight, ΔW of shape (outputs, inputs), and scalar products of two such changes.

Low rank: by r × r Gram matrices, without ever making ΔW. Others: a block of rows at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating[Any]]
Blocks = Iterator[tuple[int, Matrix]]


@dataclass(frozen=True)
class LowRank:
    """ΔW = left @ right: (outputs, r) and (r, inputs)."""

    left: Matrix
    right: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    def rows(self, first: int, last: int) -> Matrix:
        """Rows `first` to before `last` of ΔW."""
        made: Matrix = self.left[first:last] @ self.right
        return made

    def singular_values(self) -> Matrix:
        """All r of them that may be more than 0, the largest first: those of R₁R₂ᵀ, left = Q₁R₁ and rightᵀ = Q₂R₂."""
        first, second = np.linalg.qr(self.left)[1], np.linalg.qr(self.right.T)[1]
        found: Matrix = np.linalg.svd(first @ second.T, compute_uv=False)
        return found


@dataclass(frozen=True)
class Sparse:
    """ΔW has `values` at (rows, columns), and is 0 elsewhere."""

    where: npt.NDArray[np.int64]  # (2, n)
    values: Matrix
    shape: tuple[int, int]

    def rows(self, first: int, last: int) -> Matrix:
        """Rows `first` to before `last` of ΔW."""
        block = np.zeros((last - first, self.shape[1]))
        inside = (self.where[0] >= first) & (self.where[0] < last)
        block[self.where[0][inside] - first, self.where[1][inside]] = self.values[inside]
        return block

    def flat(self) -> npt.NDArray[np.int64]:
        """The place of each value in the matrix written out row by row."""
        places: npt.NDArray[np.int64] = self.where[0] * self.shape[1] + self.where[1]
        return places


@dataclass(frozen=True)
class Dense:
    """ΔW as blocks of rows, made anew each time they are asked for."""

    shape: tuple[int, int]
    blocks: Callable[[], Blocks]


Update = LowRank | Sparse | Dense


def dot(one: Update, other: Update) -> float:
    """The sum of the products of all entries of two changes of the same shape."""
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        # ⟨B₁A₁, B₂A₂⟩ = trace(A₁ᵀB₁ᵀB₂A₂) = Σ (B₁ᵀB₂) ∘ (A₁A₂ᵀ)
        return float(((one.left.T @ other.left) * (one.right @ other.right.T)).sum())
    if isinstance(other, Dense) and not isinstance(one, Dense):
        one, other = other, one
    if isinstance(one, Dense):
        return _by_blocks(one, other)
    if isinstance(one, LowRank):
        one, other = other, one
    assert isinstance(one, Sparse)
    if isinstance(other, Sparse):
        _, mine, its = np.intersect1d(one.flat(), other.flat(), return_indices=True)
        return float(one.values[mine] @ other.values[its])
    assert isinstance(other, LowRank)
    rows, columns = one.where
    return sum(
        float(one.values @ (left[rows] * right[columns])) for left, right in zip(other.left.T, other.right, strict=True)
    )


def norm(update: Update) -> float:
    """The Frobenius norm of ΔW."""
    return float(np.sqrt(max(0.0, dot(update, update))))


def effective_rank(singular: Matrix) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli 2007); 0 for no change at all."""
    total = float(singular.sum())
    if total <= 0:
        return 0.0
    shares = singular[singular > 0] / total
    return float(np.exp(-(shares * np.log(shares)).sum()))


def stable_rank(singular: Matrix) -> float:
    """‖ΔW‖² / σ₁²: how many directions as strong as the strongest one would have that norm; 0 for no change."""
    return float((singular**2).sum() / singular[0] ** 2) if len(singular) and singular[0] > 0 else 0.0


def _by_blocks(one: Dense, other: Update) -> float:
    if isinstance(other, Dense):
        pairs = zip(one.blocks(), other.blocks(), strict=True)
        return sum(float((mine * its).sum(dtype=np.float64)) for (_, mine), (_, its) in pairs)
    return sum(
        float((block * other.rows(first, first + len(block))).sum(dtype=np.float64)) for first, block in one.blocks()
    )
