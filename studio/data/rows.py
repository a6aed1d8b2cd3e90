"""The rows and examples of a data set on disk, found by number or by a word without reading them all."""

import ctypes
import json
import mmap
import os
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson

from studio.data.examples import Example, Row

EXAMPLES, ROWS, INDEX = "examples.jsonl", "rows.jsonl", "rows.index.npz"
SEARCHERS = os.cpu_count() or 1  # threads of one search
MATCHES_KEPT = 20_000  # of one search; nobody pages through more
Offsets = npt.NDArray[np.uint64]
Find = Callable[[bytes, int, int], int]


class RowsWriter:
    """Writes rows and examples side by side, and where each begins. Use as a context; closing writes the index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: IO[bytes] = (folder / ROWS).open("wb", 1024**2)
        self._examples: IO[bytes] = (folder / EXAMPLES).open("wb", 1024**2)
        self._numbers, self._row_ends, self._example_ends = array("I"), array("Q"), array("Q")
        self._row_end = self._example_end = 0

    def add(self, number: int, row: Row, example: bytes) -> None:
        """One row as it stands in the file, and its example as a line of JSON."""
        data = _row_line(row)
        self._rows.write(data)
        self._examples.write(example)
        self._row_end += len(data)
        self._example_end += len(example)
        self._numbers.append(number)
        self._row_ends.append(self._row_end)
        self._example_ends.append(self._example_end)

    def __enter__(self) -> "RowsWriter":
        return self

    def __exit__(self, *unused: object) -> None:
        self._rows.close()
        self._examples.close()
        ends = np.array(self._example_ends, np.uint64)
        np.savez(
            self._folder / INDEX,
            numbers=np.array(self._numbers, np.uint32),
            rows=np.array(self._row_ends, np.uint64),
            examples=ends,
            by_length=np.argsort(np.diff(ends, prepend=np.uint64(0)), kind="stable").astype(np.uint32),
        )


@dataclass(frozen=True)
class RowsFile:
    """The rows of one data set; positions count from 0, row numbers are those of the uploaded file, from 1."""

    folder: Path
    numbers: npt.NDArray[np.uint32]
    row_ends: Offsets
    example_ends: Offsets
    by_length: npt.NDArray[np.uint32]  # positions, the shortest example's first

    @classmethod
    def open(cls, folder: Path) -> "RowsFile":
        """Read the index of a data set's folder."""
        with np.load(folder / INDEX, allow_pickle=False) as index:
            return cls(folder, index["numbers"], index["rows"], index["examples"], index["by_length"])

    def __len__(self) -> int:
        return len(self.numbers)

    def position(self, number: int) -> int | None:
        """Where the row with this number stands, None when it was left out or never was."""
        at = int(np.searchsorted(self.numbers, np.uint32(number)))
        return at if at < len(self) and self.numbers[at] == number else None

    def positions(self, numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Where the rows with these numbers stand; those that are not there are left out."""
        return np.flatnonzero(np.isin(self.numbers, numbers))

    def row(self, position: int) -> Row:
        """The row as it stands in the file."""
        return _line(self.folder / ROWS, self.row_ends, position)  # type: ignore[no-any-return]

    def example(self, position: int) -> Example:
        """Its example, as it was converted."""
        return _line(self.folder / EXAMPLES, self.example_ends, position)  # type: ignore[no-any-return]

    def numbered_examples(self) -> Iterator[tuple[int, Example]]:
        """(row number, example) for all of them, in order."""
        with (self.folder / EXAMPLES).open("rb") as file:
            for number, line in zip(self.numbers.tolist(), file, strict=True):
                yield number, json.loads(line)

    def find(self, text: str) -> npt.NDArray[np.int64]:
        """The positions of the rows that hold `text`, spelled exactly so; the first MATCHES_KEPT of them."""
        wanted = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "backslashreplace")
        if not wanted:
            return np.empty(0, np.int64)
        bounds = np.linspace(0, len(self), SEARCHERS + 1).astype(np.int64).tolist()
        with _searchable(self.folder / ROWS) as find, ThreadPoolExecutor(SEARCHERS) as pool:
            parts = pool.map(lambda part: self._find_between(find, wanted, *part), pairwise(bounds))
            found = [position for part in parts for position in part]
        return np.array(found[:MATCHES_KEPT], np.int64)

    def _find_between(self, find: Find, wanted: bytes, first: int, last: int) -> list[int]:
        """The same among the rows from `first` on, before `last`."""
        found: list[int] = []
        ends = self.row_ends
        start, stop = int(ends[first - 1]) if first else 0, int(ends[last - 1]) if last else 0
        at = find(wanted, start, stop)
        while at >= 0 and len(found) < MATCHES_KEPT:
            # As uint64: of a Python number numpy would make a signed one, and convert every end for each search.
            position = int(np.searchsorted(ends, np.uint64(at), side="right"))
            found.append(position)
            at = find(wanted, int(ends[position]), stop)
        return found


def _row_line(row: Row) -> bytes:
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half of a character or a huge number in a column that nobody trains on
        return (json.dumps(row, separators=(",", ":")) + "\n").encode()


def _line(path: Path, ends: Offsets, position: int) -> Any:
    start = int(ends[position - 1]) if position else 0
    with path.open("rb") as file:
        file.seek(start)
        return json.loads(file.read(int(ends[position]) - start))


@contextmanager
def _searchable(path: Path) -> Iterator[Find]:
    """find(what, start, stop) in a file: where it stands, -1 when nowhere. The C library's search where there is one.

    It goes through a gigabyte in a quarter of a second, three times as fast as Python's, and lets other threads work.
    """
    # A copy-on-write map, since ctypes asks for memory that may be written; nothing ever is.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
        search = getattr(ctypes.CDLL(None), "memmem", None)
        if search is None:
            yield data.find
            return
        search.restype, search.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t) * 2
        window = (ctypes.c_char * len(data)).from_buffer(data)
        first = ctypes.addressof(window)

        def find(what: bytes, start: int, stop: int) -> int:
            at = search(first + start, stop - start, what, len(what)) if start < stop else None
            return -1 if at is None else int(at) - first

        try:
            yield find
        finally:
            del window  # a map with a window on it cannot be closed
