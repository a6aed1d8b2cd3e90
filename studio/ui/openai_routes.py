"""/v1: OpenAI's chat completions on the studio's own address, answered by the servers of the base models."""

import asyncio
import functools
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.api_models import ApiModel, NoSuchModel, api_models, api_target, remote_models
from studio.playground.remote import REMOTE, NoRemoteModel, remote_endpoint
from studio.ui.feedback import bug_response, explain
from studio.ui.openai_requests import (
    ApiError,
    api_error_response,
    no_model,
    read_request,
    server_error,
    server_request,
    unavailable,
)

LOAD_PATIENCE = 120.0  # seconds that a request waits for its base model
LOOK_EVERY = 0.2  # seconds
CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 600.0  # seconds
CLIENT_LEFT = 499  # nginx's number for a client that does not wait for the answer; nobody reads it


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Place:
    """Where a request is answered: the server, the word it wants to hear, and its name for the model.

    A server of `ours` can be told the name that the answer is to carry.
    """

    url: str
    token: str
    model: str
    ours: bool = True

    def naming(self, asked: str) -> dict[str, str]:
        """The part of a request that names the model, which was asked for as `asked`."""
        return {"model": self.model, **({"answer_as": asked} if self.ours else {})}


class OpenAIRoutes:
    """The routes below /v1."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def router(self) -> APIRouter:
        """All of them, to be included in the application; whatever else is below /v1 is not found."""
        router = APIRouter(prefix="/v1")
        router.get("/models")(self.models)
        router.get("/models/{model:path}")(self.model)
        router.post("/chat/completions")(self.chat)
        router.add_api_route("/{rest:path}", self.unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
        return router

    def models(self) -> dict[str, Any]:
        """Everything that can answer."""
        return {"object": "list", "data": [one.to_dict() for one in self._all()]}

    def model(self, model: str) -> dict[str, Any]:
        """One of them."""
        found = next((one for one in self._all() if one.id == model), None)
        if found is None:
            raise no_model(f"There is no model {model[:100]!r}.")
        return found.to_dict()

    def unknown(self, rest: str) -> None:
        """Anything else."""
        raise ApiError(404, f"There is no /v1/{rest[:100]} here.", code="unknown_url")

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or as a stream of server-sent events."""
        asked = await read_request(request)
        body = server_request(asked)
        try:
            place = await self._find(request, body["model"])
            upstream = await _send(request, place, body | place.naming(body["model"]))
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
        if upstream.response.status_code != 200:
            raise server_error(upstream.response.status_code, await upstream.json())
        kind = upstream.response.headers.get("content-type", "application/json")
        return PassedOn(upstream, media_type=kind, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})

    def _all(self) -> list[ApiModel]:
        return api_models(self._studio) + remote_models(self._studio)

    async def _find(self, request: Request, model: str) -> Place:
        """The server for a model, once it is loaded. Raises ApiError, ClientLeft."""
        if model.startswith(REMOTE):
            return await self._elsewhere(model)
        try:
            target = await run_in_threadpool(api_target, self._studio, model)
        except NoSuchModel as error:
            raise no_model(str(error)) from None
        except UserError as error:
            raise ApiError(400, str(error), code="model_not_ready", param="model") from None
        return await self._wait(request, target.base_model, target.model)

    async def _elsewhere(self, model: str) -> Place:
        try:
            endpoint = await run_in_threadpool(remote_endpoint, self._studio, model)
        except NoRemoteModel as error:
            raise no_model(str(error)) from None
        except UserError as error:
            raise unavailable(str(error)) from None
        assert endpoint is not None
        return Place(endpoint.url, endpoint.token, model.removeprefix(REMOTE), ours=False)

    async def _wait(self, request: Request, base_model: str, model: str) -> Place:
        end = time.monotonic() + LOAD_PATIENCE
        try:
            servers = self._studio.servers
            while (endpoint := await run_in_threadpool(servers.want, base_model)) is None:
                if await request.is_disconnected():
                    raise ClientLeft
                if time.monotonic() > end:
                    raise unavailable(servers.why(base_model) or f"{base_model} is still loading. Ask again.")
                await asyncio.sleep(LOOK_EVERY)
        except UserError as error:
            raise unavailable(str(error)) from None
        return Place(endpoint.url, endpoint.token, model)


class Upstream:
    """An answer that begins to arrive from a model's server, and the connection it comes through."""

    def __init__(self, client: httpx.AsyncClient, response: httpx.Response) -> None:
        self._client, self.response = client, response

    async def json(self) -> Any:
        """The whole body; None when it is no JSON."""
        try:
            return json.loads(await self.response.aread())
        except ValueError:
            return None
        finally:
            await self.close()

    async def bytes(self) -> AsyncIterator[bytes]:
        """The body as it comes. When the server ends in the middle of a stream, an error is its last event."""
        try:
            async for chunk in self.response.aiter_raw():
                yield chunk
        except httpx.HTTPError:
            error = ApiError(502, "The model's server ended before the answer was whole. Ask again.")
            yield f"\n\ndata: {json.dumps(error.body())}\n\n".encode()

    async def close(self) -> None:
        """Let the server know that nobody listens; it stops writing."""
        await self.response.aclose()
        await self._client.aclose()


class PassedOn(StreamingResponse):
    """The bytes of another server's answer. Its connection is closed when the client goes, however it goes."""

    def __init__(self, upstream: Upstream, **options: Any) -> None:
        super().__init__(upstream.bytes(), **options)
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._upstream.close()


async def _send(request: Request, place: Place, body: dict[str, Any]) -> Upstream:
    """Ask a model's server. Returns once its status is known. Raises ApiError, ClientLeft."""
    timeout = httpx.Timeout(CONNECT_TIMEOUT, read=READ_TIMEOUT)
    # The environment's proxies and .netrc are not for servers that we know by address.
    client = httpx.AsyncClient(timeout=timeout, trust_env=False, verify=_certificates())
    headers = {"authorization": f"Bearer {place.token}", "accept-encoding": "identity"}
    wanted = client.build_request("POST", f"{place.url}/v1/chat/completions", json=body, headers=headers)
    sending = asyncio.ensure_future(client.send(wanted, stream=True))
    upstream = None
    try:
        while not (await asyncio.wait({sending}, timeout=LOOK_EVERY))[0]:
            if await request.is_disconnected():
                raise ClientLeft
        upstream = Upstream(client, sending.result())
    except httpx.HTTPError:
        raise unavailable("The model's server does not answer. Ask again: it is started anew.") from None
    finally:
        if upstream is None:
            sending.cancel()
            await client.aclose()
    return upstream


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Reading the machine's certificates takes 20 ms: once is enough."""
    return httpx.create_ssl_context()


async def api_bug_response(request: Request, error: Exception) -> JSONResponse:
    """What a bug looks like: to a program as OpenAI's errors do, to the page as ours do."""
    if not request.url.path.startswith("/v1/"):
        return await bug_response(request, error)
    message, hint = explain(error)
    return JSONResponse(ApiError(500, f"{message} {hint}").body(), status_code=500)


def mount_openai(app: FastAPI, studio: Studio) -> None:
    """Put /v1 into the application, with the looks of its errors."""
    app.include_router(OpenAIRoutes(studio).router())
    app.add_exception_handler(ApiError, api_error_response)
    app.add_exception_handler(Exception, api_bug_response)
