"""Looking into adapters: how much each layer changes, in how many directions, and how alike two adapters are."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from studio.adapters.opened import Opened, Weight
from studio.adapters.updates import LowRank, Update, dot, effective_rank, norm, stable_rank
from studio.errors import UserError
from studio.workspace import read_json, write_json

MOST = 8  # adapters at once
SHOWN = 64  # singular values
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks?)\.(\d+)\.(.+)$")

Tell = Callable[[float, dict[str, Any]], None]


@dataclass
class BaseNorms:
    """Norms of a base model's weights, kept in a file of its fingerprint: reading them takes a pass over the model."""

    file: Path
    _known: dict[str, float] = field(default_factory=dict)
    _new: bool = False

    def __post_init__(self) -> None:
        self._known = read_json(self.file) or {}

    def of(self, module: str, weight: Weight) -> float:
        """The Frobenius norm of a module's weight."""
        if module not in self._known:
            squares = (float((block.astype(np.float64) ** 2).sum()) for _, block in weight.blocks())
            self._known[module] = float(np.sqrt(sum(squares)))
            self._new = True
        return self._known[module]

    def keep(self) -> None:
        """Write down what is new."""
        if self._new:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(self.file, self._known)


def look_into(adapters: Sequence[Opened], norms: BaseNorms | None, tell: Tell) -> dict[str, Any]:
    """Everything at once: {"adapters": [{"reason", "norm", "relative", "layers"}], "cosine", "pairs"}.

    `layers`: one entry a module, see `_measured`. `cosine`: (n, n), None where one of the two changes nothing.
    `pairs`: {"i-j": {module: cosine}}. Adapters must be of one base model. One module is in memory at a time.
    """
    if not 1 <= len(adapters) <= MOST:
        raise UserError(f"{len(adapters)} adapters cannot be looked into at once.", f"Choose 1 to {MOST}.")
    modules = sorted({name for one in adapters for name in one.modules()}, key=_natural)
    count = len(adapters)
    products, layers = np.zeros((count, count)), [list[dict[str, Any]]() for _ in adapters]
    pairs: dict[str, dict[str, float | None]] = {f"{i}-{j}": {} for i in range(count) for j in range(i + 1, count)}
    has = [set(one.modules()) for one in adapters]
    for number, module in enumerate(modules):
        updates = {i: one.update(module) for i, one in enumerate(adapters) if module in has[i]}
        sizes = {i: norm(update) for i, update in updates.items()}
        for i, update in updates.items():
            layers[i].append(_measured(adapters[i], module, update, sizes[i], norms))
        for i, j, product in _products(updates, sizes):
            products[i, j] += product
            if i < j:
                pairs[f"{i}-{j}"][module] = _cosine(product, sizes[i], sizes[j])
        tell((number + 1) / len(modules), {"module": module})
    if norms is not None:
        norms.keep()
    lengths = np.sqrt(np.diag(products))
    cosine = [[_cosine(products[min(i, j), max(i, j)], lengths[i], lengths[j]) for j in range(count)]
              for i in range(count)]  # fmt: skip
    whole = [_whole(one, rows) for one, rows in zip(adapters, layers, strict=True)]
    return {"adapters": whole, "cosine": cosine, "pairs": pairs}


def _measured(opened: Opened, module: str, update: Update, size: float, norms: BaseNorms | None) -> dict[str, Any]:
    """One module: its place, ‖ΔW‖, that of the base's weight, their ratio, and in how many directions it changes."""
    found = LAYER.search(module)
    weight = opened.base.weight(module) if opened.base else None
    below = norms.of(module, Weight(weight)) if norms and weight is not None and len(weight.shape) == 2 else None
    singular = update.singular_values() if isinstance(update, LowRank) else None
    return {
        "module": module,
        "layer": int(found[1]) if found else None,
        "part": found[2] if found else module,
        "norm": size,
        "base_norm": below,
        "relative": size / below if below else None,
        "rank": opened.rank(module),
        "effective_rank": None if singular is None else effective_rank(singular),
        "stable_rank": None if singular is None else stable_rank(singular),
        "singular": None if singular is None else [float(f"{value:.6g}") for value in singular[:SHOWN]],
    }


def _products(updates: dict[int, Update], sizes: dict[int, float]) -> list[tuple[int, int, float]]:
    """(i, j, scalar product) of every pair with i ≤ j. Raises UserError when shapes differ."""
    found = [(i, i, size**2) for i, size in sizes.items()]
    for i, one in updates.items():
        for j, other in updates.items():
            if i < j:
                if one.shape != other.shape:
                    raise UserError("These adapters change weights of different shapes.", "Choose those of one base.")
                found.append((i, j, dot(one, other)))
    return found


def _whole(opened: Opened, rows: list[dict[str, Any]]) -> dict[str, Any]:
    size = float(np.sqrt(sum(row["norm"] ** 2 for row in rows)))
    below = [row["base_norm"] for row in rows]
    base = float(np.sqrt(sum(one**2 for one in below))) if below and None not in below else None
    return {
        "reason": opened.reason,
        "kind": opened.stated.peft_type,
        "norm": size,
        "relative": size / base if base else None,
        "layers": rows,
    }


def _cosine(product: float, one: float, other: float) -> float | None:
    """None where one of the two is nothing: it has no direction."""
    if one <= 0 or other <= 0:
        return None
    return float(np.clip(product / (one * other), -1, 1))


def _natural(module: str) -> list[tuple[int, str]]:
    """layers.2 before layers.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in module.split(".")]
