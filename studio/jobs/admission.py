"""May the next job start beside the chats? Unloads idle ones for it, or says what it waits for."""

import time

from studio import workspace as names
from studio.catalog import Catalog
from studio.jobs import sharing
from studio.jobs.events import EventWriter, Progress, Warned
from studio.jobs.servers import ServerPool
from studio.jobs.sharing import Ledger, Plan, gib
from studio.jobs.spec import JobSpec, TrainSpec
from studio.jobs.state import HELD
from studio.workspace import Workspace

LOOK_EVERY = 2.0  # seconds between two looks at the memory while a job waits: asking a card's driver takes a while


class Admission:
    """Decides for the first job in line. What it decides stands in the job's events."""

    def __init__(self, workspace: Workspace, catalog: Catalog, servers: ServerPool) -> None:
        self._workspace, self._catalog, self._servers = workspace, catalog, servers
        self._ledger = Ledger(workspace)
        self._held = ("", "")  # the job that waits, and what it was told
        self._looked = 0.0

    def may_start(self, job_id: str, spec: JobSpec) -> bool:
        """Whether the job fits beside what is loaded; it does when nothing is. Begins to make room otherwise."""
        if self._servers.is_ending:
            return False  # its memory is free in a moment
        # A merge works on files, a layer at a time: it takes no room that a chat could miss.
        if not isinstance(spec, TrainSpec) or not self._servers.running():
            self.nobody_waits()
            return True
        insists = job_id in self._catalog.room_requests()
        if not insists and job_id == self._held[0] and time.monotonic() - self._looked < LOOK_EVERY:
            return False
        self._looked = time.monotonic()
        return self._decide(job_id, spec, insists=insists)

    def nobody_waits(self) -> None:
        """The line is empty, or its first job starts: chats may have what is free."""
        self._held = ("", "")
        self._servers.reserve(None)

    def _decide(self, job_id: str, spec: TrainSpec, *, insists: bool) -> bool:
        space = sharing.look_around()
        need = sharing.job_needs(spec, self._workspace, space)
        free = self._ledger.free(space, self._ledger.workers(space))
        if need is None:
            # Not known, as for a model that is not here yet. A card is small: the job gets it alone.
            need = int(space.card.usable) if space.card else 0
        chats = self._servers.chats(space)
        if insists:
            todo = Plan(unload=tuple(chat.base_model for chat in chats)) if need > free else Plan()
        else:
            todo = sharing.plan(need, free, chats)
        if todo == Plan():
            self.nobody_waits()
            self._servers.promise(need)
            return True
        self._servers.reserve(need, spec.name or job_id)  # no other model may take what is made free
        short = f"it needs about {gib(need)}, and {gib(free)} of {space.name}'s memory are free"
        if todo.waits_for:
            told = f"{HELD}{' and '.join(todo.waits_for)}: somebody is chatting, and {short}"
            self._say_once(job_id, ",".join(todo.waits_for), told)
            return False
        for base_model in todo.unload:
            self._servers.end(base_model)
        self._write(job_id, Warned(message=f"{' and '.join(todo.unload)} was unloaded from the chats: {short}."))
        return False  # until the memory is really free

    def _say_once(self, job_id: str, what: str, told: str) -> None:
        if self._held != (job_id, what):
            self._held = (job_id, what)
            self._write(job_id, Progress(phase=told))

    def _write(self, job_id: str, event: Progress | Warned) -> None:
        EventWriter(self._workspace.job(job_id) / names.EVENTS).write(event)
