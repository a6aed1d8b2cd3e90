"""One base model, any number of adapters, many conversations: tokens are made turn by turn, so nobody waits long."""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers import DynamicCache, LogitsProcessorList, PreTrainedTokenizerBase
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from studio.errors import UserError
from studio.worker.adapters import AdapterShelf, Voice

BASE = "base"
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn; temperature 0 takes the likeliest."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 256
    seed: int | None = None


@dataclass(frozen=True)
class Piece:
    """Some text, or the end: `finish` says why, `error` what went wrong."""

    text: str = ""
    finish: FinishReason | None = None
    error: UserError | None = None


@dataclass
class Request:
    """One answer in the making. Read `pieces` until one has `finish` or `error`."""

    adapter: str
    input_ids: list[int]
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling
    pieces: "queue.Queue[Piece]" = field(default_factory=queue.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)
    generated: list[int] = field(default_factory=list)
    cache: DynamicCache | None = None
    sent: int = 0
    generator: torch.Generator | None = None

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

    def __init__(self, shelf: AdapterShelf, device: torch.device) -> None:
        self._shelf, self._device = shelf, device
        self._new: queue.Queue[Request] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="engine")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, request: Request) -> Request:
        """Put a request into the round."""
        self._new.put(request)
        return request

    def _run(self) -> None:
        active: deque[Request] = deque()
        while True:
            while not active or not self._new.empty():
                active.append(self._new.get())
            request = active.popleft()
            try:
                if self._advance(request):
                    active.append(request)
            except UserError as error:
                request.pieces.put(Piece(error=error))
            except torch.OutOfMemoryError:
                request.cache = None
                request.pieces.put(
                    Piece(error=UserError("The card ran out of memory.", "Ask for fewer tokens, or close other chats."))
                )

    @torch.inference_mode()
    def _advance(self, request: Request) -> bool:
        """Make one token; False at the end of the answer."""
        if request.cancelled.is_set():
            request.pieces.put(Piece(finish="cancelled"))
            return False
        with self._shelf.use(request.adapter) as voice:
            token = self._next_token(voice, request)
        if token in self._shelf.end_tokens:
            return self._finish(request, "stop")
        request.generated.append(token)
        if len(request.generated) >= request.sampling.max_tokens:
            return self._finish(request, "length")
        self._send(request, final=False)
        return True

    def _next_token(self, voice: Voice, request: Request) -> int:
        if request.cache is None:
            request.cache, inputs = voice.begin(torch.tensor([request.input_ids], device=self._device))
            if request.sampling.seed is not None:
                request.generator = torch.Generator(self._device).manual_seed(request.sampling.seed)
        else:
            inputs = {"input_ids": torch.tensor([request.generated[-1:]], device=self._device)}
        output = voice.model(**inputs, past_key_values=request.cache, use_cache=True, logits_to_keep=1)
        return draw(output.logits[:, -1].float(), request.sampling, request.generator)

    def _finish(self, request: Request, reason: FinishReason) -> bool:
        self._send(request, final=True)
        request.cache = None
        request.pieces.put(Piece(finish=reason))
        return False

    def _send(self, request: Request, *, final: bool) -> None:
        text = request.tokenizer.decode(request.generated, skip_special_tokens=True)
        if text.endswith("\ufffd") and not final:
            return  # within a character
        if len(text) > request.sent:
            request.pieces.put(Piece(text=text[request.sent :]))
            request.sent = len(text)


def draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator | None) -> int:
    """A token from logits (1, V)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    probabilities = warpers(torch.empty(0), logits).softmax(-1)  # type: ignore[arg-type]
    return int(torch.multinomial(probabilities, 1, generator=generator))


@contextlib.contextmanager
def cancelling(request: Request) -> Iterator[Request]:
    """However the reader leaves, the request does not go on without it."""
    try:
        yield request
    finally:
        request.cancelled.set()
