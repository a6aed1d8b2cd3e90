"""A chat-completions client: answers in pieces with what they cost, log-probabilities, token counts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from studio.data.examples import Message
from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.playground.speakers import BASE, Target, chat_target

TIMEOUT = httpx.Timeout(10, read=600)  # seconds
NOT_THERE = (404, 405, 501)  # an OpenAI-compatible server that has no such route


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How answers are drawn."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 256


@dataclass(frozen=True)
class Chunk:
    """One piece of an answer; the last ones bring `finish` ("stop", "length"), `usage` and `studio`.

    `usage`: {prompt_tokens, completion_tokens, total_tokens}. `studio`: {first_token_seconds, seconds, shared_batch,
    context, cached_tokens, notes}. None is what the server did not say.
    """

    text: str
    finish: str | None = None
    usage: dict[str, Any] | None = None
    studio: dict[str, Any] | None = None

    def followed_by(self, later: "Chunk") -> "Chunk":
        """What both told, without text; where both did, the later one."""
        return Chunk("", later.finish or self.finish, later.usage or self.usage, later.studio or self.studio)


@dataclass(frozen=True)
class Score:
    """The natural logarithm of an answer's probability, and its length in tokens; None where no server can tell."""

    logprob: float | None
    tokens: int | None


@dataclass(frozen=True)
class TokenCount:
    """The tokens of a conversation with its template, and how many the model reads; None where no server can tell."""

    tokens: int | None
    context: int | None


class ChatClient:
    """Speaks OpenAI's chat-completions protocol with one server."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def stream(self, model: str, messages: list[Message], settings: Settings) -> Iterator[str]:
        """The answer in pieces of text. Closing the iterator stops the server's work. Raises UserError."""
        for chunk in self.answer(model, messages, settings):
            if chunk.text:
                yield chunk.text

    def answer(self, model: str, messages: list[Message], settings: Settings) -> Iterator[Chunk]:
        """The answer in pieces with what is known about it. Closing it stops the server's work. Raises UserError."""
        usage = {"stream_options": {"include_usage": True}}
        body = {"model": model, "messages": messages, "stream": True, **usage, **asdict(settings)}
        try:
            with httpx.stream(
                "POST", self._url("chat/completions"), json=body, headers=self._headers, timeout=TIMEOUT
            ) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refusal(response)
                yield from _chunks(response)
        except httpx.HTTPError:
            raise _gone() from None

    def score(self, model: str, messages: list[Message], answer: str) -> Score:
        """The log-probability of `answer` as the reply to `messages`. Raises UserError."""
        told = self._ask("score", {"model": model, "messages": messages, "answer": answer})
        return Score(_number(told, "logprob"), _count(told, "tokens"))

    def tokens(self, model: str, messages: list[Message]) -> TokenCount:
        """How long a conversation is for a model. Raises UserError."""
        told = self._ask("tokens", {"model": model, "messages": messages})
        return TokenCount(_count(told, "tokens"), _count(told, "context"))

    def _ask(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """What a server says; {} when it has no such route."""
        try:
            response = httpx.post(self._url(route), json=body, headers=self._headers, timeout=TIMEOUT)
        except httpx.HTTPError:
            raise _gone() from None
        if response.status_code in NOT_THERE:
            return {}
        if response.status_code != 200:
            raise _refusal(response)
        told = _parsed(response)
        return told if isinstance(told, dict) else {}

    def _url(self, route: str) -> str:
        return f"{self._endpoint.url}/v1/{route}"

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._endpoint.token}"}


def _chunks(response: httpx.Response) -> Iterator[Chunk]:
    for line in response.iter_lines():
        if not line.startswith("data:") or line.removeprefix("data:").strip() == "[DONE]":
            continue
        told = json.loads(line.removeprefix("data:"))
        if "error" in told:
            raise _error(told)
        choice: dict[str, Any] = next(iter(told.get("choices") or []), {})
        text = (choice.get("delta") or {}).get("content") or ""
        yield Chunk(text, choice.get("finish_reason"), told.get("usage"), told.get("studio"))


def _number(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(told: Mapping[str, Any], key: str) -> int | None:
    value = _number(told, key)
    return None if value is None else int(value)


def _parsed(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _gone() -> UserError:
    return UserError("The model's server ended.", "Send the message again: it is started anew.")


def _refusal(response: httpx.Response) -> UserError:
    return _error(_parsed(response))


def _error(told: Any) -> UserError:
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, dict):
        return UserError(str(error.get("message")), str(error.get("hint", "")))
    return UserError("The model's server refused the request.", "Shorten the text and try again.")


__all__ = ["BASE", "ChatClient", "Chunk", "Score", "Settings", "Target", "TokenCount", "chat_target"]
