"""Files of this machine that the operator offers: below STUDIO_DATA_ROOTS, no links, nothing outside."""

from pathlib import Path, PurePosixPath
from typing import Any

from studio.data.sources import SUFFIXES
from studio.errors import UserError

MOST_ENTRIES = 500


def list_folder(roots: tuple[Path, ...], root: int, path: str) -> dict[str, Any]:
    """What a folder below a root holds: {"roots", "path", "folders", "files": [{"name", "bytes"}], "more"}.

    Links, hidden files and files of other kinds are left out. Raises UserError when there is no such folder.
    """
    folder = resolve(roots, root, path)
    if not folder.is_dir():
        raise UserError(f"There is no folder {path!r}.", "Choose one of the list.")
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name.lower())
    except OSError as error:
        raise UserError(f"{folder.name} cannot be read: {error.strerror}.", "Ask the operator for access.") from None
    shown = [entry for entry in entries if not entry.name.startswith(".") and not entry.is_symlink()]
    files = [entry for entry in shown if entry.is_file() and entry.suffix.lower() in SUFFIXES]
    folders = [entry.name for entry in shown if entry.is_dir()]
    return {
        "roots": [one.name or str(one) for one in roots],
        "path": path.strip("/"),
        "folders": folders[:MOST_ENTRIES],
        "files": [{"name": entry.name, "bytes": entry.stat().st_size} for entry in files[:MOST_ENTRIES]],
        "more": max(0, len(files) - MOST_ENTRIES) + max(0, len(folders) - MOST_ENTRIES),
    }


def offered_file(roots: tuple[Path, ...], root: int, path: str) -> Path:
    """The file that a page asks for. Raises UserError when it is none that is offered."""
    file = resolve(roots, root, path)
    if not file.is_file() or file.suffix.lower() not in SUFFIXES:
        raise UserError(f"There is no data file {path!r}.", "Choose one of the list.")
    return file


def resolve(roots: tuple[Path, ...], root: int, path: str) -> Path:
    """A path below a root, on which no step is a link. Raises UserError for anything else."""
    if not 0 <= root < len(roots):
        raise UserError("No such folder is offered.", "Ask for STUDIO_DATA_ROOTS to be set.")
    parts = PurePosixPath(path).parts
    refused = UserError(f"{path[:80]!r} is not in a folder that is offered.", "Choose one of the list.")
    if PurePosixPath(path).is_absolute() or any(part in ("..", ".") or "\0" in part for part in parts):
        raise refused
    top = roots[root].resolve()
    wanted = top.joinpath(*parts)
    if wanted.resolve() != wanted:  # a link on the way
        raise refused
    return wanted
