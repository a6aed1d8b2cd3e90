"""One inference server as its folder tells of it: what it was told, whether it lives, where it answers, to whom."""

from dataclasses import dataclass, field
from pathlib import Path

import psutil

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.events import Failed, read_events
from studio.jobs.launchers import local
from studio.jobs.spec import ServeSpec, read_spec
from studio.workspace import read_json, write_json


@dataclass(frozen=True)
class Endpoint:
    """Where an inference server answers, and the word it wants to hear."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class RunningServer:
    """A server that was started, by its folder."""

    folder: Path
    spec: ServeSpec

    @property
    def is_alive(self) -> bool:
        record = self.record
        return record is not None and local.is_alive(record)

    @property
    def record(self) -> local.WorkerRecord | None:
        return local.read_record(self.folder)

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it answers; None while it loads."""
        value = read_json(self.folder / names.ENDPOINT)
        return Endpoint(f"http://127.0.0.1:{value['port']}", value["token"]) if value else None

    @property
    def has_visitors(self) -> bool:
        """Whether a program is connected with it: it is being answered."""
        record, value = self.record, read_json(self.folder / names.ENDPOINT)
        if record is None or not value:
            return False
        try:
            connections = psutil.Process(record.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(one.laddr[1:] == (value["port"],) and one.status == psutil.CONN_ESTABLISHED for one in connections)

    def leave_free(self, amount: int) -> None:
        """Tell it how many bytes of the free memory are promised to others: it keeps less of conversations then."""
        if read_json(self.folder / names.PROMISED) != {"bytes": amount}:
            write_json(self.folder / names.PROMISED, {"bytes": amount})

    @property
    def failure(self) -> UserError | None:
        """Why it ended, when it failed."""
        events = read_events(self.folder / names.EVENTS)
        last = events[-1] if events else None
        return UserError(last.message, last.hint) if isinstance(last, Failed) else None


def find_server(folder: Path) -> RunningServer | None:
    """The server of a folder; None when what it was told cannot be read (an older studio's, or damaged)."""
    try:
        spec = read_spec(folder / names.SPEC)
    except UserError:
        return None
    return RunningServer(folder, spec) if isinstance(spec, ServeSpec) else None
