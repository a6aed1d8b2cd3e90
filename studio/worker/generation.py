"""One base model, any number of adapters, many conversations: all that can share a pass do, and nobody waits long."""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from studio.errors import UserError
from studio.worker.adapters import AdapterShelf, Voice
from studio.worker.batching import Row, Work, advance, turns
from studio.worker.budget import Budget, give_back
from studio.worker.caches import CacheShape, ConversationPool, RowCache
from studio.worker.sampling import Sampling, draw_all, sum_of_log_probabilities

BASE = "base"
FinishReason = Literal["stop", "length", "cancelled"]
MAX_BATCH = 16
DEFAULT_BUDGET = Budget(1 << 30)
QUANTUM = 16  # passes until a conversation lets another one in, when more want to be answered than a batch holds
BROKEN = UserError("The model's server broke off; its log says why.", "Send the message again: it is started anew.")
NO_MEMORY = UserError("The card ran out of memory.", "Ask for fewer tokens, or close other chats.")
PROMISED = UserError(
    "The memory for a longer answer is promised to the job that runs beside this chat.",
    "Begin a new conversation, or wait until the job is finished.",
)


@dataclass(frozen=True)
class Piece:
    """Some text, or the end: `finish` says why, `error` what went wrong."""

    text: str = ""
    finish: FinishReason | None = None
    error: UserError | None = None

    @property
    def is_last(self) -> bool:
        return self.finish is not None or self.error is not None


@dataclass(eq=False)
class Request:
    """One answer in the making, or (`answer`) one to be scored. Read `pieces` until one has `finish` or `error`.

    `deliver` is called in the engine's thread with every piece instead, when it is given.
    """

    voice: Voice
    input_ids: list[int]
    sampling: Sampling = field(default_factory=Sampling)
    answer: list[int] = field(default_factory=list)
    deliver: Callable[[Piece], None] | None = None
    pieces: "queue.Queue[Piece]" = field(default_factory=queue.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)
    generated: list[int] = field(default_factory=list)
    logprob: float = 0.0
    cached_tokens: int = 0
    began: float = field(default_factory=time.monotonic)
    first_token_seconds: float = 0.0
    seconds: float = 0.0

    def send(self, piece: Piece) -> None:
        """Hand a piece to the reader."""
        if piece.is_last:
            self.seconds = time.monotonic() - self.began
        (self.deliver or self.pieces.put)(piece)

    def stream(self) -> Iterator[Piece]:
        """The pieces in order, the last one with `finish`. Raises UserError."""
        while True:
            piece = self.pieces.get()
            if piece.error is not None:
                raise piece.error
            yield piece
            if piece.finish is not None:
                return


