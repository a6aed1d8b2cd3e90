"""A chat-completions client, and which server and model name a choice in a menu means."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import httpx

from studio import workspace as names
from studio.data.examples import Message
from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.jobs.state import RESUMABLE
from studio.jobs.store import JobStore
from studio.playground.remote import REMOTE
from studio.workspace import Workspace

BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How answers are drawn."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 256


@dataclass(frozen=True)
class Target:
    """`base_model`: what the server must hold; `model`: the name it knows the adapter by."""

    base_model: str
    model: str


def chat_target(store: JobStore, workspace: Workspace, choice: str) -> Target:
    """What "base:NAME" or a job's id means. Raises UserError when that job left nothing to talk to."""
    if choice.startswith(REMOTE):
        return Target(choice, choice.removeprefix(REMOTE))
    if choice.startswith(f"{BASE}:"):
        return Target(choice.removeprefix(f"{BASE}:"), BASE)
    view = store.view(choice)
    folder = workspace.job(choice)
    if (folder / names.MODEL).is_dir():
        return Target(str((folder / names.MODEL).absolute()), BASE)
    if (folder / names.ADAPTER).is_dir():
        return Target(view.spec.base_model, choice)
    hint = "Resume it first." if view.status in RESUMABLE else "Wait until it is finished."
    raise UserError(f"{view.name} has no adapter yet (it is {view.status}).", hint)


class ChatClient:
    """Speaks OpenAI's chat-completions protocol with one server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def stream(self, model: str, messages: list[Message], settings: Settings) -> Iterator[str]:
        """The answer in pieces. Closing the iterator stops the server's work. Raises UserError."""
        body = {"model": model, "messages": messages, "stream": True, **asdict(settings)}
        headers = {"authorization": f"Bearer {self._endpoint.token}"}
        timeout = httpx.Timeout(10, read=600)
        try:
            with httpx.stream(
                "POST", f"{self._endpoint.url}/v1/chat/completions", json=body, headers=headers, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    response.read()
                    _raise_error(response.json())
                yield from _pieces(response)
        except httpx.HTTPError:
            raise UserError("The model's server ended.", "Send the message again: it is started anew.") from None


def _pieces(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        chunk = json.loads(line.removeprefix("data: "))
        if "error" in chunk:
            _raise_error(chunk)
        text = chunk["choices"][0]["delta"].get("content")
        if text:
            yield text


def _raise_error(body: dict[str, object]) -> None:
    error = body.get("error")
    if isinstance(error, dict):
        raise UserError(str(error.get("message")), str(error.get("hint", "")))
    raise UserError("The model's server refused the request.", "Shorten the text and try again.")
