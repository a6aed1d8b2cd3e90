"""A file (JSON, JSONL, CSV, TSV) → numbered rows. Content is never guessed, changed or skipped."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from studio.data.examples import Problem, Row
from studio.errors import UserError

MAX_PROBLEMS = 100
SPREADSHEET_CELL_LIMIT = 10_000_000  # characters; the csv module's own limit (131,072) cuts real answers


@dataclass
class RowReader:
    """The rows of one file with their line numbers; what could not be read is collected in `problems`."""

    problems: list[Problem] = field(default_factory=list)
    kind: str = ""

    def read(self, path: Path) -> Iterator[tuple[int, Row]]:
        """Yield (line, row); `line` counts from 1. Raises UserError when the file as a whole is of no use."""
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise UserError(
                f"{path.name}: {path.suffix or 'a file without an ending'} cannot be read here.",
                f"Save it as one of {', '.join(sorted(READERS))}.",
            )
        text = decode(path)
        if not text.strip():
            raise UserError(f"{path.name} is empty.", "Choose a file with at least one row.")
        return reader(self, text)

    def report(self, line: int, message: str, hint: str = "", *, row: int = 0, column: str = "") -> None:
        """Record a problem; stop reading after MAX_PROBLEMS, since the cause is then the file, not a row."""
        self.problems.append(Problem(message=message, hint=hint, line=line, row=row, column=column))
        if len(self.problems) >= MAX_PROBLEMS:
            raise UserError(
                f"More than {MAX_PROBLEMS} lines cannot be read; the first is {self.problems[0]}",
                "Check that the file's ending says what it holds.",
            )


def decode(path: Path) -> str:
    """The text of a file in UTF-8 or, when a byte order mark says so, UTF-16/32. Nothing else is guessed."""
    raw = path.read_bytes()
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF8, "utf-8-sig"),
        (b"", "utf-8"),
    ):
        if raw.startswith(mark):
            try:
                return raw.decode(encoding)
            except UnicodeDecodeError as error:
                line = raw.count(b"\n", 0, error.start) + 1
                raise UserError(
                    f"{path.name}, line {line}: byte {raw[error.start]:#04x} is not {encoding.upper()} text.",
                    "Save the file as UTF-8 and try again.",
                ) from None
    raise AssertionError("the empty mark matches every file")


def read_json(reader: RowReader, text: str) -> Iterator[tuple[int, Row]]:
    """A JSON array of objects. One object a line in a .json file is read as what it is: JSON Lines."""
    start = len(text) - len(text.lstrip())
    if text[start] == "{":
        first_line = text[start:].split("\n", 1)[0]
        if _is_json_object(first_line) and "\n" in text[start:].rstrip():
            yield from read_jsonl(reader, text)
            return
        _fail("The file holds one JSON object, not a list of rows.", "Put the rows into a list: [ {…}, {…} ].")
    if text[start] != "[":
        _fail(f"The file starts with {text[start : start + 20]!r}, not with a list.", "Write [ {…}, {…} ].")
    reader.kind = "JSON"
    line, seen = 1, 0
    for position, value in _array_items(text, start + 1):
        line, seen = line + text.count("\n", seen, position), position
        if isinstance(value, dict):
            yield line, value
        else:
            reader.report(line, f"{json.dumps(value)[:60]} is not an object.", "Each row is written {…}.")


def read_jsonl(reader: RowReader, text: str) -> Iterator[tuple[int, Row]]:
    """One JSON object a line; empty lines are allowed. Only \\n and \\r\\n end a line (U+2028 is text)."""
    reader.kind = "JSON Lines"
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            value = DECODER.decode(content)
        except ValueError as error:
            reader.report(line, f"This is not valid JSON: {_reason(error)}.", "Correct the line or delete it.")
            continue
        except RecursionError:
            reader.report(line, "The JSON is nested too deeply.", "Delete the line.")
            continue
        if isinstance(value, dict):
            yield line, value
        else:
            reader.report(line, f"{content.strip()[:60]} is not an object.", "Each line is written {…}.")


def read_csv(reader: RowReader, text: str, delimiter: str = ",") -> Iterator[tuple[int, Row]]:
    """Comma- or semicolon-separated values with a header; every cell is text, "NA" and "1.0" included."""
    reader.kind = "CSV" if delimiter != "\t" else "TSV"
    first_line = text.split("\n", 1)[0]
    if delimiter == "," and "," not in first_line and ";" in first_line:
        delimiter = ";"
    csv.field_size_limit(SPREADSHEET_CELL_LIMIT)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(table)
        _check_header(header)
        line = table.line_num + 1
        for number, cells in enumerate((cells for cells in table if cells), start=1):
            if len(cells) == len(header):
                yield line, dict(zip(header, cells, strict=True))
            else:
                message = f"The row has {len(cells)} cells, the header {len(header)}."
                reader.report(line, message, "Quote cells that contain the separator.", row=number)
            line = table.line_num + 1
    except csv.Error as error:
        _fail(f"Line {table.line_num}: {error}.", "Check the quotation marks around that line.")


def read_tsv(reader: RowReader, text: str) -> Iterator[tuple[int, Row]]:
    """Tab-separated values with a header."""
    return read_csv(reader, text, delimiter="\t")


READERS: dict[str, Callable[[RowReader, str], Iterator[tuple[int, Row]]]] = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _array_items(text: str, position: int) -> Iterator[tuple[int, Any]]:
    """(position, value) of each item of the array whose "[" stands before `position`."""
    whitespace = json.decoder.WHITESPACE.match  # type: ignore[attr-defined]
    position = whitespace(text, position).end()
    if text[position : position + 1] == "]":
        _fail("The list is empty.", "Choose a file with at least one row.")
    while True:
        try:
            value, end = DECODER.raw_decode(text, position)
        except ValueError as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else position
            line = text.count("\n", 0, at) + 1
            _fail(f"Line {line}: this is not valid JSON: {_reason(error)}.", "Correct that place and try again.")
        except RecursionError:
            line = text.count("\n", 0, position) + 1
            _fail(f"Line {line}: the JSON is nested too deeply.", "Delete that row.")
        yield position, value
        position = whitespace(text, end).end()
        mark = text[position : position + 1]
        if mark == "]":
            rest = text[position + 1 :].strip()
            if rest:
                _fail(f"Behind the list stands {rest[:20]!r}.", "A .json file holds one list.")
            return
        if mark != ",":
            line = text.count("\n", 0, min(position, len(text))) + 1
            seen = f"{mark!r}" if mark else "the end of the file"
            _fail(f"Line {line}: a comma or ] is missing before {seen}.", "Correct that place and try again.")
        position = whitespace(text, position + 1).end()


def _check_header(header: list[str]) -> None:
    names = [name.strip() for name in header]
    if "" in names:
        _fail(f"Column {names.index('') + 1} has no name.", "Give every column a name in the first line.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        _fail(f"The column {twice[0]!r} stands twice in the first line.", "Rename one of them.")


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} (character {error.colno})"
    return str(error)


def _fail(message: str, hint: str) -> NoReturn:
    raise UserError(message, hint)