class Engine:
    """A thread that owns the model. Others hand in requests and read their pieces."""

    def __init__(
        self,
        shelf: AdapterShelf,
        device: torch.device,
        *,
        max_batch: int = MAX_BATCH,
        budget: Budget = DEFAULT_BUDGET,
    ) -> None:
        self._shelf, self._device = shelf, device
        self._max_batch, self._budget = max_batch, budget
        self._new: queue.Queue[Request] = queue.Queue()
        self._waiting: deque[Row] = deque()
        self._live: list[Row] = []
        self._shape = CacheShape(shelf.base_model) if shelf.packs else None
        self.pool = ConversationPool()
        self._thread = threading.Thread(target=self._run, daemon=True, name="engine")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def active(self) -> int:
        """Requests that are not answered yet."""
        return self._new.qsize() + len(self._waiting) + len(self._live)

    @property
    def cache_size(self) -> int:
        """Bytes of all that is remembered of conversations."""
        return self.pool.size + sum(cache.size for row in list(self._live) if (cache := row.cache) is not None)

    def submit(self, request: Request) -> Request:
        """Put a request into the round."""
        self._new.put(request)
        return request

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while True:
                self._take_new()
                self._round()
        finally:
            for row in (*self._live, *self._waiting):
                row.request.send(Piece(error=BROKEN))
            while not self._new.empty():
                self._new.get().send(Piece(error=BROKEN))

    def _take_new(self) -> None:
        while not self._new.empty() or not (self._live or self._waiting):
            request = self._new.get()
            self._waiting.append(Row(request, request.sampling.generator(self._device)))

    def _round(self) -> None:
        """One pass for everyone whose turn it is."""
        self._let_go()
        self._admit()
        chosen = self._live[: self._max_batch]
        for group in turns(chosen):
            self._step(group)
        if len(self._live) > self._max_batch:
            tired = [row for row in chosen if row.passes >= QUANTUM and row in self._live]
            for row in tired:
                row.passes = 0
            self._live = [row for row in self._live if row not in tired] + tired

    def _let_go(self) -> None:
        """Free the places of those whose readers have left."""
        for row in [row for row in self._live if row.request.cancelled.is_set()]:
            self._end(row, Piece(finish="cancelled"))
        for row in [row for row in self._waiting if row.request.cancelled.is_set()]:
            self._waiting.remove(row)
            row.request.send(Piece(finish="cancelled"))

    def _admit(self) -> None:
        """Let in who waits, as long as there is memory for all that they may come to remember."""
        while self._waiting:
            row = self._waiting[0]
            need = self._need(row) + sum(self._need(one) for one in self._live)
            most = self._budget.most(self.cache_size)
            if self._live and need > most:
                break
            self._waiting.popleft()
            self.pool.shrink(max(0, most - need))
            if self._shape is not None:
                self._recall(row, self._shape)
            self._live.append(row)

    def _need(self, row: Row) -> int:
        if self._shape is None:
            return 0
        request = row.request
        return self._shape.token_bytes * (len(request.input_ids) + len(request.answer) + request.sampling.max_tokens)

    def _recall(self, row: Row, shape: CacheShape) -> None:
        """Give a conversation what is remembered of its earlier turns, and the rest to read."""
        request, prompt = row.request, row.request.voice.prompt
        known = [*(range(-1, -prompt.length - 1, -1) if prompt else ()), *request.input_ids]
        tokens = [*known, *request.answer[:-1]]  # what follows the answer's last token, nobody asks
        cache = self.pool.take(_speaker(row), known)
        if cache is None:
            cache = RowCache(shape, len(tokens) + min(request.sampling.max_tokens, 64))
            if prompt and prompt.layers:
                cache.write(tokens[: prompt.length], prompt.layers)
        else:
            request.cached_tokens = max(0, len(cache.tokens) - (prompt.length if prompt else 0))
        row.cache, row.todo = cache, tokens[len(cache.tokens) :]

    def _step(self, rows: list[Row]) -> None:
        """One pass for rows that share it; those that cannot go on are told."""
        while rows:
            if any(row.cache and not row.cache.has_room(len(row.todo)) for row in rows) and not self._budget.has_left:
                rows = self._relieve(rows, PROMISED)
                continue
            try:
                work = advance(self._shelf, rows)
            except UserError as error:
                for row in rows:
                    self._end(row, Piece(error=error))
                return
            except torch.OutOfMemoryError:
                rows = self._relieve(rows, NO_MEMORY)
                continue
            for row in rows:
                row.passes += 1
            self._use(work)
            return

    def _relieve(self, rows: list[Row], error: UserError) -> list[Row]:
        """There is no more memory: forget conversations that rest, else end the longest one. Returns who goes on."""
        if self.pool.size:
            self.pool.shrink(0)
        else:
            longest = max(rows, key=lambda row: len(row.request.input_ids) + len(row.request.generated))
            longest.cache = None
            self._end(longest, Piece(error=error))
            rows = [row for row in rows if row is not longest]
        give_back(self._device)
        return rows

    def _use(self, work: list[Work]) -> None:
        for row, logits in ((row, logits) for row, logits in work if row.request.answer):
            request = row.request
            done = len(request.answer) - len(row.todo) - len(logits)
            request.logprob += sum_of_log_probabilities(logits, request.answer[done : done + len(logits)])
            if not row.todo:
                self._end(row, Piece(finish="stop"))
        writing = [(row, logits) for row, logits in work if len(logits) and not row.request.answer]
        if writing:
            tokens = draw_all(
                torch.stack([logits[-1] for _, logits in writing]),
                [row.request.sampling for row, _ in writing],
                [row.generator for row, _ in writing],
            )
            for (row, _), token in zip(writing, tokens, strict=True):
                self._accept(row, token)

    def _accept(self, row: Row, token: int) -> None:
        """Tell the reader of one more token, or of the end."""
        request = row.request
        if not request.first_token_seconds:
            request.first_token_seconds = time.monotonic() - request.began
        if token in self._shelf.end_tokens:
            self._close(row, "stop")
            return
        request.generated.append(token)
        row.todo = [token]
        text = row.text.push(token)
        if text:
            request.send(Piece(text=text))
        if row.text.stopped:
            self._close(row, "stop")
        elif len(request.generated) >= request.sampling.max_tokens:
            self._close(row, "length")

    def _close(self, row: Row, reason: FinishReason) -> None:
        text = row.text.finish()
        if text:
            row.request.send(Piece(text=text))
        # A text to stop at may have shown itself only in what was held back.
        self._end(row, Piece(finish="stop" if row.text.stopped else reason))

    def _end(self, row: Row, piece: Piece) -> None:
        """Free the row's place; what it remembers is kept for the next turn."""
        if row in self._live:
            self._live.remove(row)
        if isinstance(row.cache, RowCache) and row.cache.tokens:
            self.pool.put(_speaker(row), row.cache)
            needed = sum(self._need(one) for one in self._live)
            self.pool.shrink(max(0, self._budget.most(self.cache_size) - needed))
        row.cache = None
        row.request.send(piece)


def _speaker(row: Row) -> Any:
    return row.request.voice.name, row.request.voice.stamp


@contextlib.contextmanager
def cancelling(request: Request) -> Iterator[Request]:
    """However the reader leaves, the request does not go on without it."""
    try:
        yield request
    finally:
        request.cancelled.set()
