"""Job folders: made, listed, read. The folder is the truth about what ran."""

import shutil
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio import workspace as names
from studio.catalog import Catalog
from studio.errors import UserError
from studio.jobs.events import EventReader, EventWriter, Failed, Stopped
from studio.jobs.launchers import local
from studio.jobs.spec import JobSpec, MergeSpec, TrainSpec, read_job_spec, spec_text
from studio.jobs.state import ACTIVE, HELD, RESUMABLE, JobState, Status, status_of
from studio.workspace import Workspace, new_id, write_text

UNRESPONSIVE_AFTER = 60.0  # seconds without a heartbeat


@dataclass(frozen=True, kw_only=True)
class JobView:
    """One job at one moment, for lists, charts and the command line."""

    id: str
    spec: JobSpec
    state: JobState
    status: Status
    created: str
    unresponsive: bool

    @property
    def name(self) -> str:
        return self.spec.name or self.id

    @property
    def objective(self) -> str:
        """The name of what was taught; of a merge, what its adapters were taught."""
        return self.spec.objective if isinstance(self.spec, MergeSpec) else self.spec.objective.name

    @property
    def tuner(self) -> str:
        """The name of the tuner that the result is of."""
        return self.spec.tuner if isinstance(self.spec, MergeSpec) else self.spec.tuner.name

    @property
    def made_by(self) -> str:
        """How the result came about, for a menu: tuner and objective, or the method of a merge."""
        if isinstance(self.spec, MergeSpec):
            return f"merge · {self.spec.method.name}"
        return f"{self.tuner} · {self.objective}"

    @property
    def quantization(self) -> str:
        """How the frozen base model was kept."""
        return "none" if isinstance(self.spec, MergeSpec) else self.spec.quantization

    @property
    def training(self) -> TrainSpec:
        """The spec of a training job. Raises UserError for a job that trains nothing."""
        if isinstance(self.spec, MergeSpec):
            raise UserError(
                f"{self.name} is a merge: it trained nothing.", "Choose one of the jobs that it was made of."
            )
        return self.spec

    @property
    def message(self) -> str:
        """What to tell the user about how it ended, or what it is doing."""
        end = self.state.end
        if self.status == "interrupted":
            if isinstance(self.spec, MergeSpec):
                return "The worker died before the merge was done; nothing of it is kept."
            return f"The worker died after step {self.state.step}; nothing since the last checkpoint is kept."
        if isinstance(end, Failed) and self.status == "failed":
            return f"{end.message} {end.hint}".strip()
        return self.state.phase if self.status == "starting" or self.held or self.state.share is not None else ""

    @property
    def held(self) -> bool:
        """Whether it is its turn, and it waits for memory that chats hold; `message` says which."""
        return self.status == "queued" and self.state.end is None and self.state.phase.startswith(HELD)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        merge = self.spec if isinstance(self.spec, MergeSpec) else None
        return {
            "id": self.id,
            "kind": self.spec.kind,
            "name": self.name,
            "status": self.status,
            "created": self.created,
            "base_model": self.spec.base_model,
            "dataset": "" if isinstance(self.spec, MergeSpec) else self.spec.dataset.id,
            "objective": self.objective,
            "tuner": self.tuner,
            "quantization": self.quantization,
            "method": merge.method.name if merge else "",
            "sources": [source.model_dump() for source in merge.sources] if merge else [],
            "step": self.state.step,
            "max_steps": self.state.max_steps,
            "seconds_left": self.state.seconds_left,
            "loss": self.state.value("loss"),
            "eval_loss": self.state.value("eval_loss"),
            "message": self.message,
            "unresponsive": self.unresponsive,
            "warnings": self.state.warnings,
        }


