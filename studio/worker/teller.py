"""Events for programs, and the same as lines for people: the job's log."""

import sys
import time
from collections.abc import Callable
from typing import Any

from studio.jobs.events import (
    Checkpoint,
    Event,
    EventWriter,
    Failed,
    Finished,
    Metrics,
    Progress,
    Started,
    Stopped,
    Warned,
)


class Teller(EventWriter):
    """Writes every event, and says it in a line on standard output."""

    def write(self, event: Event) -> None:
        super().write(event)
        print(f"{time.strftime('%H:%M:%S')}  {line(event)}", file=sys.stdout, flush=True)  # noqa: T201 - the job's log


def line(event: Event) -> str:
    """An event in words."""
    describe = WORDS.get(type(event))
    return describe(event) if describe else type(event).__name__


def _started(event: Started) -> str:
    share = 100 * event.trainable_parameters / max(event.parameters, 1)
    begun = f"going on after step {event.resumed_from}" if event.resumed_from else "training begins"
    return (
        f"{begun}: {event.max_steps} steps, {event.train_examples} examples, "
        f"{event.trainable_parameters:,} trainable parameters ({share:.2f} %), {event.device}, {event.dtype}"
    )


def _metrics(event: Metrics) -> str:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in event.values.items())
    return f"step {event.step}  {figures}"


WORDS: dict[type[Event], Callable[[Any], str]] = {
    Progress: lambda event: event.phase,
    Started: _started,
    Metrics: _metrics,
    Checkpoint: lambda event: f"saved {event.path}",
    Warned: lambda event: f"note: {event.message}",
    Finished: lambda event: f"finished after {event.seconds:.0f} s; the result is in {event.result}/",
    Stopped: lambda event: f"stopped at step {event.step}",
    Failed: lambda event: f"failed: {event.message} {event.hint}".strip(),
}
