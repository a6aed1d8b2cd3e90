"""Long work on data sets in child processes: it shows its progress, can be cancelled, and outlives the browser."""

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from studio.base_models import read_config
from studio.data.auditing import recount_dataset
from studio.data.dataset import read_record
from studio.data.isolation import Cancelled, Told, import_file, run_isolated
from studio.data.mapping import ColumnMapping
from studio.errors import UserError, new_error_id
from studio.workspace import Workspace

MOST_KEPT = 200  # tasks; the oldest that has ended is forgotten
MOST_AT_ONCE = 4
State = Literal["running", "done", "failed", "cancelled"]
log = logging.getLogger(__name__)


@dataclass
class Task:
    """One piece of work and how far it is."""

    id: str
    kind: str
    state: State = "running"
    progress: float = 0.0
    told: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class Desk:
    """Keeps the tasks of one studio in memory: what they make is in the workspace, complete or not at all."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(MOST_AT_ONCE)

    def start_import(
        self,
        files: Sequence[Path],
        *,
        name: str = "",
        format_name: str = "",
        encoding: str = "",
        mapping: ColumnMapping | None = None,
        drop_bad_rows: bool = False,
    ) -> str:
        """Begin to read files as one data set; returns the task's id. Its result is a Verdict as plain data."""

        def work(told: Told, cancelled: threading.Event) -> dict[str, Any]:
            return import_file(
                list(files),
                self._workspace,
                name=name,
                format_name=format_name,
                encoding=encoding,
                mapping=mapping,
                drop_bad_rows=drop_bad_rows,
                told=told,
                cancelled=cancelled,
            ).model_dump()

        return self.start("import", work)

    def start_hub_import(
        self, hub_id: str, file: Path, *, subset: str = "", split: str = "train", limit: int = 1000
    ) -> str:
        """Begin to fetch rows of the Hub into `file` and to read them; returns the task's id."""

        def work(told: Told, cancelled: threading.Event) -> dict[str, Any]:
            request: dict[str, Any] = {"hub_id": hub_id, "subset": subset, "split": split, "limit": limit}
            run_isolated("fetch", told=told, cancelled=cancelled, online=True, file=str(file), **request)
            return import_file(file, self._workspace, told=told, cancelled=cancelled).model_dump()

        return self.start("import", work)

    def start_audit(
        self,
        dataset_id: str,
        *,
        base_model: str,
        model_folder: Path,
        chat_template: str = "model",
        max_length: int = 512,
    ) -> str:
        """Begin to audit a data set with a model; returns the task's id. Its result is an AuditReport as plain data."""
        folder = self._workspace.dataset(dataset_id)
        read_record(folder)  # an unknown id is told at once

        def work(told: Told, cancelled: threading.Event) -> dict[str, Any]:
            return run_isolated(
                "audit",
                told=told,
                cancelled=cancelled,
                folder=str(folder),
                model_folder=str(model_folder),
                chat_template=chat_template,
                max_length=max_length,
                context_length=context_of(model_folder),
            )

        try:
            kept = self.recount(dataset_id, base_model, model_folder, chat_template, max_length)
        except UserError:
            return self.start("audit", work)
        return self.start("audit", lambda told, cancelled: kept)

    def recount(
        self, dataset_id: str, base_model: str, model_folder: Path, chat_template: str, max_length: int
    ) -> dict[str, Any]:
        """The audit's report at another `max_length`, at once. Raises UserError when there is none yet."""
        return recount_dataset(
            self._workspace.dataset(dataset_id),
            model_folder,
            chat_template=chat_template,
            max_length=max_length,
            context_length=context_of(model_folder),
        )

    def start(self, kind: str, work: Callable[[Told, threading.Event], dict[str, Any]]) -> str:
        """Begin any work that tells how far it is and ends when it is cancelled; returns the task's id."""
        task = Task(secrets.token_hex(8), kind)
        with self._lock:
            ended = [one.id for one in self._tasks.values() if one.state != "running"]
            for old in ended[: max(0, len(self._tasks) - MOST_KEPT + 1)]:
                del self._tasks[old]
            if len(self._tasks) >= MOST_KEPT:
                raise UserError("Too much is being read at once.", "Wait until some of it is done.")
            self._tasks[task.id] = task
        threading.Thread(target=self._run, args=(task, work), name=f"task-{task.id}", daemon=True).start()
        return task.id

    def view(self, task_id: str) -> dict[str, Any]:
        """How far a task is, as plain data. Raises UserError for an id that is not known."""
        task = self._task(task_id)
        return {
            "id": task.id,
            "kind": task.kind,
            "state": task.state,
            "progress": round(task.progress, 4),
            "told": task.told,
            "result": task.result,
            "error": task.error,
        }

    def cancel(self, task_id: str) -> None:
        """End a task; what it had not finished is not kept."""
        self._task(task_id).cancelled.set()

    def wait(self, task_id: str, seconds: float) -> dict[str, Any]:
        """The view of a task after its end, or after so many seconds."""
        for thread in threading.enumerate():
            if thread.name == f"task-{task_id}":
                thread.join(seconds)
        return self.view(task_id)

    def _task(self, task_id: str) -> Task:
        with self._lock:
            task = self._tasks.get(task_id)
        if task is None:
            raise UserError("That work is not known any more.", "Start it again.")
        return task

    def _run(self, task: Task, work: Callable[[Told, threading.Event], dict[str, Any]]) -> None:
        def told(share: float, known: dict[str, Any]) -> None:
            task.progress, task.told = share, known

        try:
            with self._slots:
                task.result = work(told, task.cancelled)
            task.progress, task.state = 1.0, "done"
        except Cancelled:
            task.state = "cancelled"
        except UserError as error:
            task.error, task.state = {"message": error.message, "hint": error.hint}, "failed"
        except (RuntimeError, OSError, ValueError) as error:
            error_id = new_error_id()
            log.error("error %s", error_id, exc_info=error)
            sentence = f"Something went wrong inside the studio (error {error_id})."
            task.error, task.state = {"message": sentence, "hint": "The studio's log has the details."}, "failed"


def context_of(model_folder: Path) -> int:
    """The most tokens that a model can take, 0 when its config does not say."""
    config = read_config(model_folder)
    inner = config.get("text_config")
    found = (inner if isinstance(inner, dict) else config).get("max_position_embeddings", 0)
    return found if isinstance(found, int) else 0