class JobStore:
    """The jobs of one workspace. Reads only what is new in an events file; safe to share between threads."""

    def __init__(self, workspace: Workspace, catalog: Catalog) -> None:
        self.workspace = workspace
        self.catalog = catalog
        self._lock = threading.Lock()
        self.unreadable: dict[str, str] = {}  # job → why its spec cannot be read, as of the last `views`
        self._known: dict[str, tuple[JobSpec, EventReader, JobState]] = {}

    def create(self, spec: JobSpec) -> str:
        """Make the job's folder, complete or not at all, and return its id."""
        job_id = new_id(spec.name or _kind_of(spec))
        folder = self.workspace.job(job_id)
        staging = folder.with_name(f".staging-{job_id}")
        try:
            staging.mkdir(mode=0o700)
            write_text(staging / names.SPEC, spec_text(spec))
            staging.rename(folder)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise UserError(f"The job could not be written: {error.strerror}.", "Free some disk space.") from None
        return job_id

    def ids(self) -> list[str]:
        """All jobs, the newest first."""
        folders = [
            entry for entry in self.workspace.jobs.iterdir() if (entry / names.SPEC).is_file() and entry.name[0] != "."
        ]
        return [entry.name for entry in sorted(folders, key=_created, reverse=True)]

    def views(self) -> list[JobView]:
        """All jobs whose spec can be read, the newest first; see `unreadable` for the others."""
        waiting, stopping = set(self.catalog.waiting()), set(self.catalog.stop_requests())
        views, unreadable = [], {}
        for job_id in self.ids():
            try:
                views.append(self._view(job_id, waiting, stopping))
            except UserError as error:  # one damaged folder must not hide the rest
                unreadable[job_id] = str(error)
        self.unreadable = unreadable
        return views

    def view(self, job_id: str) -> JobView:
        """One job. Raises UserError when there is none."""
        return self._view(job_id, set(self.catalog.waiting()), set(self.catalog.stop_requests()))

    def _view(self, job_id: str, waiting: set[str], stopping: set[str]) -> JobView:
        folder = self.workspace.job(job_id)
        if not (folder / names.SPEC).is_file():
            raise UserError(f"There is no job {job_id!r}.", "Choose one from the list of jobs.")
        record = local.read_record(folder)
        alive = record is not None and local.is_alive(record)
        spec, state = self._state(job_id, folder)
        status = status_of(
            state,
            waiting=job_id in waiting,
            launched=record is not None,
            alive=alive,
            stopping=job_id in stopping,
            has_ended=record is not None and state.end is not None and state.end.time > record.create_time,
        )
        return JobView(
            id=job_id,
            spec=spec,
            state=state,
            status=status,
            created=datetime.fromtimestamp(_created(folder), UTC).isoformat(timespec="seconds"),
            unresponsive=alive and local.seconds_since_heartbeat(folder) > UNRESPONSIVE_AFTER,
        )

    def _state(self, job_id: str, folder: Path) -> tuple[JobSpec, JobState]:
        with self._lock:
            if job_id not in self._known:
                reader = EventReader(folder / names.EVENTS)
                self._known[job_id] = (read_job_spec(folder / names.SPEC), reader, JobState())
            spec, reader, state = self._known[job_id]
            for event in reader.read():
                state.add(event)
            return spec, state

    def request_stop(self, job_id: str) -> None:
        """Stop a job: one that waits leaves the line, one that runs is asked to save and end. Raises UserError."""
        view = self.view(job_id)
        if view.status == "queued":
            if self.catalog.dequeue(job_id):
                EventWriter(self.workspace.job(job_id) / names.EVENTS).write(Stopped(step=view.state.step))
        elif view.status in ACTIVE:
            self.catalog.request_stop(job_id)
        else:
            raise UserError(f"{view.name} is not running (it is {view.status}).", "There is nothing to stop.")

    def make_room(self, job_id: str) -> None:
        """Unload the chats that a job in line waits for, answers in progress too. Raises UserError."""
        view = self.view(job_id)
        if view.status != "queued":
            raise UserError(f"{view.name} does not wait (it is {view.status}).", "Nothing has to be unloaded.")
        self.catalog.request_room(job_id)

    def resume(self, job_id: str) -> None:
        """Put a job that ended early back into the line, to go on from its newest checkpoint. Raises UserError."""
        view = self.view(job_id)
        if view.status not in RESUMABLE:
            raise UserError(f"{view.name} cannot be resumed: it is {view.status}.", "Start a new job instead.")
        self.catalog.enqueue(job_id)

    def delete(self, job_id: str) -> None:
        """Delete a job that does not run. Raises UserError when it does."""
        record = local.read_record(self.workspace.job(job_id))
        if record is not None and local.is_alive(record):
            if self.view(job_id).status in ACTIVE:
                raise UserError(f"{job_id} is running.", "Stop it first.")
            local.kill(record)  # it has said its last word and is on its way out
        if not self.workspace.job(job_id).is_dir():
            raise UserError(f"There is no job {job_id!r}.", "Choose one from the list of jobs.")
        self.catalog.dequeue(job_id)
        self.workspace.discard(self.workspace.job(job_id))
        with self._lock:
            self._known.pop(job_id, None)

    def log_tail(self, job_id: str, offset: int, limit: int = 32_000) -> tuple[str, int]:
        """(text, next offset) of the job's log from a byte offset; -1 begins `limit` bytes before the end."""
        path = self.workspace.job(job_id) / names.LOG
        if not path.is_file():
            return "", 0
        size = path.stat().st_size
        start = max(0, size - limit) if offset < 0 or offset > size else offset
        with path.open("rb") as file:
            file.seek(start)
            chunk = file.read(limit)
        return chunk.decode("utf-8", errors="replace"), start + len(chunk)


def _kind_of(spec: JobSpec) -> str:
    """What a job without a name is called."""
    if isinstance(spec, MergeSpec):
        return f"merge-{spec.method.name}"
    return f"{spec.tuner.name}-{spec.objective.name}"


def _created(folder: Path) -> float:
    return (folder / names.SPEC).stat().st_mtime
