"""An adapter's folder opened to be looked into: which weights it changes; each change is read when asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.adapters.bundle import CONFIG, WEIGHTS
from studio.adapters.configuration import Stated, is_feedforward, read_configuration
from studio.adapters.fitting import BaseShapes, Layout, Parts, lay_out, rank_of
from studio.adapters.tensor_file import Array, Tensor, read, read_header, row_blocks
from studio.adapters.updates import Blocks, Dense, LowRank, Matrix, Sparse, Update
from studio.errors import UserError

# Why there is no ΔW, by kind; keys of the page's words as well.
NO_UPDATE = {
    "BOTTLENECK": "bottleneck",
    "PROMPT_TUNING": "prompt",
    "P_TUNING": "prompt",
    "PREFIX_TUNING": "prefix",
}
REASONS = {
    "bottleneck": "A bottleneck adapter is a small network behind a layer, with a curve in it: it changes no weight.",
    "prompt": "A soft prompt stands before the text as vectors: it changes no weight.",
    "prefix": "A prefix stands in the cache of keys and values: it changes no weight.",
    "base": "What it changes can only be told with its base model, which is not on this machine.",
}


@dataclass(frozen=True)
class Opened:
    """One adapter; `base` None when its base model is not on this machine."""

    folder: Path
    stated: Stated
    layout: Layout
    base: BaseShapes | None

    @property
    def reason(self) -> str:
        """Why nothing of it can be measured, a key of REASONS; "" when something can."""
        kind = NO_UPDATE.get(self.stated.peft_type, "")
        return kind or ("" if self.modules() else "base")

    def modules(self) -> list[str]:
        """The modules whose change can be told."""
        if self.stated.peft_type in NO_UPDATE:
            return []
        needs_base = self.stated.peft_type == "IA3" or bool(self.stated.settings.get("use_dora"))
        parts = [] if needs_base and self.base is None else list(self.layout.parts)
        return parts + [name for name in self.layout.whole if self._saved_over(name) is not None]

    def update(self, module: str) -> Update:
        """ΔW of one of `modules`, its factors in memory. Raises UserError when the base has no such weight."""
        if module in self.layout.whole:
            weight = self._saved_over(module)
            assert weight is not None
            return _difference(self.layout.whole[module]["weight"], weight)
        parts = self.layout.parts[module]
        if "ia3_l" in parts:
            return _scaled(read(parts["ia3_l"]).ravel(), self._weight(module), is_feedforward(module, self.stated))
        if "shira_weight" in parts:
            return self._sparse(module, parts)
        low = self._low_rank(module, parts)
        if "lora_magnitude_vector" in parts:
            return _with_magnitudes(low, read(parts["lora_magnitude_vector"]), self._weight(module))
        return low

    def rank(self, module: str) -> int | None:
        """The rank of the factors; None where there are none."""
        parts = self.layout.parts.get(module, {})
        first = parts.get("lora_A") or parts.get("lora_embedding_A")
        return first.shape[0] if first else None

    def _low_rank(self, module: str, parts: Parts) -> LowRank:
        if "lora_embedding_A" in parts:
            first, second = read(parts["lora_embedding_A"]), read(parts["lora_embedding_B"])
            return LowRank(_exact(first.T) * self._scale(module, len(first)), _exact(second.T))
        down, up = read(parts["lora_A"]), read(parts["lora_B"])
        if "lora_E" in parts:
            down = down * read(parts["lora_E"])
        return LowRank(_exact(up) * self._scale(module, len(down)), _exact(down))

    def _scale(self, module: str, rank: int) -> float:
        """What PEFT multiplies BA with: alpha / r; alpha / √r for rsLoRA; AdaLoRA divides by the rank that is left."""
        settings = self.stated.settings
        alpha = float(settings.get("lora_alpha") or 0)
        for ending, value in (settings.get("alpha_pattern") or {}).items():
            if module == ending or module.endswith(f".{ending}"):
                alpha = float(value)
                break
        if self.stated.peft_type == "ADALORA":
            return (alpha if alpha > 0 else float(rank)) / (rank + 1e-5)
        stated = rank_of(module, self.stated) or rank
        return alpha / (math.sqrt(stated) if settings.get("use_rslora") else stated)

    def _sparse(self, module: str, parts: Parts) -> Sparse:
        where = read_indices(parts["shira_indices"])
        shape = self.base.shape(module) if self.base else None
        rows, columns = shape if shape else (int(where[0].max()) + 1, int(where[1].max()) + 1)
        return Sparse(where, _exact(read(parts["shira_weight"])), (rows, columns))

    def _weight(self, module: str) -> "Weight":
        assert self.base is not None
        tensor, shape = self.base.weight(module), self.base.shape(module)
        if tensor is None or shape is None:
            raise UserError(f"The base model has no layer {module}.", "The adapter is for another base model.")
        return Weight(tensor, turned=tensor.shape != shape)

    def _saved_over(self, module: str) -> "Weight | None":
        """The base's weight that a whole saved module takes the place of."""
        mine = self.layout.whole[module].get("weight")
        tensor = self.base.weight(module) if self.base else None
        return Weight(tensor) if tensor is not None and mine is not None and tensor.shape == mine.shape else None


