"""Uploads are parsed, and foreign chat templates rendered, in a child process with limits: the studio lives on."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from studio.data.dataset import DatasetRecord, Verdict
from studio.errors import UserError
from studio.settings import worker_environment
from studio.workspace import Workspace, new_id

SECONDS = 120
ADDRESS_SPACE = 8 * 1024**3  # bytes; shared libraries are mapped into it, so it is more than what may be filled


def import_file(
    file: Path, workspace: Workspace, *, name: str = "", format_name: str = "", drop_bad_rows: bool = False
) -> Verdict:
    """Read `file` in a child and keep it as a data set of the workspace, or return what is wrong with it.

    Raises UserError when the file as a whole is of no use. Nothing is left behind unless a data set was made.
    """
    title = name or file.stem
    folder = workspace.dataset(new_id(title))
    staging = workspace.datasets / f".staging-{folder.name}" / folder.name
    staging.mkdir(parents=True)
    try:
        answer = run_isolated(
            "convert",
            file=str(file.absolute()),
            folder=str(staging),
            name=title,
            format_name=format_name,
            drop_bad_rows=drop_bad_rows,
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
    """For each example its sequences as {tokens: [[text, learned], …], total, learned, cut}.

    `max_length` 0 does not cut. Raises UserError when the model has no usable tokenizer or template.
    """
    answer = run_isolated(
        "render",
        examples=examples,
        model_folder=str(model_folder),
        chat_template=chat_template,
        max_length=max_length,
    )
    return list(answer["sequences"])


def run_isolated(task: str, **request: Any) -> dict[str, Any]:
    """Run one task of studio.data.__main__ in a child and return its answer. Raises UserError."""
    command = [sys.executable, "-m", "studio.data", task]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=SECONDS,
            env=worker_environment(),
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"Reading took longer than {SECONDS} seconds.", "Split the file into smaller ones.") from None
    except OSError as error:
        raise UserError(f"A reader could not be started: {error.strerror}.", "Free some memory.") from None
    if done.returncode in (0, 2):
        answer: dict[str, Any] = json.loads(done.stdout)
        if "user_error" in answer:
            raise UserError(**answer["user_error"])
        return answer
    if done.returncode < 0 or b"MemoryError" in done.stderr:
        raise UserError(
            f"The file made its reader stop (exit code {done.returncode}); the studio is not affected.",
            "Split the file, or save it again in another format.",
        )
    raise RuntimeError(done.stderr.decode(errors="replace")[-2000:])


def limit_this_process() -> None:
    """Limits for a child that reads foreign content: memory, CPU time, no core file."""
    for what, limit in (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(what, (allowed, hard))
        except (ValueError, OSError):  # macOS has no limit on address space
            if what != resource.RLIMIT_AS:
                raise


__all__ = ["DatasetRecord", "Verdict", "import_file", "limit_this_process", "render_examples", "run_isolated"]
