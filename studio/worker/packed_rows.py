"""Many conversations in one forward pass: their new tokens in one row, attention of each over its own cache.

There is no padding, so that who joins or leaves moves nobody else's memory, and the arithmetic of one conversation's
attention is the same whoever is beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import AttentionInterface, AttentionMaskInterface

from studio.worker.caches import RowCache

ATTENTION = "studio_rows"
# Architectures whose layers meet only in plain causal attention over all that came before.
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
# Rotations that depend on a token's own position. "dynamic" and "longrope" look at the longest text of the pass.
ROTATIONS = ("default", "linear", "llama3", "yarn")


def can_pack(config: Any) -> bool:
    """Whether conversations of this architecture may share a pass; others are answered one at a time."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in MODEL_TYPES
        and window is None
        and kinds == {"full_attention"}
        and rope.get("rope_type", "default") in ROTATIONS
    )


@dataclass(frozen=True)
class Segment:
    """The next tokens of one conversation. Negative ones are vectors of its soft prompt: -1 is the first of `prompt`.

    `wanted`: of how many tokens, counted from the end, the logits are asked for.
    """

    cache: RowCache
    tokens: Sequence[int]
    wanted: int = 0
    prompt: torch.Tensor | None = None


class Rows:
    """The caches of one pass, as the attention of each layer needs them."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self.lengths = [len(segment.tokens) for segment in segments]
        windows = [segment.cache.windows(length) for segment, length in zip(segments, self.lengths, strict=True)]
        keys, values, self._all_keys, self._all_values = zip(*windows, strict=True)
        self._new = [[*layer] for layer in zip(*keys, *values, strict=True)]
        self._masks = [_mask(len(segment.cache.tokens), len(segment.tokens), device) for segment in segments]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """query (1, heads, tokens, width), key and value of fewer heads → (1, tokens, heads, width)."""
        torch._foreach_copy_(self._new[layer], [*key.split(self.lengths, 2), *value.split(self.lengths, 2)])
        _, heads, _, width = query.shape
        groups = heads // key.shape[1]
        outputs = []
        for row, one in enumerate(query.split(self.lengths, 2)):
            keys, values = self._all_keys[row][layer], self._all_values[row][layer]
            length = self.lengths[row]
            if length == 1:  # heads that share a key stand as so many questions to it
                grouped = one.reshape(1, heads // groups, groups, width)
                answer = functional.scaled_dot_product_attention(grouped, keys, values, scale=scaling)
                outputs.append(answer.reshape(1, 1, heads, width))
                continue
            mask = self._masks[row]
            answer = functional.scaled_dot_product_attention(
                one, keys, values, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=groups > 1
            )
            outputs.append(answer.transpose(1, 2))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)


def _mask(before: int, length: int, device: torch.device) -> torch.Tensor | None:
    """Which of (before + length) tokens each of the last `length` may see; None when plain causal attention says it."""
    if before == 0 or length == 1:
        return None
    return torch.ones(length, before + length, dtype=torch.bool, device=device).tril(before)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    rows: Rows | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Each conversation's attention over its own cache; without `rows` SDPA as transformers calls it."""
    if rows is None:
        output, _ = AttentionInterface()["sdpa"](module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    return rows.attend(module.layer_idx, query, key, value, scaling), None  # type: ignore[arg-type]


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, AttentionMaskInterface()["sdpa"])


def forward(model: Any, segments: Sequence[Segment]) -> list[torch.Tensor]:
    """The logits (wanted, vocabulary) of each segment, whose caches then hold its tokens."""
    device = model.device
    tokens = [token for segment in segments for token in segment.tokens]
    positions: list[int] = []
    keep: list[int] = []
    end = 0
    for segment in segments:
        before, length = len(segment.cache.tokens), len(segment.tokens)
        positions += range(before, before + length)
        end += length
        keep += range(end - segment.wanted, end)
    logits = model(
        **_inputs(model, segments, torch.tensor([tokens], device=device)),
        position_ids=torch.tensor([positions], device=device),
        attention_mask=torch.empty(0, 0, 0, 0, device=device),  # of this form transformers leaves it alone
        use_cache=False,
        rows=Rows(segments, device),
        logits_to_keep=torch.tensor(keep, dtype=torch.long, device=device),
    ).logits[0]
    for segment in segments:
        segment.cache.extend(segment.tokens)
    return list(logits.split([segment.wanted for segment in segments]))


def _inputs(model: Any, segments: Sequence[Segment], tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    if not any(segment.tokens[0] < 0 for segment in segments):
        return {"input_ids": tokens}
    embedded = model.get_input_embeddings()(tokens.clamp(min=0)).clone()
    end = 0
    for segment in segments:
        begin, end = end, end + len(segment.tokens)
        own = tokens[0, begin:end]
        if segment.prompt is not None and segment.tokens[0] < 0:
            virtual = own[own < 0]
            embedded[0, begin : begin + len(virtual)] = segment.prompt[-virtual - 1].to(embedded.dtype)
    return {"inputs_embeds": embedded}
