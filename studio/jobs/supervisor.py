"""The queue's keeper: starts the next job, carries out stops, notices deaths. Lives in a thread of its own."""

import logging
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from studio import workspace as names
from studio.base_models import model_folder
from studio.catalog import Catalog
from studio.errors import UserError
from studio.jobs.admission import Admission
from studio.jobs.events import EventWriter, Failed
from studio.jobs.launchers import local
from studio.jobs.servers import ServerPool
from studio.jobs.spec import JobSpec, TrainSpec
from studio.jobs.state import ACTIVE, Status
from studio.jobs.store import JobStore
from studio.workspace import Workspace

PERIOD = 0.5  # seconds between two looks
# Seconds between asking a worker to stop and ending it. It finishes its step and saves, which takes long on a slow
# machine or for a large model; one whose heart has stopped beating gets less.
GRACE, GRACE_UNRESPONSIVE = 900.0, 60.0
EXIT_GRACE = 30.0  # seconds for a process to go after its last word
LOG_LINES_SHOWN = 5

log = logging.getLogger(__name__)


class Supervisor:
    """Everything is derived from the workspace at every look, so a restart needs no recovery of its own."""

    def __init__(
        self,
        workspace: Workspace,
        catalog: Catalog,
        store: JobStore,
        servers: ServerPool,
        *,
        worker: str = "studio.worker",
    ) -> None:
        self._workspace, self._catalog, self._store, self.servers = workspace, catalog, store, servers
        self._admission = Admission(workspace, catalog, servers)
        self._worker = worker  # by name: the rooms of the page and of the workers never import each other
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._running: set[str] = {view.id for view in store.views() if view.status in ACTIVE}
        for job_id in self._running:
            catalog.dequeue(job_id)  # the last studio was killed between starting it and taking it out of the line
        self._told_to_stop: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to keep the queue."""
        self._thread.start()

    def stop(self) -> None:
        """Stop keeping the queue. Jobs go on; chats end."""
        self._ended.set()
        self._thread.join(timeout=10)
        self.servers.end_all()

    @property
    def is_alive(self) -> bool:
        """Whether the queue is kept."""
        return self._thread.is_alive()

    def look(self) -> None:
        """One round: reap, stop, start."""
        self._notice_ends()
        self._carry_out_stops()
        self._start_next()
        self.servers.tend()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD):
            try:
                self.look()
            except (sqlite3.Error, OSError):
                log.exception("the queue could not be kept this time; trying again")

    def _notice_ends(self) -> None:
        for job_id, process in list(self._children.items()):
            if process.poll() is not None:
                del self._children[job_id]
                self._explain_silent_end(job_id, process.returncode)
        for job_id in list(self._running):
            if self._status(job_id) not in ACTIVE and self._is_gone(job_id):
                self._running.discard(job_id)
                self._told_to_stop.discard(job_id)
                self._catalog.clear_stop(job_id)

    def _is_gone(self, job_id: str) -> bool:
        """Whether the process of a job that has ended is away; one that lingers is helped out."""
        try:
            record = local.read_record(self._workspace.job(job_id))
            if record is None or not local.is_alive(record):
                return True
            end = self._store.view(job_id).state.end
        except UserError:  # the folder is gone
            return True
        if end is not None and time.time() - end.time > EXIT_GRACE:
            local.kill(record)
        return False

    def _status(self, job_id: str) -> Status | None:
        """None when somebody deleted the job's folder."""
        try:
            return self._store.view(job_id).status
        except UserError:
            return None

    def _explain_silent_end(self, job_id: str, code: int) -> None:
        """A worker that ended by itself without a last word (a library that kills the process) has failed."""
        if code < 0 or self._status(job_id) != "interrupted":
            return
        tail, _ = self._store.log_tail(job_id, -1)
        last = " / ".join(tail.strip().splitlines()[-LOG_LINES_SHOWN:])
        EventWriter(self._workspace.job(job_id) / names.EVENTS).write(
            Failed(cause="user", message=f"The worker ended with code {code}: {last[-500:]}", hint="See its log.")
        )

    def _carry_out_stops(self) -> None:
        for job_id, asked in self._catalog.stop_requests().items():
            folder = self._workspace.job(job_id)
            record = local.read_record(folder)
            if record is None or not local.is_alive(record):
                self._catalog.clear_stop(job_id)
            elif time.time() - asked > self._patience(folder):
                local.kill(record)
            elif job_id not in self._told_to_stop:
                self._told_to_stop.add(job_id)
                local.terminate(record)

    def _patience(self, folder: Path) -> float:
        beats = local.seconds_since_heartbeat(folder) < GRACE_UNRESPONSIVE
        return GRACE if beats else GRACE_UNRESPONSIVE

    def _start_next(self) -> None:
        if self._running:
            return
        for job_id in self._catalog.waiting():
            if not (self._workspace.job(job_id) / names.SPEC).is_file():
                self._catalog.dequeue(job_id)
                continue
            spec = self._spec(job_id)
            if spec is None:
                self._catalog.dequeue(job_id)
                continue
            if self._admission.may_start(job_id, spec):
                self._launch(job_id, spec)
            return
        self._admission.nobody_waits()

    def _spec(self, job_id: str) -> JobSpec | None:
        """None when it cannot be read: the list of jobs says why, and the others in line go on."""
        try:
            return self._store.view(job_id).spec
        except UserError as error:
            log.warning("%s leaves the line: %s", job_id, error)
            return None

    def _launch(self, job_id: str, spec: JobSpec) -> None:
        folder = self._workspace.job(job_id)
        try:
            # A merge fetches nothing.
            online = isinstance(spec, TrainSpec) and model_folder(spec.base_model, self._workspace.models) is None
            self._children[job_id] = local.launch(self._worker, folder, online=online)
            self._running.add(job_id)
        except UserError as error:
            EventWriter(folder / names.EVENTS).write(Failed(cause="user", message=error.message, hint=error.hint))
        self._catalog.dequeue(job_id)
