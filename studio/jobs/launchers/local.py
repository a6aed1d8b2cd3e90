"""A worker as a process of this machine: the only file that knows a pid or a signal."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from studio import workspace as names
from studio.errors import UserError
from studio.settings import worker_environment
from studio.workspace import read_json, write_json

CREATE_TIME_SLACK = 2.0  # seconds; a reused pid belongs to a process that began at another time


@dataclass(frozen=True)
class WorkerRecord:
    """Which process works on a folder: a pid alone would name a stranger after a reboot."""

    pid: int
    create_time: float


def launch(module: str, folder: Path, *, online: bool = False) -> "subprocess.Popen[bytes]":
    """Start `python -m module folder` in its own session, output to the folder's log, and record it there.

    `online` lets it reach the model hub. Raises UserError when the system cannot start a process.
    """
    environment = {**worker_environment(), "HF_HUB_OFFLINE": "0" if online else "1"}
    process = None
    try:
        with (folder / names.LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(folder.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                start_new_session=True,
                close_fds=True,
                umask=0o077,
            )
        write_record(folder, process.pid)
    except OSError as error:
        if process is not None:
            process.kill()  # a worker that no record names could never be stopped
        raise UserError(f"The worker could not be started: {error.strerror}.", "Free memory or disk.") from None
    (folder / names.HEARTBEAT).touch()
    return process


def write_record(folder: Path, pid: int) -> None:
    """Note in the folder which process works on it."""
    created = psutil.Process(pid).create_time()
    write_json(folder / names.WORKER_RECORD, asdict(WorkerRecord(pid, created)))


def read_record(folder: Path) -> WorkerRecord | None:
    """The worker of a folder, None when it never had one."""
    value = read_json(folder / names.WORKER_RECORD)
    return WorkerRecord(**value) if isinstance(value, dict) else None


def is_alive(record: WorkerRecord) -> bool:
    """Whether that very process still runs."""
    return _process(record) is not None


def terminate(record: WorkerRecord) -> None:
    """Ask a worker to save and end."""
    _send(record, signal.SIGTERM)


def kill(record: WorkerRecord) -> None:
    """End a worker and what it started, at once. Nothing is saved."""
    _send(record, signal.SIGKILL)


def seconds_since_heartbeat(folder: Path) -> float:
    """How long ago the worker last said that it lives; 0 when it never did."""
    try:
        return max(0.0, time.time() - (folder / names.HEARTBEAT).stat().st_mtime)
    except FileNotFoundError:
        return 0.0


def _process(record: WorkerRecord) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.create_time) < CREATE_TIME_SLACK
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _send(record: WorkerRecord, what: signal.Signals) -> None:
    if _process(record) is None:
        return
    with contextlib.suppress(ProcessLookupError):
        if what == signal.SIGKILL:
            os.killpg(record.pid, what)  # the worker leads its own session, so this is the worker and its children
        else:
            os.kill(record.pid, what)
