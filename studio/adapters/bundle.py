"""The files of an adapter from outside: some files, a folder, or a zip. Nothing is written to a path that they name."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from studio.data.sources.archive import broken_archives, open_member, open_zip
from studio.data.sources.contract import Source, clipped
from studio.errors import UserError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
             "chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt")  # fmt: skip
ORIGIN = "origin.json"  # where it comes from another studio
WANTED = (CONFIG, WEIGHTS, ORIGIN, *TOKENIZER)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MOST_FILES = 1000


@dataclass(frozen=True)
class Member:
    """One file: its name without folders, how many bytes it says it has, and how to read it from the start."""

    name: str
    size: int
    open_bytes: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Bundle:
    """The files that make an adapter, by name, and the names of those that lay beside them and are left."""

    members: dict[str, Member]
    left: tuple[str, ...]


@contextmanager
def open_bundle(paths: Sequence[Path], limit: int) -> Iterator[Bundle]:
    """The adapter in some files, one folder, or one zip. Raises UserError; `limit`: bytes that it may have."""
    first = paths[0]
    if len(paths) == 1 and first.is_dir():
        yield _chosen(_of_folder(first), first.name, limit)
    elif len(paths) == 1 and _is_zip(first):
        with (
            broken_archives(first.name),
            open_zip(Source(name=first.name, open_bytes=partial(_open, first))) as archive,
        ):
            infos = [info for info in archive.infolist() if not info.is_dir()]
            members = [Member(info.filename, info.file_size, partial(open_member, archive, info)) for info in infos]
            yield _chosen(members, first.name, limit)
    else:
        yield _chosen([_of_file(path) for path in paths], "What was chosen", limit)


def is_pickle(name: str) -> bool:
    """Whether a file's name says that reading it could run code."""
    return PurePosixPath(name.lower()).suffix in PICKLES


def _chosen(members: list[Member], where: str, limit: int) -> Bundle:
    """The files beside the one adapter_config.json."""
    if len(members) > MOST_FILES:
        raise UserError(f"{where} holds more than {MOST_FILES:,} files.", "Choose the adapter's folder alone.")
    homes = [_home(one.name) for one in members if PurePosixPath(one.name).name == CONFIG]
    if len(homes) > 1:
        shown = ", ".join(clipped(home or ".", 40) for home in homes[:5])
        raise UserError(f"{where} holds {len(homes)} adapters: {shown}.", "Bring in one at a time.")
    here = [one for one in members if not homes or _home(one.name) == homes[0]]
    named = {PurePosixPath(one.name).name: one for one in here}
    if len(named) != len(here):
        raise UserError(f"{where} holds two files of the same name.", "Bring in one adapter at a time.")
    _check_complete(named, where)
    taken = {name: one for name, one in named.items() if name in WANTED}
    size = sum(one.size for one in taken.values())
    if size > limit:
        raise UserError(
            f"The adapter has {size / 1e6:,.0f} MB; at most {limit / 1e6:,.0f} MB are taken.",
            "Ask for STUDIO_UPLOAD_LIMIT_MB to be raised.",
        )
    left = sorted(one.name for one in members if one not in taken.values())
    return Bundle(taken, tuple(left))


def _check_complete(named: dict[str, Member], where: str) -> None:
    if WEIGHTS not in named:
        pickled = next((name for name in named if is_pickle(name)), None)
        if pickled:
            raise UserError(
                f"{clipped(pickled)} is a pickle, which can run code when it is read, and is not accepted.",
                f"Save the adapter again with PEFT, which writes {WEIGHTS}.",
            )
        whole = next((name for name in named if name.endswith(".safetensors")), None)
        if whole and CONFIG not in named:
            raise UserError(f"{clipped(whole)} is no adapter's file.", f"An adapter has {CONFIG} and {WEIGHTS}.")
    for name in (CONFIG, WEIGHTS):
        if name not in named:
            raise UserError(f"{where} has no {name}.", f"An adapter has {CONFIG} and {WEIGHTS}; bring both.")


def _home(name: str) -> str:
    parent = str(PurePosixPath(name.replace("\\", "/")).parent)
    return "" if parent == "." else parent


def _of_folder(folder: Path) -> list[Member]:
    """The files right in a folder. Links are refused: they could lead anywhere."""
    return [_of_file(entry) for entry in sorted(folder.iterdir()) if entry.is_symlink() or not entry.is_dir()]


def _of_file(path: Path) -> Member:
    if path.name not in WANTED and not is_pickle(path.name):
        return Member(path.name, 0, partial(_open, path))
    kind = os.lstat(path).st_mode
    if stat.S_ISLNK(kind) or not stat.S_ISREG(kind):
        raise UserError(f"{path.name} is a link or a device, not a file.", "Copy the files themselves.")
    return Member(path.name, os.lstat(path).st_size, partial(_open, path))


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb"))


def _is_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
