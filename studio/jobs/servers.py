"""Inference servers: one process a base model, started when somebody wants to chat, found again after a restart."""

import threading
import time
from pathlib import Path

from studio import workspace as names
from studio.errors import UserError
from studio.jobs import sharing
from studio.jobs.chat_weights import ChatWeights
from studio.jobs.launchers import local
from studio.jobs.running_server import Endpoint, RunningServer, find_server
from studio.jobs.sharing import Chat, Ledger, Space, gib
from studio.jobs.spec import ServeSpec, spec_text
from studio.jobs.training_options import QuantizationName
from studio.workspace import Workspace, new_id, write_text

MOST_AT_ONCE = 2  # base models kept in memory; of the idle ones, the one that was wanted longest ago ends first
WATCH_EVERY = 5.0  # seconds between two looks at who is answering
ASKING = 5.0  # seconds between asking for a server and an answer that can be seen in progress
LEFT_AFTER = 3.0  # seconds without asking again after which nobody waits for a base model any more
MOST_WAIT = 150.0  # seconds that somebody waits for others before being told to come back
STEP = 64 << 20  # bytes; what is promised is told in such steps, rounded up, rather than anew at every look
END_GRACE = 15.0  # seconds for a server to end before it is killed


class ServerPool:
    """Which base models are wanted, and the servers that hold them. `tend` runs in the supervisor's thread.

    An answer in progress is never cut off for another model: what is idle makes room, else the newcomer waits. Nor is
    it when base models are to be held another way: until its server is idle, newcomers are answered by it as well.
    `quantization`: hold base models so, whatever the studio has chosen; servers of another kind are left alone.
    """

    def __init__(
        self, workspace: Workspace, *, worker: str = "studio.worker", quantization: QuantizationName | None = None
    ) -> None:
        self._workspace = workspace
        self._worker = worker  # by name: the rooms of the page and of the workers never import each other
        self._quantization, self._weights = quantization, ChatWeights(workspace)
        self._ledger = Ledger(workspace)
        self._lock = threading.Lock()
        self._servers: dict[str, RunningServer] = {}  # by base model
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
            server = self._servers.get(base_model)
            if server is not None:
                if server.is_alive:
                    return server.endpoint
                self._forget(base_model)
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

    def promise(self, need: int) -> None:
        """A job of `need` bytes starts now: what is loaded must not grow into them."""
        with self._lock:
            self._tell_promised(need)

    def tend(self) -> None:
        """Start what is wanted where there is room; make room where somebody is idle."""
        with self._lock:
            self._see_out()
            self._let_go_of_others()
            now = time.monotonic()
            if now - self._watched > WATCH_EVERY and self._servers:
                self._watched = now
                for base_model in self._servers:
                    self._is_answering(base_model)
                self._tell_promised(0)
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
        need = sharing.chat_needs(self._spec(base_model), self._workspace, space)
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
        found = [base for base, server in self._servers.items() if server.is_alive]
        return sorted(found, key=lambda base: self._used.get(base, 0.0))

    def _chat(self, base_model: str, space: Space) -> Chat:
        server = self._servers[base_model]
        answering, record = self._is_answering(base_model), server.record
        amount = sharing.held(record, space) if record is not None else 0
        if amount is None:
            amount = sharing.chat_needs(server.spec, self._workspace, space) or 0
        idle = time.monotonic() - self._used.get(base_model, 0.0)
        return Chat(base_model=base_model, held=amount, answering=answering, idle=idle)

    def _is_answering(self, base_model: str) -> bool:
        """Whether somebody is connected with a server, or about to be; notes when that was."""
        now = time.monotonic()
        if self._servers[base_model].has_visitors:
            self._used[base_model] = now
            return True
        return now - self._used.get(base_model, 0.0) < ASKING

    def _wished(self) -> QuantizationName:
        """How base models are to be held now."""
        return self._quantization or self._weights.read()

    def _spec(self, base_model: str) -> ServeSpec:
        return ServeSpec(base_model=base_model, quantization=self._wished())

    def _start(self, base_model: str) -> RunningServer:
        server = RunningServer(self._workspace.server(new_id("chat")), self._spec(base_model))
        server.folder.mkdir(mode=0o700)
        write_text(server.folder / names.SPEC, spec_text(server.spec))
        local.launch(self._worker, server.folder)
        return server

    def _tell_promised(self, more: int) -> None:
        """Tell what answers how much it has to leave to the jobs that run, to what loads, and to `more`."""
        alive = [server for server in self._servers.values() if server.is_alive]
        workers = self._ledger.workers(sharing.look_around()) if alive else []
        for server in alive:
            amount = more + sum(one.promised for one in workers if one.folder != server.folder)
            server.leave_free(-(-amount // STEP) * STEP)

    def _forget(self, base_model: str) -> None:
        """Drop a server that ended; say why when it failed."""
        server = self._servers.pop(base_model)
        failure = server.failure
        self._workspace.discard(server.folder)
        if failure is not None:
            raise failure

    def _let_go(self, base_model: str) -> None:
        server = self._servers.pop(base_model, None)
        record = server.record if server else None
        if server is not None and record is not None:
            local.terminate(record)
            self._ending[server.folder] = time.monotonic()

    def _let_go_of_others(self) -> None:
        """End the servers that hold their base another way than is wished now, unless somebody is answered."""
        wished = self._wished()
        for base_model, server in list(self._servers.items()):
            if server.spec.quantization == wished or not server.is_alive:
                continue
            if server.endpoint is None or not self._is_answering(base_model):  # who only loads answers nobody yet
                self._let_go(base_model)

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
            server = find_server(folder)
            if server is None or not server.is_alive:
                self._workspace.discard(folder)
            elif self._quantization in (None, server.spec.quantization):
                base_model, as_wished = server.spec.base_model, server.spec.quantization == self._wished()
                if as_wished or base_model not in self._servers:  # another one may be of a chat in a shell
                    self._servers[base_model] = server


__all__ = ["Endpoint", "ServerPool"]
