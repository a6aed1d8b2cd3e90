"""An inference server: one base model, its adapters, the OpenAI chat-completions protocol on loopback."""

import asyncio
import contextlib
import gc
import json
import secrets
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from studio import workspace as names
from studio.base_models import model_folder
from studio.errors import UserError
from studio.jobs.spec import ServeSpec
from studio.listening import listening_socket
from studio.worker import load, protocol
from studio.worker.adapters import AdapterShelf, Voice
from studio.worker.budget import Budget, Leftover, free_memory
from studio.worker.generation import Engine, Piece, cancelling
from studio.worker.generation import Request as Generation
from studio.worker.sampling import Sampling
from studio.worker.template_limits import prompt_tokens
from studio.workspace import Workspace, write_json

# Of the memory that is free beside the base model.
ADAPTERS_SHARE, CACHES_SHARE = 0.15, 0.35


class Server:
    """The requests of one server process."""

    def __init__(self, shelf: AdapterShelf, token: str, engine: Engine) -> None:
        self.shelf, self._token, self.engine = shelf, token, engine
        self.last_request = time.monotonic()

    def app(self) -> FastAPI:
        """The HTTP routes."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_exception_handler(UserError, protocol.user_error)  # type: ignore[arg-type]
        app.add_exception_handler(RequestValidationError, protocol.bad_request)  # type: ignore[arg-type]
        app.add_exception_handler(AnyHTTPException, protocol.http_error)  # type: ignore[arg-type]
        app.get("/health")(self.health)
        app.get("/v1/models")(self.models)
        app.post("/v1/chat/completions")(self.chat)
        app.post("/v1/score")(self.score)
        app.post("/v1/tokens")(self.tokens)
        return app

    async def health(self, request: Request) -> dict[str, Any]:
        self._authorise(request)
        return {
            "alive": self.engine.is_alive,
            "fingerprint": self.shelf.fingerprint,
            "loaded": self.shelf.loaded,
            "active": self.engine.active,
            "base_bytes": self.shelf.base_size,
            "adapter_bytes": self.shelf.size,
            "cache_bytes": self.engine.cache_size,
        }

    async def models(self, request: Request) -> dict[str, Any]:
        self._authorise(request)
        known = [{"id": name, "object": "model", "created": 0, "owned_by": "studio"} for name in self.shelf.loaded]
        return {"object": "list", "data": known}

    async def chat(self, request: Request, body: protocol.ChatRequest) -> Response:
        self._begin(request)
        voice, ids = await run_in_threadpool(self._read, body)
        generation = Generation(voice, ids, body.sampling(voice.room - len(ids)))
        if body.stream:
            return StreamingResponse(self._stream(generation, body), media_type="text/event-stream")
        text, finish = "", ""
        async for piece in self._pieces(generation, request):
            text += piece.text
            finish = piece.finish or finish
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        answer = {**protocol.completion("chat.completion", body.answer_as or body.model), "choices": [choice]}
        return JSONResponse({**answer, **_account(generation)})

    async def score(self, request: Request, body: protocol.ScoreRequest) -> dict[str, Any]:
        self._begin(request)
        voice, ids = await run_in_threadpool(self._read, body)
        answer = list(voice.tokenizer(body.answer, add_special_tokens=False)["input_ids"])
        if not answer:
            return {"logprob": 0.0, "tokens": 0}
        self._check_tokens(answer, voice)
        self._check_room(len(ids) + len(answer), voice)
        generation = Generation(voice, ids, Sampling(max_tokens=1), answer=answer)
        async for _ in self._pieces(generation, request):
            pass
        return {"logprob": generation.logprob, "tokens": len(answer)}

    async def tokens(self, request: Request, body: protocol.Conversation) -> dict[str, Any]:
        self._begin(request)
        voice = await run_in_threadpool(self.shelf.voice, body.model)
        ids = await run_in_threadpool(prompt_tokens, voice.tokenizer, voice.chat_template, body.plain())
        return {"tokens": len(ids), "context": voice.room}

    def _begin(self, request: Request) -> None:
        self._authorise(request)
        self.last_request = time.monotonic()

    def _read(self, body: protocol.Conversation) -> tuple[Voice, list[int]]:
        """(who answers, the tokens of the conversation). Raises UserError when it cannot be answered."""
        messages = body.plain()
        asked = [message["content"] for message in messages if message["role"] == "user"]
        if not asked:
            raise protocol.Refused("Nobody asks anything in this conversation.", "Add a message of a user.", "messages")
        if not any(text.strip() for text in asked):
            raise UserError("The message is empty.", "Write something first.")
        voice = self.shelf.voice(body.model)
        ids = prompt_tokens(voice.tokenizer, voice.chat_template, messages)
        if not ids:
            raise UserError("The chat template made no text of this conversation.", "Choose another adapter.")
        self._check_room(len(ids) + 1, voice)
        self._check_tokens(ids, voice)
        return voice, ids

    def _check_tokens(self, ids: list[int], voice: Voice) -> None:
        if max(ids) >= self.shelf.vocabulary:
            raise UserError(
                f"The tokenizer of {voice.name} knows tokens that the base model does not have.",
                "Choose an adapter of this base model.",
            )

    def _check_room(self, length: int, voice: Voice) -> None:
        if length > voice.room:
            raise protocol.Refused(
                f"The conversation has {length - 1} tokens; this model reads at most {voice.room}.",
                "Start a new conversation, or shorten the text.",
                "messages",
                "context_length_exceeded",
            )

    async def _stream(self, generation: Generation, body: protocol.ChatRequest) -> AsyncIterator[str]:
        start = protocol.completion("chat.completion.chunk", body.answer_as or body.model)
        detailed = body.stream_options is not None and body.stream_options.include_usage
        yield _event({**start, "choices": [_delta({"role": "assistant", "content": ""})]})
        try:
            async with contextlib.aclosing(self._pieces(generation, None)) as pieces:
                async for piece in pieces:
                    self.last_request = time.monotonic()
                    delta = {"content": piece.text} if piece.text else {}
                    account = _account(generation) if piece.finish and not detailed else {}
                    yield _event({**start, "choices": [_delta(delta, piece.finish)], **account})
            if detailed:
                yield _event({**start, "choices": [], **_account(generation)})
        except UserError as error:
            yield _event(protocol.error_body(error.message, error.hint))
        yield "data: [DONE]\n\n"

    async def _pieces(self, generation: Generation, request: Request | None) -> AsyncGenerator[Piece, None]:
        """The pieces of an answer, until its reader leaves: `request` tells of that where no stream does.

        Raises UserError.
        """
        loop, inbox = asyncio.get_running_loop(), asyncio.Queue[Piece]()
        generation.deliver = lambda piece: _hand_over(loop, inbox, piece)
        gone = asyncio.ensure_future(_leaving(request, generation)) if request is not None else None
        try:
            with cancelling(generation):
                self.engine.submit(generation)
                while True:
                    piece = await inbox.get()
                    if piece.error is not None:
                        raise piece.error
                    yield piece
                    if piece.is_last:
                        return
        finally:
            if gone is not None:
                gone.cancel()

    def _authorise(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise HTTPException(401, "This server answers to its studio only.")


def run(folder: Path, spec: ServeSpec) -> None:
    """Load the base model, write where it answers, serve until idle for long or told to end."""
    workspace = Workspace(folder.parent.parent)
    base = model_folder(spec.base_model, workspace.models)
    if base is None:
        raise UserError(f"{spec.base_model} is not on this machine.", "Train with it once: that fetches it.")
    where = load.device()
    half = load.half_precision(where)
    model = load.load_model(base, dtype=half or torch.float32, where=where, spec=spec)
    tokenizer = load.load_tokenizer(base, "model")
    if tokenizer.chat_template is None:
        tokenizer = load.load_tokenizer(base, "plain")
    token = secrets.token_urlsafe(32)
    free, left = free_memory(where), Leftover(folder, where)
    adapters = Budget(spec.adapter_bytes or int(free * ADAPTERS_SHARE), left)
    caches = Budget(spec.cache_bytes or int(free * CACHES_SHARE), left)
    shelf = AdapterShelf(model, tokenizer, base, workspace, budget=adapters)
    engine = Engine(shelf, where, max_batch=spec.max_batch_size, budget=caches)
    server = Server(shelf, token, engine)
    gc.freeze()  # what stays to the end need not be looked through each time an adapter goes
    listener = listening_socket("127.0.0.1", 0)
    write_json(folder / names.ENDPOINT, {"port": listener.getsockname()[1], "token": token})
    config = uvicorn.Config(server.app(), log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    http = uvicorn.Server(config)
    threading.Thread(target=_end_when_idle, args=(server, http, spec.idle_seconds), daemon=True).start()
    try:
        http.run(sockets=[listener])
    finally:
        (folder / names.ENDPOINT).unlink(missing_ok=True)


def _end_when_idle(server: Server, http: uvicorn.Server, idle_seconds: float) -> None:
    while server.engine.is_alive and (server.engine.active or time.monotonic() - server.last_request < idle_seconds):
        time.sleep(min(5.0, idle_seconds))
    http.should_exit = True


def _hand_over(loop: asyncio.AbstractEventLoop, inbox: "asyncio.Queue[Piece]", piece: Piece) -> None:
    with contextlib.suppress(RuntimeError):  # the server ends, and with it whoever would read this
        loop.call_soon_threadsafe(inbox.put_nowait, piece)


async def _leaving(request: Request, generation: Generation) -> None:
    """End an answer whose reader has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    generation.cancelled.set()


def _account(generation: Generation) -> dict[str, Any]:
    """What an answer took."""
    voice = generation.voice
    return {
        "usage": protocol.usage(len(generation.input_ids), len(generation.generated), generation.cached_tokens),
        "studio": {
            "first_token_seconds": round(generation.first_token_seconds, 4),
            "seconds": round(generation.seconds, 4),
            "shared_batch": voice.mixes,
            "context": voice.room,
            "cached_tokens": generation.cached_tokens,
            "notes": list(voice.notes),
        },
    }


def _delta(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk)}\n\n"
