"""How large adapters' updates are and where they disagree, while the sliders move: numpy on the files, no torch.

Norms and cosines are exact: ‖B·A‖² = Σ (A·Aᵀ) ∘ (Bᵀ·B), which needs the small matrices alone. Signs, and what a method
makes of the updates, are seen on a fixed sample of rows and columns of every layer.
"""

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from studio.errors import UserError
from studio.jobs.merge_sketch import Factors, Sampled, merged_sample
from studio.jobs.merge_sources import Source, split_key
from studio.jobs.spec import MergeSpec

Matrix = npt.NDArray[np.float32]
DTYPES = {name: np.dtype(code) for name, code in {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}.items()}
SAMPLED = 48  # rows, and columns, of each layer
KEPT = 8  # choices of adapters whose figures are remembered


@dataclass(frozen=True)
class Measured:
    """Some adapters together: the inner products of their updates (n × n), and a sample of every layer."""

    gram: npt.NDArray[np.float64]
    layers: Sequence[Sampled]


class FigureDesk:
    """Reads the files of a choice of adapters once, whatever the sliders do; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, ...], Measured] = OrderedDict()

    def figures(self, sources: Sequence[Source], spec: MergeSpec) -> dict[str, Any]:
        """Norm of each adapter's update, cosine and sign conflict of each pair, norm of the merged update.

        {"adapters": [{"name", "norm", "weighted"}], "sum": norm of the weighted sum, "cosines": n × n, "conflicts":
        n × n, "conflict": share of entries in which any two disagree, "merged": norm, "deviation": ‖merged − sum‖ /
        ‖sum‖, "exact": whether the last two are no estimates}.
        """
        found = self._measured(sources)
        weights = np.array([source.weight for source in spec.sources])
        norms = np.sqrt(np.diag(found.gram))
        total = float(np.sqrt(max(0.0, weights @ found.gram @ weights)))
        summed, merged = merged_sample(found.layers, weights, spec.method, spec.seed)
        exact = spec.method.name == "cat"
        ratio, deviation = (1.0, 0.0) if exact else _compare(summed, merged)
        pairs, overall = conflicts(found.layers, weights)
        return {
            "adapters": [
                {"name": source.name, "norm": float(norm), "weighted": float(abs(weight) * norm)}
                for source, norm, weight in zip(sources, norms, weights, strict=True)
            ],
            "sum": total,
            "cosines": _cosines(found.gram, norms),
            "conflicts": pairs,
            "conflict": overall,
            "merged": total * ratio,
            "deviation": deviation,
            "exact": exact,
        }

    def _measured(self, sources: Sequence[Source]) -> Measured:
        key = tuple(_key(source) for source in sources)
        with self._lock:
            if key not in self._known:
                self._known[key] = measure(sources)
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
            return self._known[key]


def measure(sources: Sequence[Source]) -> Measured:
    """Inner products and sample of some LoRA adapters, layer by layer: no file is in memory as a whole.

    Raises UserError when a file is cut off or of another dtype.
    """
    gram = np.zeros((len(sources), len(sources)))
    layers = []
    with ExitStack() as stack:
        readers = [Reader(source, stack.enter_context(source.weights.open("rb"))) for source in sources]
        for module in sorted({module for reader in readers for module in reader.modules}):
            factors = [reader.factors(module) for reader in readers]
            gram += _products(factors)
            layers.append(sample(module, factors))
    return Measured(gram, layers)


class Reader:
    """An open adapter file, read matrix by matrix."""

    def __init__(self, source: Source, stream: BinaryIO) -> None:
        self._source, self._stream = source, stream
        self._start = 8 + int.from_bytes(stream.read(8), "little")
        self.modules: dict[str, dict[str, str]] = {}
        for name in source.header:
            module, part = split_key(name)
            self.modules.setdefault(module, {})[part] = name

    def factors(self, module: str) -> Factors | None:
        """(A (r, in), B (out, r)) with the root of the scaling in each; None when it leaves the layer alone."""
        parts = self.modules.get(module, {})
        if "A" not in parts or "B" not in parts:
            return None
        scaling = self._source.scaling(module)
        root = np.float32(abs(scaling) ** 0.5)
        return root * self._tensor(parts["A"]), np.float32(np.sign(scaling)) * root * self._tensor(parts["B"])

    def _tensor(self, name: str) -> Matrix:
        entry = self._source.header[name]
        begin, end = entry["data_offsets"]
        self._stream.seek(self._start + begin)
        data, dtype = self._stream.read(end - begin), DTYPES.get(str(entry["dtype"]))
        if dtype is None or len(data) != dtype.itemsize * int(np.prod(entry["shape"])):
            raise UserError(f"The weights of {self._source.name} are cut off, or no plain numbers.", "Restore them.")
        values = np.frombuffer(data, dtype)
        if entry["dtype"] == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        matrix: Matrix = values.astype(np.float32).reshape(entry["shape"])
        return matrix


def _products(factors: Sequence[Factors | None]) -> npt.NDArray[np.float64]:
    """⟨ΔW₁, ΔW₂⟩ = Σ (A₁·A₂ᵀ) ∘ (B₁ᵀ·B₂) of every pair in one layer."""
    found = np.zeros((len(factors), len(factors)))
    for i, one in enumerate(factors):
        for j, other in enumerate(factors[: i + 1]):
            if one is not None and other is not None:
                inner = np.sum((one[0] @ other[0].T).astype(np.float64) * (one[1].T @ other[1]))
                found[i, j] = found[j, i] = inner
    return found


def sample(module: str, factors: Sequence[Factors | None]) -> Sampled:
    """The same rows and columns of a layer for every adapter, drawn by the layer's name."""
    a, b = next(one for one in factors if one is not None)
    draw = np.random.default_rng(zlib.crc32(module.encode()))
    rows = draw.choice(b.shape[0], min(SAMPLED, b.shape[0]), replace=False)
    columns = draw.choice(a.shape[1], min(SAMPLED, a.shape[1]), replace=False)
    share = a.shape[1] * b.shape[0] / (len(rows) * len(columns))
    return Sampled([None if one is None else (one[0][:, columns], one[1][rows]) for one in factors], share)


