"""What a program may ask of /v1, made into what a model's server understands; and OpenAI's shape of an error."""

import json
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

BODY_LIMIT = 8 * 1024**2  # bytes
RETRY_AFTER = 15  # seconds
# Parameters that change what an answer is, and that no server of ours honours: refused rather than passed over.
UNHEARD = ("tools", "functions", "audio", "web_search_options")


class ApiError(Exception):
    """An answer with an error in it. `kind` and `code` are OpenAI's `type` and `code`."""

    def __init__(self, status: int, message: str, *, kind: str = "", code: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")
        self.code = code or None

    def body(self) -> dict[str, Any]:
        """{"error": {...}} as OpenAI sends it."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def no_model(message: str) -> ApiError:
    """A model that nobody knows."""
    return ApiError(404, message, code="model_not_found", param="model")


def unavailable(message: str) -> ApiError:
    """A model that cannot be loaded now; the client should ask again."""
    return ApiError(503, message, kind="server_error", code="model_not_loaded")


async def api_error_response(request: Request, error: Exception) -> JSONResponse:
    """The handler of ApiError."""
    assert isinstance(error, ApiError)
    headers = {"retry-after": str(RETRY_AFTER)} if error.status in (429, 503) else None
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


async def read_request(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body. Raises ApiError.

    Another content type is refused: a page of another site can send text without asking the browser first, JSON not.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "Send the request as application/json.", code="unsupported_media_type")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise ApiError(413, f"The request has more than {BODY_LIMIT // 1024**2} MiB.", code="request_too_large")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body is not a JSON object.", code="invalid_json")
    return value


def server_request(asked: dict[str, Any]) -> dict[str, Any]:
    """A chat-completions request for a model's server; what it may know and we do not is passed on. Raises ApiError."""
    model, messages = asked.get("model"), asked.get("messages")
    if not isinstance(model, str) or not model:
        raise ApiError(400, "Say which model answers.", code="missing_required_parameter", param="model")
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "messages is not a list of messages.", code="invalid_type", param="messages")
    for name in UNHEARD:
        if asked.get(name):
            raise _unheard(name)
    if asked.get("n") not in (None, 1):
        raise _unheard("n")
    wanted = asked.get("response_format")
    if wanted and not (isinstance(wanted, dict) and wanted.get("type") == "text"):
        raise _unheard("response_format")
    body = {name: value for name, value in asked.items() if value is not None}
    longest = body.pop("max_completion_tokens", None)
    if longest is not None:
        body["max_tokens"] = longest
    return body | {"messages": [_message(message, index) for index, message in enumerate(messages)]}


def _unheard(name: str) -> ApiError:
    return ApiError(400, f"This studio's models do not support {name}.", code="unsupported_parameter", param=name)


def _message(message: Any, index: int) -> dict[str, Any]:
    """A message whose content is one text; a developer is a system, as OpenAI's own models took it before."""
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise ApiError(400, f"{where} is not an object.", code="invalid_type", param=where)
    role = "system" if message.get("role") == "developer" else message.get("role")
    content = message.get("content")
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        if not all(isinstance(part, str) for part in parts):
            raise ApiError(400, f"{where} holds something that is not text.", code="invalid_value", param=where)
        content = "".join(str(part) for part in parts)
    if content is None and role == "assistant":
        content = ""  # it only called a tool
    return {**message, "role": role, "content": content}


def server_error(status: int, body: Any) -> ApiError:
    """What a model's server refused, in OpenAI's shape: ours, vLLM's, SGLang's or FastAPI's own."""
    status = 400 if status == 422 else status if 400 <= status < 600 else 502
    error = body.get("error", body) if isinstance(body, dict) else {}
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        message = f"{error['message']} {error.get('hint') or ''}".strip()
        code = error.get("code")
        return ApiError(
            status, message, kind=str(error.get("type") or ""), code=code if isinstance(code, str) else "",
            param=error.get("param"),
        )  # fmt: skip
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list) and detail:
        where = ".".join(str(part) for part in detail[0].get("loc", [])[1:])
        return ApiError(status, f"{where}: {detail[0].get('msg')}", code="invalid_value", param=where or None)
    return ApiError(status, str(detail or "The model's server refused the request."))
