"""What a model remembers of a conversation: keys and values that grow with it, and are found again at its next turn."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch

ROOM_TO_GROW = 64  # tokens; memory is taken in such pieces
WORTH_COPYING = 16  # tokens; a shorter common beginning is read again sooner than found


class RowCache:
    """Keys and values of one conversation, each (layers, 1, heads, capacity, width), and the tokens they are of.

    What was written behind `len(tokens)` counts only after `extend`, so that a pass which failed can be repeated.
    """

    def __init__(self, shape: "CacheShape", capacity: int) -> None:
        self.shape = shape
        self.tokens: list[int] = []
        self._keys, self._values = shape.allocate(capacity), shape.allocate(capacity)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._keys.nbytes + self._values.nbytes

    def has_room(self, count: int) -> bool:
        """Whether so many more tokens fit without taking memory."""
        return len(self.tokens) + count <= self._keys.shape[3]

    def windows(self, count: int) -> tuple[tuple[torch.Tensor, ...], ...]:
        """(keys, values to be written, all keys, all values with them) for `count` more tokens, each by layer."""
        begin, end = len(self.tokens), len(self.tokens) + count
        self._reserve(end)
        new = [whole[:, :, :, begin:end].unbind(0) for whole in (self._keys, self._values)]
        past = [whole[:, :, :, :end].unbind(0) for whole in (self._keys, self._values)]
        return (*new, *past)

    def extend(self, tokens: Sequence[int]) -> None:
        """Count what was written as the memory of these tokens."""
        self.tokens.extend(tokens)

    def write(self, tokens: Sequence[int], layers: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Put keys and values that were learned, (1, heads, tokens, width) a layer, at the end."""
        keys, values, _, _ = self.windows(len(tokens))
        for index, (key, value) in enumerate(layers):
            keys[index].copy_(key)
            values[index].copy_(value)
        self.extend(tokens)

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        del self.tokens[length:]

    def beginning(self, length: int) -> "RowCache":
        """A cache of its own with the same first tokens."""
        copy = RowCache(self.shape, length + ROOM_TO_GROW)
        copy._keys[:, :, :, :length] = self._keys[:, :, :, :length]
        copy._values[:, :, :, :length] = self._values[:, :, :, :length]
        copy.tokens = self.tokens[:length]
        return copy

    def _reserve(self, length: int) -> None:
        if length <= self._keys.shape[3]:
            return
        capacity = max(length + ROOM_TO_GROW, len(self.tokens) * 5 // 4)
        grown = []
        for whole in (self._keys, self._values):
            larger = self.shape.allocate(capacity)
            larger[:, :, :, : len(self.tokens)] = whole[:, :, :, : len(self.tokens)]
            grown.append(larger)
        self._keys, self._values = grown


class CacheShape:
    """The form of a model's keys and values."""

    def __init__(self, model: Any) -> None:
        config = model.config
        self.layers = int(config.num_hidden_layers)
        self.heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
        self.width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        self._dtype, self._device = model.dtype, model.device

    @property
    def token_bytes(self) -> int:
        """Bytes that one token takes."""
        return 2 * self.layers * self.heads * self.width * self._dtype.itemsize

    def allocate(self, capacity: int) -> torch.Tensor:
        return torch.empty(self.layers, 1, self.heads, capacity, self.width, dtype=self._dtype, device=self._device)


class ConversationPool:
    """The caches of conversations that may go on; those used longest ago are forgotten first."""

    def __init__(self) -> None:
        self._kept: list[tuple[Hashable, RowCache]] = []  # the last used at the end

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(cache.size for _, cache in self._kept)

    def put(self, speaker: Hashable, cache: RowCache) -> None:
        """Keep what a speaker remembers; what it remembered of the beginning of the same conversation goes."""
        self._kept = [
            (one, old)
            for one, old in self._kept
            if one != speaker or common_length(old.tokens, cache.tokens) < len(old.tokens)
        ]
        self._kept.append((speaker, cache))

    def take(self, speaker: Hashable, tokens: Sequence[int]) -> RowCache | None:
        """A cache that holds the longest known beginning of `tokens`, all but the last at most; None without one.

        A conversation that goes on gets its own cache back, another that begins alike gets a copy.
        """
        best, longest = -1, 0
        for index, (one, cache) in enumerate(self._kept):
            common = common_length(cache.tokens, tokens) if one == speaker else 0
            if common > longest:
                best, longest = index, common
        usable = min(longest, len(tokens) - 1)
        if best < 0 or usable < 1:
            return None
        kept = self._kept[best][1]
        if longest < len(kept.tokens):
            return kept.beginning(usable) if usable >= WORTH_COPYING else None
        del self._kept[best]
        kept.cut(usable)
        return kept

    def shrink(self, limit: int) -> None:
        """Forget until at most so many bytes are kept."""
        size = self.size
        while self._kept and size > limit:
            size -= self._kept.pop(0)[1].size


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common at their beginnings."""
    shortest = min(len(one), len(other))
    if list(one[:shortest]) == list(other[:shortest]):
        return shortest
    return next(index for index in range(shortest) if one[index] != other[index])
