"""Parquet: streamed batch by batch; nulls become None, and what is neither text nor number is no text."""

import re
from datetime import date
from typing import IO, TYPE_CHECKING, Any

from studio.data.cells import Foreign
from studio.data.sources.contract import DEEPEST_ROW, Reading, Rows, Source, SourceError, clipped, fail, refuse_twice
from studio.data.sources.encodings import invalid_byte
from studio.data.sources.growth import check_growth, seekable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

BATCH = 1_000  # rows
BATCH_BYTES = 256 * 1024**2  # bytes that the repeated texts of one batch may fill
MOST_FOOTER = 64 * 1024**2  # bytes
MOST_COLUMNS = 10_000
NOT_UTF8 = "Write the file again, with this text in UTF-8."
_VARINT = re.compile(rb"\x15([\x80-\xff]{0,9}[\x00-\x7f])\x15([\x80-\xff]{0,9}[\x00-\x7f])", re.DOTALL)


def read_parquet(reading: Reading, source: Source) -> Rows:
    """The rows of all row groups. Raises UserError when the file is damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    reading.kind, reading.encoding = "Parquet", ""
    with seekable(source) as stream:
        size = _check_footer(source, stream)
        try:
            file = parquet.ParquetFile(
                stream,
                buffer_size=1024**2,
                pre_buffer=False,
                page_checksum_verification=True,
                arrow_extensions_enabled=False,
            )
            _check_schema(reading, file.schema_arrow)
            yield from _file_rows(reading, source, file, stream, size)
        except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
            first_line = str(error).split("\n", 1)[0][:200]
            fail(f"{source.name} is damaged or cut off: {first_line}", "Copy it again, or write it again.")


def _check_footer(source: Source, stream: Any) -> int:
    """The file's size. Raises UserError when its end is not that of a Parquet file."""
    size = int(stream.seek(0, 2))
    stream.seek(max(0, size - 8))
    end = stream.read(8)
    if size < 12 or end[4:] != b"PAR1":
        what = "encrypted" if end[4:] == b"PARE" else "cut off: its end is missing"
        fail(f"{source.name} is {what}.", "Copy it again, or write it again.")
    footer = int.from_bytes(end[:4], "little")
    if footer > min(size - 12, MOST_FOOTER):
        fail(f"{source.name} is damaged: its footer says it has {footer:,} bytes.", "Copy it again.")
    stream.seek(0)
    return size


def _check_schema(reading: Reading, schema: "pa.Schema") -> None:
    names = list(schema.names)
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        refuse_twice(reading, twice)
    if len(names) > MOST_COLUMNS:
        fail(f"The file has {len(names):,} columns.", "Keep the columns with text.")
    for one in schema:
        if (one.metadata or {}).get(b"ARROW:extension:name") or "extension" in str(one.type):
            fail(f"The column {clipped(one.name)} holds an extension type.", "Write it as text, or leave it out.")
        _check_type(one.name, one.type, 1)


def _check_type(name: str, kind: "pa.DataType", depth: int) -> None:
    if depth > DEEPEST_ROW:
        fail(f"The column {clipped(name)} is nested more than {DEEPEST_ROW} deep.", "Write it flatter.")
    for index in range(kind.num_fields):
        _check_type(name, kind.field(index).type, depth + 1)


def _file_rows(reading: Reading, source: Source, file: "parquet.ParquetFile", stream: IO[bytes], size: int) -> Rows:
    metadata = file.metadata
    total, grown = max(1, metadata.num_rows), 0
    names, foreign = file.schema_arrow.names, [_is_foreign(one.type) for one in file.schema_arrow]
    for group in range(metadata.num_row_groups):
        rows = _batch_rows(stream, metadata.row_group(group))
        for batch in file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False):
            checked = [_checked(reading, name, array) for name, array in zip(names, batch.columns, strict=True)]
            spoilt = [name for name, (_, is_spoilt) in zip(names, checked, strict=True) if is_spoilt]
            grown += sum(array.nbytes for array, _ in checked)
            check_growth(source.name, grown, size)
            columns = [_values(*one, is_foreign) for one, is_foreign in zip(checked, foreign, strict=True)]
            for values in zip(*columns, strict=True):
                reading.row += 1
                row = dict(zip(names, values, strict=True))
                if not (spoilt and _told(reading, row, spoilt)):
                    yield 0, row
            reading.progress = min(1.0, reading.row / total)


def _checked(reading: Reading, name: str, array: "pa.Array") -> "tuple[pa.Array, bool]":
    """(the array without its dictionary, whether texts in it are not UTF-8). Raises when it cannot be read at all."""
    import pyarrow as pa

    try:
        array.validate(full=True)  # offsets that point nowhere, bytes that are no UTF-8
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            message = f"The column {clipped(name)} holds bytes that are not UTF-8 text."
            raise SourceError(reading.problem(0, message, NOT_UTF8, row=0, column=name)) from None
        return array.view(pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary()), True
    return (array.dictionary_decode() if hasattr(array, "dictionary_decode") else array), False


def _values(array: "pa.Array", is_spoilt: bool, is_foreign: bool) -> list[Any]:
    """The values of a column; in a spoilt one bytes where there is no text."""
    values = array.to_pylist()
    if is_spoilt:
        return [_text_or_bytes(value) for value in values]
    return [_plain(value) for value in values] if is_foreign else values


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    try:
        return value if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def _told(reading: Reading, row: dict[str, Any], columns: list[str]) -> bool:
    """Report the first text of a row that is not UTF-8; whether there is one."""
    for name in columns:
        if not isinstance(row[name], bytes):
            continue
        text = row[name].decode("utf-8", "studio-mark")
        if (found := invalid_byte(text)) is not None:
            behind = clipped(text[max(0, found[0] - 20) : found[0]])
            reading.report(0, f"Byte {found[1]:#04x} behind {behind} is not UTF-8 text.", NOT_UTF8, column=name)
            return True
    return False


def _batch_rows(stream: IO[bytes], group: "parquet.RowGroupMetaData") -> int:
    """How many rows to read at once: a text that stands once in a dictionary may be meant by every row."""
    largest = 0
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
            stream.seek(chunk.dictionary_page_offset)
            largest += _dictionary_size(stream.read(32))
    return max(1, min(BATCH, BATCH_BYTES // max(1, largest)))


def _dictionary_size(header: bytes) -> int:
    """The unpacked size that a page's header names: its second field, in Thrift's compact protocol."""
    found = _VARINT.match(header)
    if found is None:
        return 0
    number = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(found.group(2)))
    return int(number >> 1)  # zigzag: sizes are positive


def _is_foreign(kind: "pa.DataType") -> bool:
    """Whether values of this type, or inside it, are something that JSON cannot hold."""
    import pyarrow as pa

    if pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return any(_is_foreign(kind.field(index).type) for index in range(kind.num_fields))
    return not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_null(kind)
    )


def _plain(value: Any) -> Any:
    """What JSON can hold as it is; anything else as an object that names its type, so that it is not taken for text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else Foreign("no finite number", {"float": str(value)})
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):  # an entry of a map
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return Foreign("binary data", {"bytes": len(value)})
    name = type(value).__name__
    return Foreign("a date" if isinstance(value, date) else f"a value of the type {name}", {name: str(value)})
