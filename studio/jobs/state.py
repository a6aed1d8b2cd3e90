"""Events → what a job has come to: status, points of the charts, progress and time left."""

from dataclasses import dataclass, field
from typing import Literal

from studio.jobs.events import (
    TERMINAL,
    AnyEvent,
    Checkpoint,
    Failed,
    Finished,
    Metrics,
    Progress,
    Started,
    Stopped,
    Warned,
)

Status = Literal["queued", "starting", "running", "stopping", "completed", "stopped", "interrupted", "failed"]
ACTIVE: tuple[Status, ...] = ("starting", "running", "stopping")
RESUMABLE: tuple[Status, ...] = ("stopped", "interrupted", "failed")
HELD = "waiting for "  # how the phase of a job begins that waits in line for memory
RATE_WINDOW = 20  # points that the estimate of the time left looks back on


@dataclass
class JobState:
    """A fold over the events of one job. `points`: (step, values) as told, training and evaluation apart."""

    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    started: Started | None = None
    phase: str = ""
    last: AnyEvent | None = None
    end: Finished | Stopped | Failed | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    version: int = 0
    revision: int = 0  # grows when points were taken back, so that a chart must be drawn anew
    _timing: list[tuple[int, float]] = field(default_factory=list)
    _done: list[tuple[float, float]] = field(
        default_factory=list
    )  # (time, share) told first and last of work without steps

    def add(self, event: AnyEvent) -> None:
        """Take in the next event."""
        self.version += 1
        self.last = event
        if isinstance(event, TERMINAL):
            self.end = event
            return
        if not isinstance(event, Checkpoint | Warned):
            self.end = None
        if isinstance(event, Progress):
            self.phase = event.phase
            self._done = [] if event.share is None else [*self._done[:1], (event.time, event.share)]
        elif isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Metrics):
            self._add_point(event)
        elif isinstance(event, Checkpoint):
            self.checkpoints.append(event)
        elif isinstance(event, Warned):
            self.warnings.append(event.message)

    @property
    def step(self) -> int:
        """The last step that was heard of."""
        if isinstance(self.end, Finished | Stopped):
            return self.end.step
        return self.points[-1][0] if self.points else 0

    @property
    def max_steps(self) -> int:
        return self.started.max_steps if self.started else 0

    @property
    def share(self) -> float | None:
        """How much is done of a job that has no steps, as a merge; None before, at the end, and where steps count."""
        return self._done[-1][1] if self._done and self.end is None else None

    @property
    def begun(self) -> bool:
        """Whether its work goes on: it trains, or it is a job without steps that has told its share."""
        return self.end is None and (self.started is not None or self.share is not None)

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the pace of the last points, or of the whole work so far; None while unknown."""
        if self.share is not None:
            (since, first), (now, share) = self._done[0], self._done[-1]
            return (now - since) * (1 - share) / (share - first) if share > first else None
        pace = self.seconds_per_step
        return None if self.end is not None or pace is None else (self.max_steps - self._timing[-1][0]) * pace

    @property
    def seconds_per_step(self) -> float | None:
        """The pace of the last points; None when there are too few."""
        if len(self._timing) < 2:
            return None
        (first_step, first), (last_step, last) = self._timing[0], self._timing[-1]
        return (last - first) / (last_step - first_step) if last_step > first_step else None

    def value(self, name: str) -> float | None:
        """The newest value of a metric."""
        return next((values[name] for _, values in reversed(self.points) if name in values), None)

    def _start(self, event: Started) -> None:
        self.started, self.phase, self._timing = event, "training", []
        kept = [point for point in self.points if point[0] <= event.resumed_from]
        if len(kept) != len(self.points):
            # What came after the checkpoint happens again: one value a step, and charts are drawn anew.
            self.points, self.revision = kept, self.revision + 1

    def _add_point(self, event: Metrics) -> None:
        self.phase = "training"
        self.points.append((event.step, dict(event.values)))
        if "loss" in event.values:
            self._timing = [*self._timing[-RATE_WINDOW:], (event.step, event.elapsed)]


def status_of(
    state: JobState, *, waiting: bool, launched: bool, alive: bool, stopping: bool, has_ended: bool = False
) -> Status:
    """A job's status, derived from its events, the line, and whether its process lives; stored nowhere.

    `has_ended`: the process that still lives has said its last word and is on its way out.
    """
    if alive and not has_ended:
        if stopping:
            return "stopping"
        return "running" if state.begun else "starting"
    if waiting:
        return "queued"
    if isinstance(state.end, Finished):
        return "completed"
    if isinstance(state.end, Stopped):
        return "stopped"
    if isinstance(state.end, Failed):
        return "failed"
    return "interrupted" if launched or state.last is not None else "stopped"
