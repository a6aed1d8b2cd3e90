"""Counts the bytes of fake tensors as CUDA's caching allocator would, per phase and category."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512  # bytes: what the allocator rounds up to


class FakeMemory(TorchDispatchMode):
    """Live bytes of every storage made while it is active. `peaks`: the most of each phase; `phase` is set from
    outside; `shares`: the categories at each phase's peak."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "start"
        self.total = 0
        self.peaks: dict[str, int] = {}
        self.shares: dict[str, dict[str, int]] = {}
        self._live: dict[int, tuple[int, str]] = {}
        self._by: dict[str, int] = {}

    def tag(self, tensor: torch.Tensor, category: str) -> None:
        """Count a tensor, under this category from now on."""
        storage = tensor.untyped_storage()
        self._add(storage, category)
        size, before = self._live[storage._cdata]
        if before != category:
            self._by[before] -= size
            self._by[category] = self._by.get(category, 0) + size
            self._live[storage._cdata] = (size, category)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage(), "activations")
        if self.total > self.peaks.get(self.phase, 0):
            self.peaks[self.phase] = self.total
            self.shares[self.phase] = {name: size for name, size in self._by.items() if size}
        return result

    def _add(self, storage: torch.UntypedStorage, category: str) -> None:
        key = storage._cdata
        if key in self._live:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._live[key] = (size, category)
        self.total += size
        self._by[category] = self._by.get(category, 0) + size
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        size, category = self._live.pop(key)
        self.total -= size
        self._by[category] -= size
