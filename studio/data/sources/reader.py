"""A file → numbered rows: what it is found out, and read by the reader of its kind."""

import io
import stat
from functools import partial
from pathlib import Path
from typing import BinaryIO

from studio.data.sources import archive, encodings
from studio.data.sources.contract import BLOCK, Metered, Reading, Rows, Source, SourceReader, clipped, fail
from studio.data.sources.kinds import (
    BINARY_READERS,
    GZIP,
    HEAD,
    PARQUET,
    TEXT_READERS,
    ZIP,
    refuse_foreign,
    text_reader,
)
from studio.data.sources.parquet import read_parquet
from studio.data.sources.plain_text import read_plain_text
from studio.data.sources.xlsx import is_xlsx, other_office_file, read_xlsx


class RowReader(Reading):
    """The rows of one file. Content is never guessed, changed or skipped.

    Before reading, `encoding` is the one to use ("": UTF-8, or what a byte order mark says); afterwards the one used.
    """

    def read(self, path: Path) -> Rows:
        """Yield (line, row). Raises UserError when the file is of no use, SourceError when it is from a place on."""
        source = Source(name=path.name, open_bytes=partial(_open, path, self))
        with archive.broken_archives(path.name):
            yield from read_source(self, source)


def candidate_encodings(path: Path) -> list[tuple[str, str]]:
    """(encoding, some of the text read with it) for each encoding that can read the whole file, likelier ones first.

    The text begins in the first line that is not plain ASCII, so that it shows the difference.
    """
    reading = Reading()
    source = Source(name=path.name, open_bytes=partial(_open, path, reading))
    with archive.broken_archives(path.name):
        head = source.head(HEAD)
        if head.startswith(GZIP):
            source = archive.gzip_member(source, lambda: path.stat().st_size)
        elif head.startswith(ZIP):
            with archive.open_zip(source) as opened:
                members = archive.zip_members(source, opened)
                members.sort(key=lambda member: archive.is_aside(member.name))
                return encodings.candidates(members[0])
        return encodings.candidates(source)


def _open(path: Path, reading: Reading) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            fail(f"{path.name} is not a file.", "Choose a file.")
        return io.BufferedReader(Metered(path, reading), BLOCK)
    except OSError as error:
        fail(f"{path.name} cannot be opened: {error.strerror}.", "Check that it is there and may be read.")


def read_source(reading: Reading, source: Source) -> Rows:
    """The rows of whatever the source holds, in an archive or not."""
    head = source.head(HEAD)
    if head.startswith(GZIP):
        size = _size_of(source)
        yield from _read_one(reading, archive.gzip_member(source, lambda: int(reading.progress * size)), "gz")
    elif head.startswith(ZIP) and not _is_workbook(source):
        with archive.open_zip(source) as opened:
            yield from _read_all(reading, archive.zip_members(source, opened))
    else:
        yield from _read_one(reading, source, "")


def _size_of(source: Source) -> int:
    with source.open_bytes() as stream:
        return stream.seek(0, io.SEEK_END)


def _is_workbook(source: Source) -> bool:
    with archive.open_zip(source) as opened:
        if what := other_office_file(opened):
            fail(f"{source.name} is {what}.", "Choose a file with rows: JSON Lines, CSV, Parquet …")
        return is_xlsx(opened)


def _read_one(reading: Reading, source: Source, packed: str) -> Rows:
    reader = find_reader(source, reading.encoding)
    yield from reader(reading, source)
    if packed:
        reading.kind = f"{reading.kind} ({packed})"


def _read_all(reading: Reading, members: list[Source]) -> Rows:
    """The rows of several files, one after the other; their lines count in each, their rows through all."""
    asked = reading.encoding
    members = _without_asides(reading, members)
    readers = [find_reader(member, asked) for member in members]
    for member, reader in zip(members, readers, strict=True):
        if reader is not readers[0]:
            fail(
                f"The archive holds files of different kinds: {members[0].name} and {member.name}.",
                "Pack files of one kind, and nothing else.",
            )
    for member, reader in zip(members, readers, strict=True):
        reading.member = member.name if len(members) > 1 else ""
        reading.encoding = asked
        yield from reader(reading, member)
    reading.kind = f"{reading.kind} (zip)"


def _without_asides(reading: Reading, members: list[Source]) -> list[Source]:
    """The members without README, LICENSE and the like, which are named; all of them when the data are texts."""
    data = [member for member in members if not archive.is_aside(member.name)]
    if not data or len(data) == len(members) or find_reader(data[0], reading.encoding) is read_plain_text:
        return members
    left_out = [clipped(member.name) for member in members if archive.is_aside(member.name)]
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    message = f"Of the archive was not read: {', '.join(left_out[:5])}{more}."
    reading.notes.append(reading.problem(0, message, "Give it another name when it holds rows.", row=0, column=""))
    return data


def find_reader(source: Source, asked: str) -> SourceReader:
    """The reader for what a source holds. Raises UserError when it is nothing with rows."""
    head = source.head(HEAD)
    if source.inside and (head.startswith(GZIP) or (head.startswith(ZIP) and not _is_workbook(source))):
        fail(f"{source.name} is an archive inside an archive.", "Unpack the inner one.")
    if head.startswith(PARQUET):
        return read_parquet
    if head.startswith(ZIP):
        return read_xlsx
    refuse_foreign(source, head)
    if source.suffix in BINARY_READERS:
        fail(f"{source.name} is no {source.suffix.removeprefix('.')} file, whatever its ending says.", "Save it again.")
    return text_reader(source, head, asked)


READERS: dict[str, SourceReader] = {**TEXT_READERS, **BINARY_READERS, ".gz": read_source, ".zip": read_source}
SUFFIXES = tuple(READERS)

__all__ = ["READERS", "SUFFIXES", "RowReader", "candidate_encodings", "find_reader"]
