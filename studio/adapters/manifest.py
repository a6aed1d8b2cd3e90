"""Folders that are complete or not there: written aside, hashed in a manifest, renamed; verified before use."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studio.errors import UserError
from studio.workspace import MANIFEST, write_json

PICKLES = ("training_args.bin",)  # holds a token in clear when there is one, and nobody needs it


def write_complete(folder: Path, fill: Callable[[Path], None]) -> int:
    """Let `fill` write into a staging folder, add the manifest, then move it to `folder`. Returns its bytes."""
    staging = folder.with_name(f".staging-{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        fill(staging)
        size = write_manifest(staging)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _sync_folder(folder.parent)
    return size


def write_manifest(folder: Path) -> int:
    """Hash every file, force them to disk, and write the manifest last. Returns the bytes of all files."""
    for name in PICKLES:
        (folder / name).unlink(missing_ok=True)
    entries: dict[str, Any] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        entries[str(file.relative_to(folder))] = {"bytes": file.stat().st_size, "sha256": digest}
    write_json(folder / MANIFEST, {"files": entries})
    return sum(int(entry["bytes"]) for entry in entries.values())


def verify(folder: Path) -> None:
    """Return when every file is what the manifest says, and no other is there. Raises UserError naming the file."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, ValueError, KeyError):
        raise UserError(f"{folder.name} is not complete: it has no manifest.", "Train again.") from None
    for name, entry in entries.items():
        file = folder / name
        if not file.is_file():
            raise UserError(f"{folder.name} lacks the file {name}.", "Restore it, or train again.")
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                raise UserError(
                    f"{folder.name}/{name} is damaged: it is not what was saved.", "Restore it, or train again."
                )
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        # transformers looks for files by name, and would load a stranger's pytorch_model.bin. Hidden ones it leaves.
        if file.is_file() and name not in entries and name != MANIFEST and not file.name.startswith("."):
            raise UserError(f"{folder.name}/{name} is not one of the files that were saved.", "Remove it.")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
