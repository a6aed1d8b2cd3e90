"""Inference servers: one process a base model, started when somebody wants to chat, found again after a restart."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from studio import workspace as names
from studio.errors import UserError
from studio.jobs import sharing
from studio.jobs.events import Failed, read_events
from studio.jobs.launchers import local
from studio.jobs.sharing import Chat, Ledger, Space, gib
from studio.jobs.spec import ServeSpec, read_spec, spec_text
from studio.workspace import Workspace, new_id, read_json, write_text

MOST_AT_ONCE = 2  # base models kept in memory; of the idle ones, the one that was wanted longest ago ends first
WATCH_EVERY = 5.0  # seconds between two looks at who is answering
ASKING = 5.0  # seconds between asking for a server and an answer that can be seen in progress
LEFT_AFTER = 3.0  # seconds without asking again after which nobody waits for a base model any more
MOST_WAIT = 150.0  # seconds that somebody waits for others before being told to come back
END_GRACE = 15.0  # seconds for a server to end before it is killed


@dataclass(frozen=True)
class Endpoint:
    """Where an inference server answers, and the word it wants to hear."""

    url: str
    token: str = field(repr=False)


class ServerPool:
    """Which base models are wanted, and the servers that hold them. `tend` runs in the supervisor's thread.

    An answer in progress is never cut off for another model: what is idle makes room, else the newcomer waits.
    """

    def __init__(self, workspace: Workspace, *, worker: str = "studio.worker") -> None:
        self._workspace = workspace
        self._worker = worker  # by name: the rooms of the page and of the workers never import each other
        self._ledger = Ledger(workspace)
        self._lock = threading.Lock()
        self._servers: dict[str, str] = {}  # base model → server id
        self._used: dict[str, float] = {}  # base model → when it was last wanted or seen to answer
        self._wanted: dict[str, tuple[float, float]] = {}  # base model → first and last time since it is wanted
        self._failures: dict[str, UserError] = {}
        self._reasons: dict[str, str] = {}
        self._ending: dict[Path, float] = {}
        self._watched = 0.0
        self._reserved: tuple[float, str] | None = None
        self._adopt()

    def want(self, base_model: str) -> Endpoint | None:
        """The endpoint for a base model, or None while it starts or waits; ask again until it is there.

        Raises UserError when it could not start, or when it waited too long for others.
        """
        with self._lock:
            if base_model in self._failures:
                raise self._failures.pop(base_model)
            now = self._used[base_model] = time.monotonic()
            server_id = self._servers.get(base_model)
            if server_id is not None:
                folder = self._workspace.server(server_id)
                if _is_alive(folder):
                    return _endpoint(folder)
                self._forget(base_model, folder)
            first = self._wanted.get(base_model, (now, now))[0]
            reason = self._reasons.get(base_model)
            if reason and now - first > MOST_WAIT:
                self._wanted.pop(base_model, None)
                raise UserError(reason, "Ask again later.")
            self._wanted[base_model] = (first, now)
            return None

    def why(self, base_model: str) -> str:
        """Why a base model that is wanted does not load yet; "" when nothing but loading is to be waited for."""
        with self._lock:
            return self._reasons.get(base_model, "")

    def running(self) -> list[str]:
        """The base models that are in memory."""
        with self._lock:
            return self._alive()

    def chats(self, space: Space) -> list[Chat]:
        """What is in memory, the one wanted longest ago first."""
        with self._lock:
            return [self._chat(base_model, space) for base_model in self._alive()]

    @property
    def is_ending(self) -> bool:
        """Whether a server that was told to end still holds its memory."""
        with self._lock:
            self._see_out()
            return bool(self._ending)

    def reserve(self, need: float | None, job: str = "") -> None:
        """Keep `need` bytes free for a job that is next; None: no longer."""
        with self._lock:
            self._reserved = None if need is None else (need, job)

    def tend(self) -> None:
        """Start what is wanted where there is room; make room where somebody is idle."""
        with self._lock:
            self._see_out()
            now = time.monotonic()
            if now - self._watched > WATCH_EVERY:
                self._watched = now
                for base_model in self._servers:
                    self._is_answering(base_model)
            for base_model, (_, last) in sorted(self._wanted.items(), key=lambda item: item[1]):
                try:
                    reason = self._obstacle(base_model)
                    if reason is None:
                        self._servers[base_model] = self._start(base_model)
                except UserError as error:
                    self._failures[base_model], reason = error, None
                if reason is None or now - last > LEFT_AFTER:
                    del self._wanted[base_model]
                self._reasons[base_model] = reason or ""

    def end(self, base_model: str) -> None:
        """End the server of one base model, if there is one."""
        with self._lock:
            self._let_go(base_model)

    def end_all(self) -> None:
        """End every server: the studio is going away and nobody can chat."""
        with self._lock:
            for base_model in list(self._servers):
                self._let_go(base_model)

    def _obstacle(self, base_model: str) -> str | None:
        """None when a server can start; else why it waits. Lets idle ones go. Raises UserError when it is refused."""
        others = self._alive()
        idle = [one for one in others if not self._is_answering(one)]
        full = len(others) >= MOST_AT_ONCE
        if full and not idle:
            return (
                f"{' and '.join(others)} are answering now, and {MOST_AT_ONCE} base models are kept in memory. "
                f"{base_model} is loaded as soon as one of them is idle."
            )
        reason = self._shortage(base_model, others, idle)
        if reason is None and full:
            self._let_go(idle[0])
        return reason

    def _shortage(self, base_model: str, others: list[str], idle: list[str]) -> str | None:
        """The same for memory alone, asking the machine what is free."""
        space = sharing.look_around()
        need = sharing.chat_needs(base_model, self._workspace, space)
        workers = self._ledger.workers(space)
        reserved, next_job = self._reserved or (0.0, "")
        free = self._ledger.free(space, workers) - reserved
        if need is None or need <= free:
            return None
        if self._ending:
            return ""  # what they hold is free in a moment
        if self._free_up(need - free, idle, space):
            return ""
        training = [worker for worker in workers if worker.trains]
        if any(worker.is_over for worker in training):
            return ""
        jobs = [worker.name for worker in training] or ([next_job] if next_job else [])
        short = f"{base_model} needs about {gib(need)} of {space.name}'s memory, and {gib(free)} are free"
        if jobs:
            raise UserError(
                f"{short} beside the job {jobs[0]}.",
                "Wait until the job is finished, stop it, or choose a smaller model.",
            )
        if len(idle) < len(others):
            return f"{short} while {' and '.join(one for one in others if one not in idle)} answers."
        return None  # nobody of ours holds the rest: trying is the only way to know

    def _free_up(self, missing: float, idle: list[str], space: Space) -> bool:
        """Let idle ones go, in their order, when that brings `missing` bytes; else none of them."""
        going: list[str] = []
        for base_model in idle:
            going.append(base_model)
            missing -= self._chat(base_model, space).held
            if missing <= 0:
                for each in going:
                    self._let_go(each)
                return True
        return False

    def _alive(self) -> list[str]:
        found = [base for base, server_id in self._servers.items() if _is_alive(self._workspace.server(server_id))]
        return sorted(found, key=lambda base: self._used.get(base, 0.0))

    def _chat(self, base_model: str, space: Space) -> Chat:
        folder = self._workspace.server(self._servers[base_model])
        answering, record = self._is_answering(base_model), local.read_record(folder)
        amount = sharing.held(record, space) if record is not None else 0
        if amount is None:
            amount = sharing.chat_needs(base_model, self._workspace, space) or 0
        idle = time.monotonic() - self._used.get(base_model, 0.0)
        return Chat(base_model=base_model, held=amount, answering=answering, idle=idle)

    def _is_answering(self, base_model: str) -> bool:
        """Whether somebody is connected with a server, or about to be; notes when that was."""
        now = time.monotonic()
        if _has_visitors(self._workspace.server(self._servers[base_model])):
            self._used[base_model] = now
            return True
        return now - self._used.get(base_model, 0.0) < ASKING

    def _start(self, base_model: str) -> str:
        server_id = new_id("chat")
        folder = self._workspace.server(server_id)
        folder.mkdir(mode=0o700)
        write_text(folder / names.SPEC, spec_text(ServeSpec(base_model=base_model)))
        local.launch(self._worker, folder)
        return server_id

    def _forget(self, base_model: str, folder: Path) -> None:
        """Drop a server that ended; say why when it failed."""
        del self._servers[base_model]
        events = read_events(folder / names.EVENTS)
        self._workspace.discard(folder)
        if events and isinstance(events[-1], Failed):
            raise UserError(events[-1].message, events[-1].hint)

    def _let_go(self, base_model: str) -> None:
        server_id = self._servers.pop(base_model, None)
        record = local.read_record(self._workspace.server(server_id)) if server_id else None
        if server_id is not None and record is not None:
            local.terminate(record)
            self._ending[self._workspace.server(server_id)] = time.monotonic()

    def _see_out(self) -> None:
        """Clear away the servers that have ended since they were told to; kill one that does not."""
        for folder, told in list(self._ending.items()):
            record = local.read_record(folder)
            if record is None or not local.is_alive(record):
                del self._ending[folder]
                self._workspace.discard(folder)
            elif time.monotonic() - told > END_GRACE:
                local.kill(record)

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


def _has_visitors(folder: Path) -> bool:
    """Whether a program is connected with a server: it is being answered."""
    record, value = local.read_record(folder), read_json(folder / names.ENDPOINT)
    if record is None or not value:
        return False
    try:
        connections = psutil.Process(record.pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.laddr[1:] == (value["port"],) and one.status == psutil.CONN_ESTABLISHED for one in connections)


def _endpoint(folder: Path) -> Endpoint | None:
    value = read_json(folder / names.ENDPOINT)
    return Endpoint(f"http://127.0.0.1:{value['port']}", value["token"]) if value else None
