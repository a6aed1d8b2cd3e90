"""A job's checkpoints: which is the newest that is whole, and which are kept."""

import shutil
from pathlib import Path

from studio.adapters.manifest import verify, write_complete, write_manifest
from studio.errors import UserError

__all__ = ["PREFIX", "newest_verified", "rotate", "verify", "write_complete", "write_manifest"]

PREFIX = "checkpoint-"


def newest_verified(folder: Path) -> tuple[Path | None, list[str]]:
    """(the newest checkpoint that is whole, sentences about newer ones that are not)."""
    complaints = []
    for checkpoint in sorted(_checkpoints(folder), key=_step, reverse=True):
        try:
            verify(checkpoint)
        except UserError as error:
            complaints.append(f"{error.message} An older checkpoint is used.")
            continue
        return checkpoint, complaints
    return None, complaints


def rotate(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for checkpoint in sorted(_checkpoints(folder), key=_step)[:-keep]:
        shutil.rmtree(checkpoint, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.name[len(PREFIX) :].isdigit()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name[len(PREFIX) :])
