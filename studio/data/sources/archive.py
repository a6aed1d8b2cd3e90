"""zip and gz: what they hold is streamed, never written to a path that they name."""

import gzip
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import IO, BinaryIO, NoReturn, cast

from studio.data.sources.contract import BLOCK, Source, clipped, fail
from studio.data.sources.growth import ALWAYS, RATIO, Growing, check_growth, seekable

MOST_MEMBERS = 10_000
ASIDES = ("readme", "license", "licence", "copying", "notice")
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, NotImplementedError)


def gzip_member(source: Source, packed: Callable[[], int]) -> Source:
    """The file in a gz; `packed` tells how many packed bytes were read."""
    name = source.name[: -len(".gz")] if source.suffix == ".gz" else source.name

    def open_bytes() -> BinaryIO:
        below = source.open_bytes()
        growing = Growing(source.name, cast(IO[bytes], gzip.GzipFile(fileobj=below)), packed, below)
        return io.BufferedReader(growing, BLOCK)

    member = Source(name=name, open_bytes=open_bytes, inside=True)
    if _says_it_is_a_bomb(source):
        with member.open_bytes() as stream:  # so it is refused before rows were made of half of it
            for _ in range(2 * ALWAYS // BLOCK):
                stream.read(BLOCK)
    return member


def _says_it_is_a_bomb(source: Source) -> bool:
    """Whether the size that a gz gives in its last four bytes, which may be anything, is that of a bomb."""
    with source.open_bytes() as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - 4))
        return int.from_bytes(stream.read(4), "little") > max(ALWAYS, size * RATIO)


def zip_members(source: Source, archive: zipfile.ZipFile) -> list[Source]:
    """The data files of a zip in the order of their names. Raises UserError when there is none."""
    found = [info for info in archive.infolist() if not info.is_dir() and not _is_hidden(info.filename)]
    if not found:
        fail(f"{source.name} holds no file.", "Pack the data files.")
    return [
        Source(name=info.filename, open_bytes=partial(open_member, archive, info), inside=True)
        for info in sorted(found, key=lambda info: info.filename)
    ]


def is_aside(name: str) -> bool:
    """Whether a file's name says that it tells about the data rather than being it: README, LICENSE, *.md."""
    path = PurePosixPath(name.lower())
    return path.suffix in (".md", ".markdown") or (path.stem in ASIDES and path.suffix in ("", ".txt", ".rst"))


def _check_members(source: Source, infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MOST_MEMBERS:
        fail(f"{source.name} holds more than {MOST_MEMBERS:,} files.", "Pack the data files alone.")
    for info in infos:
        _check_member(info)
    _check_overlap(infos)
    check_growth(source.name, sum(info.file_size for info in infos), sum(info.compress_size for info in infos))


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """A member's bytes, unpacked while they are read. Raises UserError when its own header is damaged."""
    try:
        stream = archive.open(info)
    except (*BROKEN, ValueError, struct.error, OSError) as error:
        _fail_broken(info.filename, error)
    return io.BufferedReader(Growing(info.filename, stream, lambda: info.compress_size), BLOCK)


def _check_member(info: zipfile.ZipInfo) -> None:
    name = clipped(info.orig_filename, 80)
    plain = info.orig_filename.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if not parts or ".." in parts or plain.startswith("/") or parts[0].endswith(":") or "\0" in plain:
        fail(f"The archive's file {name} points outside the archive.", "Pack it again, with plain names.")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        fail(f"The archive's file {name} is a link or device, not a file.", "Pack the files themselves.")
    if info.header_offset < 0:
        fail(f"The archive's file {name} is not where the archive says.", "Pack it again, or copy it again.")
    if info.flag_bits & 0x1:
        fail(f"The archive's file {name} is encrypted.", "Pack it without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        fail(f"The archive's file {name} is packed in a way that is not read here.", "Pack it as an ordinary zip.")
    check_growth(info.filename, info.file_size, info.compress_size)


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share bytes: they make a small archive grow without end."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    for info, following in zip(ordered, ordered[1:], strict=False):
        if info.header_offset + 30 + len(info.orig_filename) + info.compress_size > following.header_offset:
            fail(f"The archive's file {clipped(following.filename, 80)} overlaps another one.", "Pack it again.")
    names = {info.filename for info in infos}
    if len(names) != len(infos):
        fail("The archive holds two files of the same name.", "Pack it again.")


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[0] == "__MACOSX" or parts[-1].lower() in ("thumbs.db", "desktop.ini") or parts[-1].startswith(".")


@contextmanager
def open_zip(source: Source) -> Iterator[zipfile.ZipFile]:
    """The zip, whose table of contents and members may be anything. Raises UserError."""
    with seekable(source) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except (*BROKEN, ValueError, struct.error, OSError) as error:
            _fail_broken(source.name, error)
        with archive:
            _check_members(source, archive.infolist())
            yield archive


@contextmanager
def broken_archives(name: str) -> Iterator[None]:
    """Turn what the archive libraries raise about damaged bytes into a sentence."""
    try:
        yield
    except BROKEN as error:
        _fail_broken(name, error)


def _fail_broken(name: str, error: Exception) -> NoReturn:
    fail(f"{name} is damaged or cut off: {str(error) or type(error).__name__}.", "Pack it again, or copy it again.")
