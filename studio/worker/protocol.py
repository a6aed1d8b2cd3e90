"""The part of OpenAI's chat-completions protocol that is spoken here: what is asked, answered and refused."""

import secrets
import time
from typing import Any, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from starlette.exceptions import HTTPException

from studio.errors import UserError
from studio.worker.sampling import Sampling

BASE = "base"
MOST_TOKENS = 131_072
# Fields of OpenAI's that change nothing in an answer.
WITHOUT_EFFECT = {
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "stream_options"),
    *("prompt_cache_key", "prompt_cache_retention", "prediction", "cache_prompt", "keep_alive", "request_id"),
    *("chat_id", "session_id", "conversation_id"),
}
# Fields that would change it, with the values at which they do not. The middle effort is what everybody means who
# leaves it out.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "audio": ({},),
    "web_search_options": ({},),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (1,),
    "min_tokens": (0,),
    "length_penalty": (1,),
    "ignore_eos": (False,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "use_beam_search": (False,),
    "reasoning_effort": ("medium",),
    "verbosity": ("medium",),
}
# Narrow what is drawn from; at temperature 0 nothing is drawn.
OF_DRAWING = {"top_k", "min_p", "typical_p"}


class Refused(UserError):
    """A field of the request that cannot be honoured. `code` is OpenAI's word for it."""

    def __init__(self, message: str, hint: str, param: str, code: str | None = None) -> None:
        super().__init__(message, hint)
        self.param, self.code = param, code


class TextPart(BaseModel):
    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]

    @model_validator(mode="before")
    @classmethod
    def _nothing_said(cls, value: Any) -> Any:
        """A model that only called a tool has said nothing; OpenAI writes null for that."""
        silent = isinstance(value, dict) and value.get("role") == "assistant" and value.get("content") is None
        return {**value, "content": ""} if silent else value

    @field_validator("content")
    @classmethod
    def _join(cls, content: str | list[TextPart]) -> str:
        return content if isinstance(content, str) else "".join(part.text for part in content)

    def plain(self) -> dict[str, str]:
        """The message as chat templates take it."""
        return {"role": "system" if self.role == "developer" else self.role, "content": str(self.content)}


class Conversation(BaseModel):
    """A conversation and who is to go on with it."""

    model_config = ConfigDict(extra="ignore")

    model: str = BASE
    messages: list[ChatMessage] = Field(min_length=1)

    def plain(self) -> list[dict[str, str]]:
        """The messages as chat templates take them."""
        return [message.plain() for message in self.messages]


class ScoreRequest(Conversation):
    """How likely an answer is."""

    answer: str


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatRequest(Conversation):
    """A request for an answer. What would change the answer and is not known here is refused, never passed over.

    `answer_as`: what the answer calls the model; the studio knows it by more names than its server.
    """

    model_config = ConfigDict(extra="allow")

    answer_as: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> list[str]:
        texts = [stop] if isinstance(stop, str) else stop or []
        if len(texts) > 4 or "" in texts:
            raise ValueError("at most four texts, none of them empty")
        return texts

    @model_validator(mode="after")
    def _refuse_unknown(self) -> "ChatRequest":
        for name, value in (self.model_extra or {}).items():
            if value is None or name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ()):
                continue
            if self.temperature == 0 and name in OF_DRAWING:
                continue
            known = f"{name} can only be {NEUTRAL[name][0]!r} here" if name in NEUTRAL else f"{name} is not known here"
            raise Refused(f"{known}.", "Leave it out.", name)
        return self

    def sampling(self, room: int) -> Sampling:
        """How the answer is drawn when so many tokens have room."""
        asked = self.max_completion_tokens or self.max_tokens or 256
        return Sampling(
            temperature=0.7 if self.temperature is None else self.temperature,
            top_p=0.9 if self.top_p is None else self.top_p,
            max_tokens=min(asked, room),
            seed=self.seed,
            stop=tuple(self.stop or ()),
        )


def completion(kind: str, model: str) -> dict[str, Any]:
    """What every answer and every piece of one begins with."""
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    """OpenAI's account of tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def error_body(message: str, hint: str = "", *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """OpenAI's shape of an error, with our hint."""
    error = {"message": message, "hint": hint, "type": "invalid_request_error", "param": param, "code": code}
    return {"error": error}


async def user_error(request: Request, error: UserError) -> JSONResponse:
    """What a user can fix."""
    param, code = (error.param, error.code) if isinstance(error, Refused) else (None, None)
    return JSONResponse(error_body(error.message, error.hint, param=param, code=code), status_code=400)


async def bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """A request of another form, told in a sentence that names the field."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    text = f"{where or 'The request'}: {first['msg']}."
    return JSONResponse(error_body(text, "Correct the request.", param=where or None), status_code=400)


async def http_error(request: Request, error: HTTPException) -> JSONResponse:
    """No such page, or no right to it."""
    code = "invalid_api_key" if error.status_code == 401 else None
    return JSONResponse(error_body(str(error.detail), code=code), status_code=error.status_code)
