"""An inference server: one base model, its adapters, the OpenAI chat-completions protocol on loopback."""

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from studio import workspace as names
from studio.base_models import model_folder
from studio.errors import UserError
from studio.jobs.spec import ServeSpec
from studio.worker import load
from studio.worker.adapters import BASE, AdapterShelf
from studio.worker.generation import Engine, Sampling, cancelling
from studio.worker.generation import Request as Generation
from studio.workspace import Workspace, write_json


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class ChatRequest(BaseModel):
    """The part of OpenAI's request that means something here; the rest is ignored, as OpenAI's servers do."""

    model_config = ConfigDict(extra="ignore")

    model: str = BASE
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool = False
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1, le=8192)
    seed: int | None = None


class Server:
    """The requests of one server process."""

    def __init__(self, shelf: AdapterShelf, token: str, device: torch.device) -> None:
        self.shelf, self._token = shelf, token
        self.engine = Engine(shelf, device)
        self.last_request = time.monotonic()

    def app(self) -> FastAPI:
        """The HTTP routes."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_exception_handler(UserError, _bad_request)  # type: ignore[arg-type]
        app.get("/health")(self.health)
        app.get("/v1/models")(self.models)
        app.post("/v1/chat/completions")(self.chat)
        return app

    def health(self, request: Request) -> dict[str, Any]:
        self._authorise(request)
        return {"alive": self.engine.is_alive, "fingerprint": self.shelf.fingerprint, "loaded": self.shelf.loaded}

    def models(self, request: Request) -> dict[str, Any]:
        self._authorise(request)
        return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.shelf.loaded]}

    def chat(self, request: Request, body: ChatRequest) -> Response:
        self._authorise(request)
        self.last_request = time.monotonic()
        generation = self._begin(body)
        if body.stream:
            return StreamingResponse(self._stream(generation, body.model), media_type="text/event-stream")
        with cancelling(self.engine.submit(generation)):
            pieces = list(generation.stream())
        answer = _completion("chat.completion", body.model)
        text = "".join(piece.text for piece in pieces)
        answer["choices"] = [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": pieces[-1].finish}
        ]
        used = {"prompt_tokens": len(generation.input_ids), "completion_tokens": len(generation.generated)}
        return JSONResponse({**answer, "usage": {**used, "total_tokens": sum(used.values())}})

    def _begin(self, body: ChatRequest) -> Generation:
        tokenizer = self.shelf.tokenizer(body.model)
        messages = [message.model_dump() for message in body.messages]
        if not any(message["content"].strip() for message in messages if message["role"] == "user"):
            raise UserError("The message is empty.", "Write something first.")
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        room = self.shelf.room(body.model) - len(ids)
        if room < 1:
            raise UserError(
                f"The conversation has {len(ids)} tokens; this model reads at most {self.shelf.room(body.model)}.",
                "Start a new conversation, or shorten the text.",
            )
        sampling = Sampling(
            temperature=body.temperature, top_p=body.top_p, max_tokens=min(body.max_tokens, room), seed=body.seed
        )
        return Generation(body.model, ids, tokenizer, sampling)

    def _stream(self, generation: Generation, model: str) -> Iterator[str]:
        with cancelling(self.engine.submit(generation)):
            try:
                for piece in generation.stream():
                    self.last_request = time.monotonic()
                    delta = {"content": piece.text} if piece.text else {}
                    chunk = _completion("chat.completion.chunk", model)
                    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": piece.finish}]
                    yield f"data: {json.dumps(chunk)}\n\n"
            except UserError as error:
                yield f"data: {json.dumps(_error_body(error))}\n\n"
        yield "data: [DONE]\n\n"

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
    model = load.load_model(base, dtype=half or torch.float32, where=where, spec=None)
    tokenizer = load.load_tokenizer(base, "model")
    if tokenizer.chat_template is None:
        tokenizer = load.load_tokenizer(base, "plain")
    token = secrets.token_urlsafe(32)
    server = Server(AdapterShelf(model, tokenizer, base, workspace), token, where)
    listener = socket.create_server(("127.0.0.1", 0))
    write_json(folder / names.ENDPOINT, {"port": listener.getsockname()[1], "token": token})
    config = uvicorn.Config(server.app(), log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    http = uvicorn.Server(config)
    threading.Thread(target=_end_when_idle, args=(server, http, spec.idle_seconds), daemon=True).start()
    try:
        http.run(sockets=[listener])
    finally:
        (folder / names.ENDPOINT).unlink(missing_ok=True)


def _end_when_idle(server: Server, http: uvicorn.Server, idle_seconds: float) -> None:
    while server.engine.is_alive and time.monotonic() - server.last_request < idle_seconds:
        time.sleep(min(5.0, idle_seconds))
    http.should_exit = True


def _completion(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _error_body(error: UserError) -> dict[str, Any]:
    return {"error": {"message": error.message, "hint": error.hint, "type": "invalid_request_error"}}


async def _bad_request(request: Request, error: UserError) -> JSONResponse:
    return JSONResponse(_error_body(error), status_code=400)