def conflicts(layers: Sequence[Sampled], weights: npt.NDArray[np.float64]) -> tuple[list[list[float]], float]:
    """(share of entries in which each pair of weighted updates has opposite signs, share in which any two have)."""
    count = len(weights)
    pairs, disputed, entries = np.zeros((count, count)), 0.0, 0.0
    for layer in layers:
        signs = np.stack(
            [np.sign(delta) * np.sign(weight) for delta, weight in zip(layer.deltas(), weights, strict=True)]
        )
        size = signs[0].size * layer.stands_for
        entries += size
        disputed += layer.stands_for * float(np.sum((signs > 0).any(axis=0) & (signs < 0).any(axis=0)))
        for i in range(count):
            pairs[i] += layer.stands_for * (signs[i] * signs < 0).sum(axis=(1, 2))
    share = max(entries, 1.0)
    return [[float(value) for value in row] for row in pairs / share], disputed / share


def _compare(summed: list[tuple[Matrix, float]], merged: list[tuple[Matrix, float]]) -> tuple[float, float]:
    """(‖merged‖ / ‖sum‖, ‖merged − sum‖ / ‖sum‖) on the sample."""
    whole = sum(share * float(np.sum(np.square(part, dtype=np.float64))) for part, share in summed)
    if not whole:
        return 0.0, 0.0
    made = sum(share * float(np.sum(np.square(part, dtype=np.float64))) for part, share in merged)
    apart = sum(
        share * float(np.sum(np.square(one - other, dtype=np.float64)))
        for (one, share), (other, _) in zip(merged, summed, strict=True)
    )
    return float(np.sqrt(made / whole)), float(np.sqrt(apart / whole))


def _cosines(gram: npt.NDArray[np.float64], norms: npt.NDArray[np.float64]) -> list[list[float]]:
    scale = np.outer(norms, norms)
    values = np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0)
    return [[float(np.clip(value, -1, 1)) for value in row] for row in values]


def _key(source: Source) -> str:
    """A file as it is now."""
    about = source.weights.stat()
    return f"{source.weights}:{about.st_mtime_ns}:{about.st_size}"
