"""A server that speaks the inference server's protocol without a model: what it was asked, and answers by rule."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from studio.jobs.servers import Endpoint

TOKEN = "secret word"


class FakeServer:
    """`answer(model, messages)` gives the pieces; an exception among them becomes an error of the server."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer: Callable[[str, list[dict[str, str]]], list[Any]] = lambda model, messages: ["The ", "lamp."]
        self.tells = True  # usage and studio in the last chunk
        self.has_routes = True  # /v1/score and /v1/tokens
        self.finish = "stop"
        self.notes: list[Any] = []
        self.pause = 0.0  # seconds between pieces
        self.endpoint = Endpoint("", TOKEN)

    def bodies(self, route: str = "/v1/chat/completions") -> list[dict[str, Any]]:
        """What was asked of a route."""
        return [body for path, body in self.asked if path == route]

    def chunks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a streamed answer."""
        pieces = self.answer(body["model"], body["messages"])
        for piece in pieces:
            if isinstance(piece, Exception):
                yield {"error": {"message": str(piece), "hint": "Shorten it."}}
                return
            yield {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            time.sleep(self.pause)
        last: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]}
        if self.tells:
            last["usage"] = {"prompt_tokens": 10, "completion_tokens": len(pieces), "total_tokens": 10 + len(pieces)}
            last["studio"] = {
                "first_token_seconds": 0.25, "seconds": 0.5, "shared_batch": True, "context": 2048, "cached_tokens": 4,
                "notes": self.notes,
            }  # fmt: skip
        yield last

    @contextmanager
    def running(self) -> Iterator["FakeServer"]:
        """Answers until the context ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answering,), {"fake": self}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}", TOKEN)
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class Answering(BaseHTTPRequestHandler):
    """One request."""

    fake: FakeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.fake.asked.append((self.path, body))
        if self.headers["authorization"] != f"Bearer {TOKEN}":
            self._json(401, {"detail": "no"})
        elif self.path == "/v1/chat/completions":
            self._stream(body)
        elif not self.fake.has_routes:
            self._json(404, {"detail": "Not Found"})
        elif self.path == "/v1/score":
            self._json(200, {"logprob": -1.5 * len(body["model"]), "tokens": 3})
        else:
            self._json(200, {"tokens": 12, "context": 2048})

    def _json(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(ConnectionError):
            for chunk in self.fake.chunks(body):
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *args: Any) -> None:
        pass


class FakePool:
    """A pool whose one server holds every base model."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def want(self, base_model: str) -> Endpoint:
        return self._server.endpoint

    def running(self) -> list[str]:
        return ["starter"]
