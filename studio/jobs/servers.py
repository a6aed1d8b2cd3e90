"""Inference servers: one process a base model, started when somebody wants to chat, found again after a restart."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.events import Failed, read_events
from studio.jobs.launchers import local
from studio.jobs.spec import ServeSpec, read_spec, spec_text
from studio.workspace import Workspace, new_id, read_json, write_text

MOST_AT_ONCE = 2  # base models kept in memory; the one that was wanted longest ago ends first


@dataclass(frozen=True)
class Endpoint:
    """Where an inference server answers, and the word it wants to hear."""

    url: str
    token: str = field(repr=False)


class ServerPool:
    """Which base models are wanted, and the servers that hold them. `tend` runs in the supervisor's thread."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._servers: dict[str, str] = {}  # base model → server id, the last wanted at the end
        self._wanted: list[str] = []
        self._failures: dict[str, UserError] = {}
        self._reasons: dict[str, str] = {}
        self._adopt()

    def want(self, base_model: str) -> Endpoint | None:
        """The endpoint for a base model, or None while it starts. Raises UserError when it could not start."""
        with self._lock:
            if base_model in self._failures:
                raise self._failures.pop(base_model)
            server_id = self._servers.pop(base_model, None)
            if server_id is not None:
                self._servers[base_model] = server_id
                folder = self._workspace.server(server_id)
                if _is_alive(folder):
                    return _endpoint(folder)
                self._forget(base_model, folder)
            if base_model not in self._wanted:
                self._wanted.append(base_model)
            return None

    def why(self, base_model: str) -> str:
        """Why a base model that is wanted does not load yet; "" when nothing but loading is to be waited for."""
        with self._lock:
            return self._reasons.get(base_model, "")

    def running(self) -> list[str]:
        """The base models that are in memory."""
        with self._lock:
            return [base for base, server_id in self._servers.items() if _is_alive(self._workspace.server(server_id))]

    def tend(self) -> None:
        """Start what is wanted; end what is too much."""
        with self._lock:
            wanted, self._wanted = self._wanted, []
            for base_model in wanted:
                while len(self._servers) >= MOST_AT_ONCE:
                    oldest = next(iter(self._servers))
                    self._end(self._workspace.server(self._servers.pop(oldest)))
                try:
                    self._servers[base_model] = self._start(base_model)
                except UserError as error:
                    self._failures[base_model] = error

    def end(self, base_model: str) -> None:
        """End the server of one base model, if there is one."""
        with self._lock:
            server_id = self._servers.pop(base_model, None)
            if server_id is not None:
                self._end(self._workspace.server(server_id))

    def end_all(self) -> None:
        """End every server: the studio is going away and nobody can chat."""
        with self._lock:
            for server_id in self._servers.values():
                self._end(self._workspace.server(server_id))
            self._servers.clear()

    def _start(self, base_model: str) -> str:
        server_id = new_id("chat")
        folder = self._workspace.server(server_id)
        folder.mkdir(mode=0o700)
        write_text(folder / names.SPEC, spec_text(ServeSpec(base_model=base_model)))
        local.launch("studio.worker", folder)
        return server_id

    def _forget(self, base_model: str, folder: Path) -> None:
        """Drop a server that ended; say why when it failed."""
        del self._servers[base_model]
        events = read_events(folder / names.EVENTS)
        self._workspace.discard(folder)
        if events and isinstance(events[-1], Failed):
            raise UserError(events[-1].message, events[-1].hint)

    def _end(self, folder: Path) -> None:
        record = local.read_record(folder)
        if record is not None:
            local.terminate(record)

    def _adopt(self) -> None:
        """Find the servers that an earlier studio left running; clear away the folders of those that ended."""
        for folder in sorted(self._workspace.servers.iterdir()):
            spec = _serve_spec(folder)
            if spec is not None and _is_alive(folder):
                self._servers[spec.base_model] = folder.name
            else:
                self._workspace.discard(folder)


def _serve_spec(folder: Path) -> ServeSpec | None:
    """What a server was told; None when that cannot be read (an older studio's, or damaged)."""
    try:
        spec = read_spec(folder / names.SPEC)
    except UserError:
        return None
    return spec if isinstance(spec, ServeSpec) else None


def _is_alive(folder: Path) -> bool:
    record = local.read_record(folder)
    return record is not None and local.is_alive(record)


def _endpoint(folder: Path) -> Endpoint | None:
    value = read_json(folder / names.ENDPOINT)
    return Endpoint(f"http://127.0.0.1:{value['port']}", value["token"]) if value else None
