"""What every reader of a kind of file works with: the source it reads, and the place where it reports problems."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

from studio.data.examples import Problem, Row
from studio.errors import UserError

MAX_PROBLEMS = 100
LONGEST_ROW = 64 * 1024**2  # bytes or characters of one row, or of a text that can only be read as a whole
DEEPEST_ROW = 100  # lists and objects inside each other; what is written back must not exhaust the stack
BLOCK = 1024**2  # bytes read at a time


class SourceError(UserError):
    """A file that cannot be read further, with the place: the rows behind it are unknown, so none can be dropped."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem), problem.hint)
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file or one member of an archive. `open_bytes` starts at the first byte each time it is called."""

    name: str
    open_bytes: Callable[[], BinaryIO]
    inside: bool = False  # in an archive: another archive in it is refused, and it cannot be read from its end

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    def head(self, size: int) -> bytes:
        """The first `size` bytes, fewer when the file is shorter."""
        with self.open_bytes() as stream:
            return stream.read(size)


@dataclass(kw_only=True)
class Reading:
    """One pass over one file: where it is, what was wrong so far.

    `row` is the number of the row that is being read, broken ones counted. `problems` holds the first MAX_PROBLEMS,
    `bad_rows` the numbers of all rows with a problem. `notes` are remarks that refuse nothing. `progress` is the
    share of the file's bytes that were read, 0 to 1. `suspicious`: what was decoded last may hold bytes that are
    no text.
    """

    encoding: str = ""
    keep_going: bool = False  # beyond MAX_PROBLEMS: for a user who wants the bad rows left out, however many
    kind: str = ""
    row: int = 0
    progress: float = 0.0
    member: str = ""
    newline: str = "\n"
    suspicious: bool = False
    problems: list[Problem] = field(default_factory=list)
    bad_rows: list[int] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def report(self, line: int, message: str, hint: str = "", *, row: int = 0, column: str = "") -> None:
        """Record a problem of a row, by default the one being read. Raises SourceError after MAX_PROBLEMS."""
        number = row or self.row
        if not self.bad_rows or self.bad_rows[-1] != number:
            self.bad_rows.append(number)
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(self.problem(line, message, hint, row=number, column=column))
        elif not self.keep_going:
            first = self.problems[0]
            raise SourceError(
                Problem(
                    message=f"More than {MAX_PROBLEMS} rows have a problem; the first: {first.message}",
                    hint=first.hint or "Check that the file's ending says what it holds.",
                    row=first.row,
                    line=first.line,
                    column=first.column,
                )
            )

    def refuse(self, line: int, message: str, hint: str, *, row: int = 0, column: str = "") -> NoReturn:
        """Stop reading at a place behind which nothing can be read. Raises SourceError."""
        raise SourceError(self.problem(line, message, hint, row=row or self.row, column=column))

    def problem(self, line: int, message: str, hint: str, *, row: int, column: str) -> Problem:
        told = f"{self.member}: {message}" if self.member else message
        return Problem(message=printable(told), hint=hint, line=line, row=row, column=printable(column))


class Metered(io.FileIO):
    """A file that tells a reading how much of it was read."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path)
        self._reading, self._size = reading, max(1, os.fstat(self.fileno()).st_size)

    def readinto(self, buffer: "bytearray | memoryview") -> int | None:  # type: ignore[override]
        count = super().readinto(buffer)
        self._reading.progress = min(1.0, self.tell() / self._size)
        return count


Rows = Iterator[tuple[int, Row]]
"""(line, row): lines count from 1, 0 where the kind has none."""

SourceReader = Callable[[Reading, Source], Rows]


def fail(message: str, hint: str) -> NoReturn:
    """Refuse a file as a whole. Raises UserError."""
    raise UserError(printable(message), hint)


def refuse_twice(reading: Reading, name: str) -> NoReturn:
    """Refuse a table whose header names one column twice. Raises SourceError."""
    message = f"The column {clipped(name)} stands twice in the header."
    raise SourceError(reading.problem(0, message, "Rename one of them.", row=0, column=name))


def printable(text: str) -> str:
    """`text` with halves of characters written out, so that it can be shown."""
    return text.encode("utf-8", "backslashreplace").decode()


def clipped(text: str, length: int = 60) -> str:
    """`text` in quotation marks, short enough for a sentence."""
    return repr(text if len(text) <= length else text[:length] + "…")
