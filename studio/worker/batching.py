"""Who takes part in the next pass, with how many tokens, and the pass itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from studio.worker import packed_rows
from studio.worker.adapters import AdapterShelf
from studio.worker.caches import RowCache
from studio.worker.lora_rows import Span
from studio.worker.packed_rows import Segment
from studio.worker.text_stream import TextStream

if TYPE_CHECKING:
    from studio.worker.generation import Request

# Tokens of prompts that are read in one pass. While others write, each of their tokens waits for it.
READ_BESIDE = {"cpu": 128, "mps": 256, "cuda": 1024}
READ_ALONE = {"cpu": 512, "mps": 1024, "cuda": 4096}
FOR_THE_FIRST = 4  # the one that waits longest gets at least this fraction of them


@dataclass(eq=False)
class Row:
    """A request that is being answered. `todo`: tokens not read yet. `passes`: since its turn began."""

    request: "Request"
    generator: torch.Generator | None = None
    cache: RowCache | None = None
    todo: list[int] = field(default_factory=list)
    alone: DynamicCache | None = None
    passes: int = 0

    def __post_init__(self) -> None:
        self.text = TextStream(self.request.voice.tokenizer, self.request.sampling.stop)


Work = tuple[Row, torch.Tensor]  # the logits (tokens, vocabulary) that a row asked for


def turns(rows: Sequence[Row]) -> list[list[Row]]:
    """Groups that may share a pass: all voices that mix, and each that does not with those of its own adapter."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(id(row.request.voice.model) if row.cache is not None else id(row), []).append(row)
    return list(groups.values())


def advance(shelf: AdapterShelf, rows: Sequence[Row]) -> list[Work]:
    """One pass for rows of one turn. Raises torch.OutOfMemoryError; it can be repeated then."""
    if rows[0].cache is None:
        return [_advance_alone(shelf, row) for row in rows]
    ordered = sorted(rows, key=lambda row: id(row.request.voice.lora))
    shares = share_out(
        [len(row.todo) for row in ordered],
        next(index for index, row in enumerate(ordered) if row is rows[0]),
        beside=READ_BESIDE[shelf.device.type],
        alone=READ_ALONE[shelf.device.type],
    )
    taking = [(row, share) for row, share in zip(ordered, shares, strict=True) if share]
    segments = [_segment(row, share) for row, share in taking]
    with shelf.switch.set(_spans(taking)):
        logits = packed_rows.forward(taking[0][0].request.voice.model, segments)
    for row, share in taking:
        del row.todo[:share]
    return [(row, own) for (row, _), own in zip(taking, logits, strict=True)]


def share_out(lengths: Sequence[int], first: int, *, beside: int, alone: int) -> list[int]:
    """How many of the unread tokens (lengths) each reads now: who writes its one, the others a share of the rest.

    Short texts are read first, but the one at `first`, which waits longest, always comes on.
    """
    shares = [length if length <= 1 else 0 for length in lengths]
    left = beside if any(shares) else alone
    shortest_first = sorted((index for index, length in enumerate(lengths) if length > 1), key=lambda i: lengths[i])
    if first in shortest_first:
        shares[first] = min(lengths[first], left // FOR_THE_FIRST)
        left -= shares[first]
    for index in shortest_first:
        more = min(lengths[index] - shares[index], left)
        shares[index] += more
        left -= more
    return shares


def _segment(row: Row, share: int) -> Segment:
    request = row.request
    assert row.cache is not None
    prompt = request.voice.prompt
    return Segment(
        cache=row.cache,
        tokens=row.todo[:share],
        wanted=_wanted(row, share),
        prompt=None if prompt is None else prompt.embeddings,
    )


def _wanted(row: Row, share: int) -> int:
    """Of how many of the next tokens the logits are needed: the last one's, or all that tell an answer's tokens."""
    left = len(row.todo) - share
    return max(0, min(share, max(len(row.request.answer), 1) - left))


def _spans(taking: Sequence[tuple[Row, int]]) -> list[Span]:
    """The stretches of the pass that are read with an adapter; rows of one adapter lie side by side."""
    spans: list[Span] = []
    end = 0
    for row, share in taking:
        begin, end = end, end + share
        lora = row.request.voice.lora
        if spans and lora is spans[-1].weights and spans[-1].end == begin:
            spans[-1] = Span(spans[-1].begin, end, lora)
        elif lora is not None:
            spans.append(Span(begin, end, lora))
    return spans


def _advance_alone(shelf: AdapterShelf, row: Row) -> Work:
    """A pass of one conversation, for architectures whose memory is of another kind."""
    voice, request = row.request.voice, row.request
    with shelf.switch.set(voice.spans):
        if row.alone is None:
            tokens = torch.tensor([[*request.input_ids, *request.answer[:-1]]], device=shelf.device)
            cache, inputs = voice.begin(tokens)
        else:
            cache, inputs = row.alone, {"input_ids": torch.tensor([row.todo], device=shelf.device)}
        keep = max(len(request.answer), 1)
        logits = voice.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits[0]
    row.alone, row.todo = cache, []
    return row, logits
