"""Uploads are parsed, and foreign chat templates rendered, in a child process with limits: the studio lives on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from studio.data.dataset import DatasetRecord, Verdict
from studio.data.mapping import ColumnMapping
from studio.data.sources.contract import printable
from studio.errors import UserError
from studio.settings import worker_environment
from studio.workspace import Workspace, new_id

# Seconds that a task may take, of the processor and by the clock. Long ones show progress and can be cancelled.
SECONDS = {"render": 60, "convert": 1800, "fetch": 3600, "audit": 7200, "snapshot": 1800, "adapter": 3600,
           "adapter_of_hub": 7200}  # fmt: skip
SILENCE = 120  # seconds: a task that says nothing for so long hangs (a template or a file that never ends)
ADDRESS_SPACE = 8 * 1024**3  # bytes; shared libraries are mapped into it, so it is more than what may be filled

Told = Callable[[float, dict[str, Any]], None]


class Cancelled(UserError):
    """The user did not want to wait."""


def import_file(
    files: Path | Sequence[Path],
    workspace: Workspace,
    *,
    name: str = "",
    format_name: str = "",
    drop_bad_rows: bool = False,
    encoding: str = "",
    mapping: ColumnMapping | None = None,
    told: Told | None = None,
    cancelled: threading.Event | None = None,
) -> Verdict:
    """Read files in a child and keep them as one data set of the workspace, or return what is wrong.

    Raises UserError when the reader could not do its work. Nothing is left behind unless a data set was made.
    """
    paths = [files] if isinstance(files, Path) else list(files)
    title = printable(name or paths[0].stem)
    folder = workspace.dataset(new_id(title))
    staging = workspace.datasets / f".staging-{folder.name}" / folder.name
    staging.mkdir(parents=True)
    try:
        answer = run_isolated(
            "convert",
            told=told,
            cancelled=cancelled,
            files=[str(path.absolute()) for path in paths],
            folder=str(staging),
            name=title,
            format_name=format_name,
            drop_bad_rows=drop_bad_rows,
            encoding=encoding,
            mapping=mapping.model_dump() if mapping else None,
        )
        verdict = Verdict(**answer)
        if verdict.record is not None:
            staging.rename(folder)
        return verdict
    finally:
        shutil.rmtree(staging.parent, ignore_errors=True)


def render_examples(
    examples: list[Any], model_folder: Path, *, chat_template: str = "model", max_length: int = 0
) -> list[list[dict[str, Any]]]:
    """For each example its sequences as {tokens: [[text, learned], …], lost: …, total, learned, cut, has_end}.

    `max_length` 0 does not cut; `lost` are the tokens behind it. Raises UserError when the model has no usable
    tokenizer or template.
    """
    answer = run_isolated(
        "render",
        examples=examples,
        model_folder=str(model_folder),
        chat_template=chat_template,
        max_length=max_length,
    )
    return list(answer["sequences"])


def run_isolated(
    task: str,
    *,
    told: Told | None = None,
    cancelled: threading.Event | None = None,
    online: bool = False,
    module: str = "studio.data",
    **request: Any,
) -> dict[str, Any]:
    """Run one task of a module's __main__ in a child and return its answer. Raises UserError, Cancelled.

    `told(share done, what is known so far)` is called in this thread; `cancelled` ends the child when it is set.
    """
    command = [sys.executable, "-m", module, task]
    environment = {
        **worker_environment(),
        "HF_HUB_OFFLINE": "0" if online else "1",
        "OPENBLAS_NUM_THREADS": "1",  # numpy starts threads at once, and nothing is multiplied there
    }
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"A reader could not be started: {error.strerror}.", "Free some memory.") from None
        watch = _Watch(process, SECONDS[task], cancelled)
        try:
            answer = _talk(process, request, told, watch)
        finally:
            watch.end()
        return _understand(answer, process.returncode, errors, watch)


def _talk(
    process: "subprocess.Popen[bytes]", request: dict[str, Any], told: Told | None, watch: "_Watch"
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    answer: dict[str, Any] = {}
    with suppress(BrokenPipeError), process.stdin as stream:
        stream.write(json.dumps(request).encode())
    with process.stdout as lines:
        for line in lines:
            watch.heard()
            with suppress(ValueError):  # the last line of a child that was ended may be half of one
                answer = json.loads(line)
            if "progress" in answer and told is not None:
                told(answer["progress"], answer["known"])
    process.wait()
    return answer


def _understand(answer: dict[str, Any], code: int, errors: IO[bytes], watch: "_Watch") -> dict[str, Any]:
    if watch.why == "cancelled":
        raise Cancelled("Cancelled.", "Nothing was kept.")
    if watch.why:
        raise UserError(f"Reading took longer than {watch.why}.", "Split the file into smaller ones.")
    if code in (0, 2) and "user_error" in answer:
        raise UserError(**answer["user_error"])
    if code == 0 and "answer" in answer:
        found: dict[str, Any] = answer["answer"]
        return found
    errors.seek(0)
    text = errors.read().decode(errors="replace")
    if code < 0 or "MemoryError" in text:
        raise UserError(
            f"The file made its reader stop (exit code {code}); the studio is not affected.",
            "Split the file, or save it again in another format.",
        )
    if "No space left on device" in text:
        raise UserError("The disk is full.", "Free some space and try again.")
    raise RuntimeError(text[-2000:])


class _Watch:
    """Ends a child that takes too long, hangs, or is not wanted any more."""

    def __init__(self, process: "subprocess.Popen[bytes]", seconds: int, cancelled: threading.Event | None) -> None:
        self.why = ""
        self._process, self._cancelled = process, cancelled
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="reader-watch", daemon=True)
        self._thread.start()

    def heard(self) -> None:
        self._last = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._process.poll() is None:
            self._kill()
            self._process.wait()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            now = time.monotonic()
            if self._cancelled is not None and self._cancelled.is_set():
                self.why = "cancelled"
            elif now > self._until:
                self.why = f"{self._seconds} seconds"
            elif now - self._last > SILENCE:
                self.why = f"{SILENCE} seconds without a sign of life"
            if self.why:
                self._kill()
                return

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def limit_this_process(task: str) -> None:
    """Limits for a child that reads foreign content: memory, CPU time, no core file."""
    for what, limit in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CPU, SECONDS[task]),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(what, (allowed, hard))
        except (ValueError, OSError):  # macOS has no limit on address space
            if what != resource.RLIMIT_AS:
                raise


__all__ = ["Cancelled", "DatasetRecord", "Verdict", "import_file", "limit_this_process", "render_examples",
           "run_isolated"]  # fmt: skip
