"""JSON: a list of objects, an object of equally long columns, {"data": [...]}; JSON Lines are found out."""

import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any

from studio.data.sources.contract import BLOCK, LONGEST_ROW, Reading, Rows, Source, clipped, fail
from studio.data.sources.encodings import head_text, invalid_byte, report_invalid, text_of_file
from studio.data.sources.json_lines import read_json_lines
from studio.data.sources.json_text import WHITESPACE, check_row, column_at, explain, needs_check, read_value

_SPACE = re.compile(r"[ \t\r\n]*")
WRAPPERS = ("data", "rows", "examples", "train", "records", "items", "instances", "dataset", "samples", "数据")


def read_json(reading: Reading, source: Source) -> Rows:
    """The rows of any JSON. Raises UserError when it holds no list of rows, SourceError naming a fault's place."""
    start = head_text(source, source.head(64 * 1024), reading.encoding).lstrip(WHITESPACE)
    if start[:1] == "[":
        return _list_rows(reading, source)
    if start[:1] != "{":
        fail(f"The file begins with {clipped(start, 20)}: it is not JSON with rows.", "Write [ {…}, {…} ].")
    if _is_lines(start, source.suffix):
        return read_json_lines(reading, source)
    return _object_rows(reading, source)


def is_certain(start: str) -> bool:
    """Whether the beginning of a text shows that it is JSON with rows, whatever the file is called."""
    start = start.lstrip(WHITESPACE)
    if start[:1] == "[":
        return start[1:].lstrip(WHITESPACE)[:1] == "{"
    first, newline, _ = start.partition("\n")
    if first[:1] != "{" or not newline:
        return first[:1] == "{" and first[1:].lstrip(WHITESPACE)[:1] == '"'
    return _is_object(first)


def has_row(start: str) -> bool:
    """Whether one of the first lines is an object: what stands before it is then a broken row of JSON Lines."""
    return any(_is_object(line) for line in start.split("\n")[1:20])


def _is_lines(start: str, suffix: str) -> bool:
    first, newline, rest = (start if "\n" in start else start.replace("\r", "\n")).partition("\n")
    named = suffix != ".json"
    if not newline:
        return named
    if _is_object(first):
        return named or bool(rest.strip(WHITESPACE))
    return rest.lstrip(WHITESPACE)[:1] == "{" or (named and first.strip(WHITESPACE) != "{")


def _is_object(line: str) -> bool:
    try:
        value, end = read_value(line.strip(WHITESPACE))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and end == len(line.strip(WHITESPACE))


