"""All that a worker says: typed JSON lines, append-only, in the job's events.jsonl."""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

EVALUATING = "evaluating"  # the one phase that comes between steps


class Event(BaseModel):
    """`time`: seconds since 1970, for people. Order is the order of the lines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = 0.0


class Progress(Event):
    """What the worker is doing where there are no steps: "loading the base model", or evaluating.

    `share`: how much of the job's work is done, from 0 to 1, of a job without steps that has begun with it.
    """

    event: Literal["progress"] = "progress"
    phase: str
    share: float | None = None


class Started(Event):
    """Training begins, or goes on after step `resumed_from`."""

    event: Literal["started"] = "started"
    max_steps: int
    resumed_from: int = 0
    trainable_parameters: int
    parameters: int
    train_examples: int
    eval_examples: int
    device: str
    dtype: str


class Metrics(Event):
    """Figures at a step, by the library's names; `elapsed`: seconds of training so far in this attempt."""

    event: Literal["metrics"] = "metrics"
    step: int
    epoch: float = 0.0
    elapsed: float = 0.0
    values: dict[str, float]


class Sample(Event):
    """Something the model wrote during training."""

    event: Literal["sample"] = "sample"
    step: int
    prompt: str
    text: str


class Checkpoint(Event):
    """A complete, verified checkpoint; `path` is relative to the job's folder."""

    event: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str


class Warned(Event):
    """Something the user should know that did not stop the job."""

    event: Literal["warning"] = "warning"
    message: str


class Finished(Event):
    """All steps done and the result saved."""

    event: Literal["finished"] = "finished"
    step: int
    seconds: float
    result: str
    result_bytes: int
    peak_memory_bytes: int
    values: dict[str, float] = {}


class Stopped(Event):
    """Stopped on request; `result` is the folder with what was learned so far, empty when nothing was."""

    event: Literal["stopped"] = "stopped"
    step: int
    result: str = ""


class Failed(Event):
    """`cause` user: `message` and `hint` are for the user. `cause` bug: look for `error_id` in the log."""

    event: Literal["failed"] = "failed"
    cause: Literal["user", "bug"]
    message: str
    hint: str = ""
    error_id: str = ""
    step: int = 0


AnyEvent = Annotated[
    Progress | Started | Metrics | Sample | Checkpoint | Warned | Finished | Stopped | Failed,
    Field(discriminator="event"),
]
ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
TERMINAL = (Finished, Stopped, Failed)


class EventWriter:
    """Appends events to a file; each line is flushed, lifecycle events are forced to disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, event: Event) -> None:
        stamped = event.model_copy(update={"time": round(time.time(), 3)})
        line = stamped.model_dump_json() + "\n"
        with self._path.open("ab") as file:
            if file.tell() and not _ends_with_newline(self._path):
                file.write(b"\n")  # the last writer was killed within a line: that line stays torn, ours whole
            file.write(line.encode())
            file.flush()
            if not isinstance(event, Metrics | Progress):
                os.fsync(file.fileno())


class EventReader:
    """Reads a growing file from where it stopped. A torn last line waits; a damaged line is counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0
        self.damaged = 0

    def read(self) -> list[AnyEvent]:
        """The events that came since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self.offset)
                chunk = file.read()
        except FileNotFoundError:
            return []
        end = chunk.rfind(b"\n") + 1
        self.offset += end
        return [event for line in chunk[:end].splitlines() if (event := self._parse(line)) is not None]

    def _parse(self, line: bytes) -> AnyEvent | None:
        if not line.strip():
            return None
        try:
            value: Any = json.loads(line)
            return ADAPTER.validate_python(value)
        except (ValueError, ValidationError):
            self.damaged += 1
            return None


def read_events(path: Path) -> list[AnyEvent]:
    """All events of a file."""
    return EventReader(path).read()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
