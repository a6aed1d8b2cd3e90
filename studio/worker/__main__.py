"""`python -m studio.worker FOLDER`: read the folder's spec, do it, say how it ended.

Exit code 0: finished or stopped; 2: the user can fix it; 1: a bug, its traceback in the log.
"""

import sys
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path

from studio import workspace as names
from studio.errors import UserError, new_error_id
from studio.jobs.events import EventWriter, Failed, Progress, Stopped, read_events
from studio.jobs.state import JobState
from studio.loading import loading
from studio.worker.stop import StopRequested, StopSwitch
from studio.worker.teller import Teller

HEARTBEAT_SECONDS = 5.0


def main(folder: Path) -> int:
    """Work on one folder. Every way out leaves a last event."""
    events = Teller(folder / names.EVENTS)
    switch = StopSwitch()
    try:
        switch.install()
        events.write(Progress(phase="starting"))
        threading.Thread(target=_beat, args=(folder / names.HEARTBEAT,), daemon=True).start()
        return _work(folder, events, switch)
    except StopRequested:
        events.write(Stopped(step=_last_step(folder)))
        return 0
    except UserError as error:
        events.write(Failed(cause="user", message=error.message, hint=error.hint))
        return 2
    except Exception as error:
        return _report(error, folder, events)


def _last_step(folder: Path) -> int:
    """How far earlier attempts came: a stop before training goes on takes nothing of it away."""
    state = JobState()
    for event in read_events(folder / names.EVENTS):
        state.add(event)
    return state.step


def _work(folder: Path, events: EventWriter, switch: StopSwitch) -> int:
    # Imported here, so that a library that does not load is told like any other failure.
    with loading():
        from studio.worker.quiet import prepare_libraries

        spec = prepare_libraries(folder)
        work = import_module(f"studio.worker.{spec.kind}")
    if spec.kind == "serve":
        work.run(folder, spec)
        events.write(Stopped(step=0))
    else:
        work.run(folder, spec, events, switch)
    return 0


def _report(error: Exception, folder: Path, events: EventWriter) -> int:
    from studio.worker.failures import explain

    traceback.print_exc()
    known = explain(error, folder)
    if known is not None:
        events.write(Failed(cause="user", message=known.message, hint=known.hint))
        return 2
    error_id = new_error_id()
    print(f"error id {error_id}", file=sys.stderr)  # noqa: T201 - this stream is the job's log
    events.write(
        Failed(
            cause="bug",
            message=f"Something went wrong inside the studio (error {error_id}).",
            hint="The log below says where; please report it with that id.",
            error_id=error_id,
        )
    )
    return 1


def _beat(file: Path) -> None:
    while file.parent.is_dir():
        file.touch()
        time.sleep(HEARTBEAT_SECONDS)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
