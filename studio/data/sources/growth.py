"""How far packed bytes may grow: a bomb is refused while it is still small."""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from studio.data.sources.contract import BLOCK, Source, fail

ALWAYS = 64 * 1024**2  # bytes that anything may grow to
RATIO = 200  # text packs 3 to 20 times smaller, text that repeats itself up to 100 times
MOST = 8 * 1024**3


def check_growth(name: str, grown: int, packed: int) -> None:
    """Raise UserError when so many bytes (`grown`) from so few (`packed`) can only be a bomb."""
    if grown > MOST or (grown > ALWAYS and grown > packed * RATIO):
        fail(
            f"{name} grows from {_size(packed)} to more than {_size(grown)} when it is unpacked.",
            "Unpack it yourself and look at it; split it when it is what you want.",
        )


class Growing(io.RawIOBase):
    """An unpacked stream whose growth is watched. `packed` tells how many packed bytes it may have come from."""

    def __init__(self, name: str, stream: IO[bytes], packed: Callable[[], int], below: BinaryIO | None = None) -> None:
        self._name, self._stream, self._packed, self._below, self._grown = name, stream, packed, below, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._grown += len(data)
        check_growth(self._name, self._grown, self._packed())
        return len(data)

    def close(self) -> None:
        self._stream.close()
        if self._below is not None:  # a GzipFile leaves its file open
            self._below.close()
        super().close()


def _size(count: int) -> str:
    return f"{count / 1024**2:,.0f} MB" if count >= 1024**2 else f"{max(1, count // 1024)} KB"


@contextmanager
def seekable(source: Source) -> Iterator[IO[bytes]]:
    """The source as a file that can be read from its end: a member of an archive is unpacked to a nameless file."""
    with source.open_bytes() as stream:
        if not source.inside:
            yield stream
            return
        with tempfile.TemporaryFile() as whole:
            shutil.copyfileobj(stream, whole, BLOCK)
            whole.seek(0)
            yield whole
