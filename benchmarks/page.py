"""The studio as `make run` starts it: its own process, on a free port, in a workspace of the caller."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from studio.settings import REPOSITORY

DEADLINE = 180.0  # seconds; a page that has not answered by then never will
PERIOD = 0.02


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that answered with 200. `seconds`: from the start of its process to the whole first answer."""

    url: str
    pid: int
    seconds: float


def warm_environment() -> dict[str, str]:
    """Ours without the studio's settings, and with Python's compiled files, which a warm machine has."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("STUDIO_")}


@contextmanager
def served_page(workspace: Path) -> Iterator[Page]:
    """Serve a workspace until the context ends. Raises RuntimeError with the output when no page comes."""
    port = free_port()
    command = [sys.executable, "-m", "studio", "serve", "--port", str(port)]
    environment = {**warm_environment(), "STUDIO_WORKSPACE": str(workspace)}
    log = workspace.parent / "serve.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=REPOSITORY,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for_answer(process, url, log)
        yield Page(url=url, pid=process.pid, seconds=time.monotonic() - began)
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process of ours, by force when it does not listen."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for_answer(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            # The socket listens long before the page is there: a request waits in line for it.
            if httpx.get(url, timeout=DEADLINE).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(PERIOD)
        if process.poll() is not None:
            break
    raise RuntimeError(f"the page did not come: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
