"""Every path the studio keeps. Nobody else joins paths below the workspace."""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from studio.errors import UserError

ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FOLDERS = ("models", "datasets", "jobs", "adapters", "servers", "uploads", "trash", "conversations", "rounds")

LEFT_AFTER = 24 * 3600  # seconds

SPEC, EVENTS, LOG, CHECKPOINTS = "spec.yaml", "events.jsonl", "log.txt", "checkpoints"
ADAPTER, MODEL = "adapter", "model"  # what a job leaves: an adapter, or a whole model
WORKER_RECORD, HEARTBEAT, MANIFEST, ORIGIN = "worker.json", "heartbeat", "manifest.json", "origin.json"
DATA = "data.json"  # which rows a job learned from
SWEEP = "sweep.json"  # which values a job of a sweep tries
ENDPOINT = "endpoint.json"  # where an inference server answers
PROMISED = "promised.json"  # the memory that it must leave to others
MEMORY = "memory.json"  # what a job measured on its card
PROBE = "probe.json"  # what its longest batch took, tried beforehand


class WorkspaceInUse(UserError):
    """Another process keeps the workspace's queue."""


class Workspace:
    """The folder of one studio: what FOLDERS names, and the catalog.

    Ids are checked before they become a part of a path, so a path made here always lies inside.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> "Workspace":
        """Make the folders, readable by their owner alone. Raises UserError when that is not possible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in FOLDERS:
                (self.root / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise UserError(
                f"The workspace {self.root} cannot be used: {error.strerror}.",
                "Choose another folder with STUDIO_WORKSPACE.",
            ) from None
        return self

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.sqlite"

    @property
    def session_key(self) -> Path:
        return self.root / "session_key"

    @property
    def api_keys(self) -> Path:
        return self.root / "api_keys"

    @property
    def chat_weights(self) -> Path:
        """How base models are held for chats."""
        return self.root / "chat_weights.json"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def servers(self) -> Path:
        return self.root / "servers"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def conversations(self) -> Path:
        return self.root / "conversations"

    @property
    def votes(self) -> Path:
        return self.root / "votes.jsonl"

    @property
    def rounds(self) -> Path:
        """Rounds of the arena that wait for a vote."""
        return self.root / "rounds"

    def model(self, name: str) -> Path:
        return self.models / check_id(name, "model")

    def dataset(self, dataset_id: str) -> Path:
        return self.datasets / check_id(dataset_id, "data set")

    def job(self, job_id: str) -> Path:
        return self.jobs / check_id(job_id, "job")

    def has_result(self, job_id: str) -> bool:
        """Whether a job left an adapter or a model."""
        folder = self.job(job_id)
        return (folder / ADAPTER).is_dir() or (folder / MODEL).is_dir()

    def adapter(self, adapter_id: str) -> Path:
        return self.adapters / check_id(adapter_id, "adapter")

    def base_norms(self, fingerprint: str) -> Path:
        """Where the norms of a base model's weights are kept, by its fingerprint."""
        return self.adapters / ".base-norms" / f"{check_id(fingerprint, 'base model')}.json"

    def adapter_folder(self, name: str) -> Path:
        """Where the adapter should lie that `name` means: a job, JOB@STEP (a checkpoint of it), or an imported adapter.

        Raises UserError when `name` is none of these; whether something lies there is for the caller to check.
        """
        job_id, at, step = name.partition("@")
        if at:
            if not (step.isascii() and step.isdigit()):
                raise UserError(f"{step[:20]!r} is not the step of a checkpoint.", "Choose it from the list.")
            return self.job(job_id) / CHECKPOINTS / f"checkpoint-{int(step)}"
        imported = self.adapter(name) / ADAPTER
        return imported if imported.is_dir() else self.job(name) / ADAPTER

    def api_key(self, key_id: str) -> Path:
        return self.api_keys / f"{check_id(key_id, 'key')}.json"

    def conversation(self, conversation_id: str) -> Path:
        return self.conversations / f"{check_id(conversation_id, 'conversation')}.json"

    def server(self, server_id: str) -> Path:
        return self.servers / check_id(server_id, "server")

    def uploaded_file(self, path: str) -> Path:
        """The uploaded file at `path`, which came from a browser. Raises UserError when it lies elsewhere."""
        resolved = Path(path).resolve()
        if not resolved.is_relative_to(self.uploads.resolve()) or not resolved.is_file():
            raise UserError("That file was not uploaded here.", "Choose the file again.")
        return resolved

    def new_upload(self, name: str) -> Path:
        """A path for a file that arrives another way than by Gradio's upload; its folder is there."""
        folder = self.uploads / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder / Path(name).name

    def discard(self, path: Path) -> None:
        """Move a folder of ours out of sight in one step, then delete it."""
        grave = self.root / "trash" / f"{path.name}-{secrets.token_hex(4)}"
        path.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)

    def sweep_leftovers(self) -> None:
        """Delete what imports left that were killed. None takes a day: what is younger may still be filled."""
        before = time.time() - LEFT_AFTER
        for home in (self.datasets, self.jobs, self.adapters):
            for folder in home.glob(".staging-*"):
                if folder.lstat().st_mtime < before:
                    shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace for one supervisor. Raises WorkspaceInUse naming the process that does already."""
        with (self.root / "studio.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise WorkspaceInUse(
                    f"Another studio (process {owner}) is using the workspace {self.root}.",
                    "Use its page, stop it, or set STUDIO_WORKSPACE to another folder.",
                ) from None
            _write_owner(file)
            yield

    def free_bytes(self) -> int:
        """Bytes free on the workspace's disk."""
        return shutil.disk_usage(self.root).free


def _write_owner(file: TextIO) -> None:
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()


def check_id(value: str, what: str) -> str:
    """`value` when it is a well-formed id of ours, else UserError: the one gate from text to path."""
    if not isinstance(value, str) or not ID_PATTERN.fullmatch(value):
        shown = repr(str(value)[:80])
        raise UserError(
            f"{shown} is not the id of an {what}." if what[0] in "aeiou" else f"{shown} is not the id of a {what}.",
            "Choose it from the list.",
        )
    return value


def new_id(name: str) -> str:
    """A readable id that is new: a slug of `name` and eight random characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "item"
    return f"{slug}-{secrets.token_hex(4)}"


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part; survives a power cut."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1))


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write text atomically: a temporary file beside it, flushed to disk, then renamed."""
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        staging.touch(mode=mode)
        with staging.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON value in a file of ours, or None when the file is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
