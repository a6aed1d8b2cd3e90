"""A safetensors file read without torch: its header checked, its tensors as float32, a block of rows at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from studio.base_models import weight_files
from studio.errors import UserError

Array = npt.NDArray[np.float32]
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
         "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1}  # fmt: skip
NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
         "U8": "u1"}  # fmt: skip
LONGEST_HEADER = 32 * 1024**2  # bytes; a model of 100,000 tensors has 12 MB
MOST_DIMENSIONS = 8
BLOCK = 4 * 1024**2  # numbers read at a time


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: bytes from `start` to before `end` of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        return prod(self.shape)


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a file. Raises UserError unless they lie in it one after another, without gap or overlap."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            _refuse(file, f"its header would be {length:,} bytes of a file of {size:,}")
        text = stream.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        _refuse(file, "its header is not valid JSON")
    if not isinstance(header, dict):
        _refuse(file, "its header is not an object")
    header.pop("__metadata__", None)
    tensors = {name: _tensor(file, name, entry, 8 + length) for name, entry in header.items()}
    _check_order(file, sorted(tensors.values(), key=lambda one: (one.start, one.end)), 8 + length, size)
    return tensors


def model_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a base model. Raises UserError when a file is missing or damaged."""
    return {name: tensor for file in weight_files(folder) for name, tensor in read_header(file).items()}


def read(tensor: Tensor) -> Array:
    """The whole tensor in its shape."""
    return _read(tensor, 0, tensor.size).reshape(tensor.shape)


def row_blocks(tensor: Tensor) -> Iterator[tuple[int, Array]]:
    """(number of the first row, rows (rows, columns)): a matrix, or a vector as one column, BLOCK numbers at a time."""
    rows = tensor.shape[0] if tensor.shape else 1
    columns = tensor.size // max(1, rows)
    step = max(1, BLOCK // max(1, columns))
    for first in range(0, rows, step):
        last = min(rows, first + step)
        yield first, _read(tensor, first * columns, last * columns).reshape(last - first, columns)


def _read(tensor: Tensor, first: int, last: int) -> Array:
    if tensor.dtype not in NUMPY:
        raise UserError(f"Weights of the type {tensor.dtype} cannot be read here.", "Use a copy in 16 or 32 bits.")
    raw = np.fromfile(
        tensor.file,
        dtype=NUMPY[tensor.dtype],
        count=last - first,
        offset=tensor.start + first * BYTES[tensor.dtype],
    )
    if tensor.dtype == "BF16":  # the upper half of a float32; numpy has no such type
        return (raw.astype("<u4") << np.uint32(16)).view("<f4")
    return raw.astype(np.float32)


def _tensor(file: Path, name: str, entry: Any, begin: int) -> Tensor:
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        _refuse(file, f"it does not say what {_short(name)} is")
    if not isinstance(dtype, str) or dtype not in BYTES:
        _refuse(file, f"{_short(name)} has the unknown type {_short(dtype)}")
    numbers = [*shape, start, end] if isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS else [-1]
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        _refuse(file, f"{_short(name)} has an impossible shape or place")
    if end - start != prod(shape) * BYTES[dtype]:
        _refuse(file, f"{_short(name)} should have {prod(shape) * BYTES[dtype]:,} bytes and has {end - start:,}")
    return Tensor(file, dtype, tuple(shape), begin + start, begin + end)


def _check_order(file: Path, tensors: list[Tensor], begin: int, size: int) -> None:
    for tensor in tensors:
        if tensor.start != begin:
            _refuse(file, "its tensors overlap or leave gaps")
        begin = tensor.end
    if begin != size:
        _refuse(file, f"its tensors end at byte {begin:,}, the file at {size:,}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _short(value: Any) -> str:
    return repr(value)[:80].encode("utf-8", "backslashreplace").decode()


def _refuse(file: Path, reason: str) -> NoReturn:
    raise UserError(f"{file.name} is no whole safetensors file: {reason}.", "Copy or download it again.")
