"""A server elsewhere that speaks OpenAI's protocol (vLLM, SGLang, others), and the adapters of this workspace on it."""

import functools
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.jobs.studio import Studio
from studio.settings import Settings
from studio.starter_model import HUB_ID as STARTER_HUB_ID
from studio.workspace import Workspace, read_json

REMOTE = "remote:"  # how a choice in a menu begins that is answered elsewhere; the rest is the server's name for it
LISTED_FOR = 10.0  # seconds that a list of models, or a server's silence, is remembered
TIMEOUT = httpx.Timeout(3, read=60)  # seconds; an adapter is loaded within one request
NO_KEY = "none"  # a header needs a word; servers that want no key read none
ROUTES = {"vllm": "/v1/load_lora_adapter", "sglang": "/load_lora_adapter"}


class NoRemoteModel(UserError):
    """The other server knows no such model, and has nothing to make it of."""


@dataclass(frozen=True)
class RemoteModel:
    """`name`: what the server calls it, or will; `adapter`: the workspace's adapter that it is to load for it."""

    name: str
    base: str
    adapter: str = ""


class RemoteServer:
    """One server, as the settings name it. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.endpoint = Endpoint(settings.remote_url, settings.remote_key or NO_KEY)
        self._kind, self._there = settings.remote_kind, settings.remote_workspace
        self._workspace = Workspace(settings.workspace)
        self._lock = threading.Lock()
        self._listed: tuple[float, list[dict[str, Any]] | UserError] = (0.0, [])

    def models(self) -> list[RemoteModel]:
        """What the server has loaded: its bases and the adapters on them. Raises UserError."""
        return [RemoteModel(str(card["id"]), str(card.get("parent") or card["id"])) for card in self._cards()]

    def loadable(self, adapters: Iterable[str]) -> list[RemoteModel]:
        """Which of the workspace's adapters the server could load and has not yet. Raises UserError."""
        known = {model.name for model in self.models()}
        found = [self._on_it(adapter) for adapter in adapters] if self._kind in ROUTES else []
        return [model for model in found if model is not None and model.name not in known]

    def reach(self, name: str) -> Endpoint:
        """Where a model answers, its adapter loaded when it is not yet. Raises NoRemoteModel, UserError."""
        if name not in {model.name for model in self.models()}:
            adapter = name.rpartition(":")[2] if self._kind == "sglang" else name
            wanted = self._on_it(adapter) if self._kind in ROUTES else None
            if wanted is None or wanted.name != name:
                raise NoRemoteModel(
                    f"The remote server has no model {name[:100]!r}.",
                    "It can load LoRA adapters whose base model it holds.",
                )
            self._load(adapter)
        return self.endpoint

    def _on_it(self, adapter: str) -> RemoteModel | None:
        """An adapter of the workspace as the server would have it; None when it is no LoRA of a base that it holds."""
        if not names.ID_PATTERN.fullmatch(adapter):
            return None
        folder = self._workspace.adapter_folder(adapter)
        origin, config = read_json(folder / names.ORIGIN), read_json(folder / "adapter_config.json")
        if not origin or not config or config.get("peft_type") != "LORA" or config.get("use_dora"):
            return None
        wanted = {str(origin.get("base_model")), STARTER_HUB_ID if origin.get("base_model") == "starter" else ""}
        for card in self._cards():
            if not card.get("parent") and {str(card["id"]), str(card.get("root"))} & (wanted - {""}):
                base = str(card["id"])
                return RemoteModel(f"{base}:{adapter}" if self._kind == "sglang" else adapter, base, adapter)
        return None

    def _load(self, adapter: str) -> None:
        folder = self._workspace.adapter_folder(adapter).relative_to(self._workspace.root)
        there = (self._there or self._workspace.root.absolute()) / folder
        response = self._ask("POST", ROUTES[self._kind], {"lora_name": adapter, "lora_path": str(there)})
        if response.status_code in (404, 405):
            raise UserError(
                "The remote server does not load adapters.",
                "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, SGLang with --enable-lora.",
            )
        if response.status_code != 200 and "already" not in response.text:
            raise UserError(
                f"The remote server did not load {adapter}: {_told(response)}",
                "It must see the workspace's folder: STUDIO_REMOTE_WORKSPACE says where.",
            )
        with self._lock:
            self._listed = (0.0, [])

    def _cards(self) -> list[dict[str, Any]]:
        """OpenAI's list of models, asked for anew every few seconds. Raises UserError when the server is silent."""
        with self._lock:
            if not self._listed[0] or time.monotonic() - self._listed[0] > LISTED_FOR:
                try:
                    self._listed = (time.monotonic(), self._list())
                except UserError as error:
                    self._listed = (time.monotonic(), error)
            found = self._listed[1]
        if isinstance(found, UserError):
            raise UserError(found.message, found.hint)
        return found

    def _list(self) -> list[dict[str, Any]]:
        response = self._ask("GET", "/v1/models")
        try:
            cards = response.json()["data"] if response.status_code == 200 else None
        except (ValueError, KeyError, TypeError):
            cards = None
        if not isinstance(cards, list):
            raise UserError(
                f"The remote server's list of models cannot be read: {_told(response)}",
                "Check STUDIO_REMOTE_URL and STUDIO_REMOTE_KEY.",
            )
        return [card for card in cards if isinstance(card, dict) and isinstance(card.get("id"), str)]

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.endpoint.token}"}
        try:
            return httpx.request(method, f"{self.endpoint.url}{path}", json=body, headers=headers, timeout=TIMEOUT)
        except httpx.HTTPError:
            raise UserError(
                f"The remote server at {self.endpoint.url} does not answer.", "Start it, or unset STUDIO_REMOTE_URL."
            ) from None


@functools.lru_cache(maxsize=4)
def remote_server(settings: Settings) -> RemoteServer | None:
    """The server that the settings name; None when they name none."""
    return RemoteServer(settings) if settings.remote_url else None


def remote_endpoint(studio: Studio, choice: str) -> Endpoint | None:
    """Where a choice in a menu is answered when that is elsewhere; None when it is answered here. Raises UserError."""
    if not choice.startswith(REMOTE):
        return None
    server = remote_server(studio.settings)
    if server is None:
        raise NoRemoteModel("This studio knows no remote server.", "Its operator can set STUDIO_REMOTE_URL.")
    return server.reach(choice.removeprefix(REMOTE))


def adapters_of(workspace: Workspace) -> list[str]:
    """The ids of all adapters that lie in the workspace: imported ones, then what jobs left."""
    folders = [*sorted(workspace.adapters.iterdir()), *sorted(workspace.jobs.iterdir())]
    return [folder.name for folder in folders if names_an_adapter(folder)]


def names_an_adapter(folder: Path) -> bool:
    """Whether a folder of a job or of an import holds an adapter."""
    return bool(names.ID_PATTERN.fullmatch(folder.name)) and (folder / names.ADAPTER).is_dir()


def _told(response: httpx.Response) -> str:
    """What a server said about a refusal, in one line."""
    try:
        body = response.json()
    except json.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        inner: dict[str, Any] = body["error"] if isinstance(body.get("error"), dict) else body
        body = next((inner[key] for key in ("message", "error_message", "detail") if inner.get(key)), None)
    return " ".join(str(body or response.text).split())[:300] or f"status {response.status_code}"