@dataclass(frozen=True)
class Weight:
    """A weight of the base as blocks of rows (outputs, inputs); `turned`: the file has it the other way round."""

    tensor: Tensor
    turned: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.tensor.shape
        return (columns, rows) if self.turned else (rows, columns)

    def blocks(self) -> Blocks:
        """(number of the first row, rows)."""
        if not self.turned:
            yield from row_blocks(self.tensor)
            return
        whole = read(self.tensor).T
        step = max(1, 4 * 1024**2 // whole.shape[1])
        for first in range(0, len(whole), step):
            yield first, whole[first : first + step]


def open_adapter(folder: Path, base: BaseShapes | None) -> Opened:
    """Open the adapter in a folder of ours. Raises UserError when it is of a kind that is not known here."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder.name} has no {name}.", "Choose a finished adapter from the list.")
    stated = read_configuration((folder / CONFIG).read_bytes(), any_task=True)
    return Opened(folder, stated, lay_out(read_header(folder / WEIGHTS), stated), base)


def read_indices(tensor: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Whole numbers as they are: as float32 those above 16 million would be rounded."""
    kind = "<i4" if tensor.dtype == "I32" else "<i8"
    return (
        np.fromfile(tensor.file, dtype=kind, count=tensor.size, offset=tensor.start).reshape(tensor.shape).astype(int)
    )


def _exact(values: Array) -> Matrix:
    return values.astype(np.float64)


def _scaled(scale: Array, weight: Weight, inputs: bool) -> Dense:
    """(IA)³: ΔW = diag(l - 1) W where outputs are scaled, W diag(l - 1) where inputs are."""
    change = _exact(scale) - 1

    def blocks() -> Blocks:
        for first, block in weight.blocks():
            yield first, block * (change if inputs else change[first : first + len(block), None])

    return Dense(weight.shape, blocks)


def _with_magnitudes(low: LowRank, magnitude: Array, weight: Weight) -> Dense:
    """DoRA: W' = m (W + sBA) / ‖W + sBA‖ by rows (arXiv 2402.09353), ΔW = W' - W."""

    def blocks() -> Blocks:
        for first, block in weight.blocks():
            moved = block + low.rows(first, first + len(block))
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            yield first, moved * (magnitude.ravel()[first : first + len(block), None] / length) - block

    return Dense(weight.shape, blocks)


def _difference(mine: Tensor, weight: Weight) -> Dense:
    """A module that was saved whole: what it has more than the base's."""
    make: Callable[[], Blocks] = lambda: (  # noqa: E731 - a generator that starts anew at each call
        (first, _exact(block) - its) for (first, block), (_, its) in zip(row_blocks(mine), weight.blocks(), strict=True)
    )
    return Dense(weight.shape, make)