class _Text:
    """A text that is read as far as it is needed, and where in it we are."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces, self.ended = pieces, False
        self.text, self.position = "", 0
        self._line, self._counted = 1, 0

    def grow(self) -> None:
        """Read as much again, and forget what lies behind."""
        self.line()
        kept = self.text[self.position :]
        wanted, parts = max(len(kept), BLOCK), [kept]
        while wanted > 0 and not self.ended:
            piece = next(self._pieces, None)
            self.ended = piece is None
            parts.append(piece or "")
            wanted -= len(piece or "")
        self.text, self.position, self._counted = "".join(parts), 0, 0

    def line(self) -> int:
        """The line of the present position, from 1."""
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def line_of(self, position: int) -> int:
        """The line of a position that lies ahead in what was read."""
        return self.line() + self.text.count("\n", self.position, position)

    def mark(self) -> str:
        """The next character that is not white space, "" at the end."""
        while True:
            self.position = _SPACE.match(self.text, self.position).end()  # type: ignore[union-attr]
            if self.position < len(self.text):
                return self.text[self.position]
            if self.ended:
                return ""
            self.grow()

    def value(self) -> tuple[Any, int]:
        """(value, its end) at the present position. Raises ValueError or RecursionError when it is faulty."""
        while True:
            try:
                value, end = read_value(self.text, self.position)
                if end < len(self.text) or self.ended:
                    return value, end
            except (ValueError, RecursionError):
                if self.ended or len(self.text) - self.position > LONGEST_ROW:
                    raise
            self.grow()


def _list_rows(reading: Reading, source: Source) -> Rows:
    reading.kind = "JSON"
    text = _Text(text_of_file(reading, source))
    text.mark()
    text.position += 1
    if text.mark() == "]":
        fail("The list is empty.", "Choose a file with at least one row.")
    while True:
        reading.row += 1
        if text.mark() == "":
            reading.refuse(text.line(), "The list has no end: the file is cut off.", "Complete the file.")
        line = text.line()
        value, end = _value(reading, text)
        yield from _checked(reading, source, text, (line, value, end))
        text.position = end
        mark = text.mark()
        if mark == "]":
            break
        if mark != ",":
            seen = clipped(mark) if mark else "the end of the file"
            reading.refuse(text.line(), f"A comma or ] is missing before {seen}.", "Correct that place and try again.")
        text.position += 1
        if text.mark() == "]":
            reading.refuse(text.line(), "A comma stands before the closing ].", "Delete that comma.")
    _check_end(reading, text)


def _value(reading: Reading, text: _Text) -> tuple[Any, int]:
    try:
        return text.value()
    except (ValueError, RecursionError) as error:
        fault = explain(text.text, text.position, error)
        line = text.line()
        if fault.cut_off and not text.ended:
            message = f"What begins here is longer than {LONGEST_ROW // 1024**2} million characters."
            reading.refuse(line, message, "Write the rows as JSON Lines: one object a line.")
        if fault.cut_off:
            reading.refuse(line, "The file ends in the middle of this row.", "Complete the file.", column=fault.column)
        if isinstance(error, JSONDecodeError):
            line = text.line_of(error.pos)
        reading.refuse(line, fault.message, fault.hint, column=fault.column)


def _checked(reading: Reading, source: Source, text: _Text, found: tuple[int, Any, int]) -> Rows:
    line, value, end = found
    written = text.text[text.position : end]
    if reading.suspicious and (invalid := invalid_byte(written)) is not None:
        report_invalid(reading, source, line, written, column_at(written, 0, invalid[0]))
    elif not isinstance(value, dict):
        reading.report(line, f"{clipped(written)} is not an object.", "Each row is written {…}.")
    elif needs_check(written, value) and (fault := check_row(value)):
        reading.report(line, fault.message, fault.hint, column=fault.column)
    else:
        yield line, value


def _check_end(reading: Reading, text: _Text) -> None:
    text.position += 1
    mark = text.mark()
    if mark == "[":
        reading.refuse(text.line(), "A second list follows: each row is a list, not an object.", "Write {…} for a row.")
    if mark:
        rest = clipped(text.text[text.position :], 20)
        reading.refuse(text.line(), f"Behind the list stands {rest}.", "A .json file holds one list.")


def _object_rows(reading: Reading, source: Source) -> Rows:
    text = _Text(text_of_file(reading, source))
    text.mark()
    reading.row = 1
    value, end = _value(reading, text)
    written = text.text[text.position : end]
    first_line, last_line = text.line(), text.line_of(end)
    text.position = end
    if text.mark():
        if "\n" in written:
            reading.refuse(
                first_line,
                f"Row 1 is written over several lines ({first_line} to {last_line}), and more rows follow.",
                "Write each row on one line (JSON Lines), or all rows as one list: [ {…}, {…} ].",
            )
        reading.row = 0
        yield from read_json_lines(reading, source)
        return
    if (invalid := invalid_byte(written)) is not None:
        report_invalid(reading, source, first_line, written, column_at(written, 0, invalid[0]))
        return
    if fault := check_row(value):
        reading.refuse(first_line, fault.message, fault.hint, column=fault.column)
    reading.kind, reading.row = "JSON", 0
    for row in _rows_of(value, reading):
        reading.row += 1
        if isinstance(row, dict):
            yield 0, row
        else:
            reading.report(0, f"{clipped(str(row))} is not an object.", "Each row is written {…}.")


def _rows_of(value: dict[str, Any], reading: Reading) -> Iterator[Any]:
    if name := _wrapper(value):
        if len(value) > 1:
            others = ", ".join(clipped(other, 20) for other in list(value)[:9] if other != name)
            message = f"The rows stand under {clipped(name)}; what stands beside it is not used: {others}."
            reading.notes.append(reading.problem(0, message, "", row=0, column=""))
        return iter(value[name])
    columns = [_cells(column) for column in value.values()]
    if {"columns", "data"} <= set(value) or not value or any(cells is None for cells in columns):
        fail("The file holds one JSON object, not a list of rows.", "Put the rows into a list: [ {…}, {…} ].")
    cells = [column for column in columns if column is not None]
    if len(value) == 1 and any(isinstance(cell, dict) for cell in cells[0]):
        fail("The file holds one JSON object, not a list of rows.", "Put the rows into a list: [ {…}, {…} ].")
    lengths = [len(column) for column in cells]
    if min(lengths) != max(lengths):
        name = list(value)[lengths.index(min(lengths))]
        message = f"The column {clipped(name)} has {min(lengths)} values, another has {max(lengths)}."
        reading.refuse(0, message, "Give every column a value for every row.", row=min(lengths) + 1, column=name)
    return (dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True))


def _wrapper(value: dict[str, Any]) -> str:
    """The key that holds the rows, alone or beside single values; "" when there is no such key."""
    lists = [name for name, item in value.items() if isinstance(item, list | dict)]
    if len(lists) != 1 or lists[0] not in WRAPPERS or not isinstance(value[lists[0]], list):
        return ""
    rows = value[lists[0]]
    return lists[0] if len(value) == 1 or (rows and all(isinstance(row, dict) for row in rows)) else ""


def _cells(column: Any) -> list[Any] | None:
    """The cells of a column: a list, or an object with the row numbers as keys, as pandas writes it."""
    if isinstance(column, list):
        return column
    if isinstance(column, dict) and list(column) == [str(number) for number in range(len(column))]:
        return list(column.values())
    return None
