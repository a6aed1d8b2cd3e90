"""What libraries raise → sentences for people. Only what the user can do something about."""

import errno
import shutil
from pathlib import Path

import torch

from studio.errors import UserError


def explain(error: BaseException, folder: Path) -> UserError | None:
    """The sentence for an error, or None when it is a bug."""
    if isinstance(error, UserError):
        return error
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in text.lower():
        return UserError(
            "The graphics card ran out of memory.",
            "Halve the batch size and double gradient accumulation, lower max length, or use QLoRA.",
        )
    if isinstance(error, MemoryError) or "not enough memory" in text or "can't allocate memory" in text.lower():
        return UserError(
            "This machine ran out of memory.", "Halve the batch size, lower max length, or use a smaller model."
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text:
        free = shutil.disk_usage(folder).free / 1e6
        return UserError(f"The disk is full ({free:.0f} MB free at {folder}).", "Free some space, then press Resume.")
    return None
