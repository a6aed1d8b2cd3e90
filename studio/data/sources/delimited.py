"""CSV and TSV: a header, then rows of cells that stay text, "NA" and "1.0" included."""

import csv
from collections.abc import Iterator

from studio.data.sources.contract import LONGEST_ROW, Reading, Rows, Source, clipped, fail, refuse_twice
from studio.data.sources.encodings import head_text, invalid_byte, lines_of, report_invalid

DELIMITERS = (",", ";", "\t")
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def read_delimited(reading: Reading, source: Source) -> Rows:
    """The rows under the header. Raises SourceError at a fault of quotation marks, which hides all that follows."""
    start = head_text(source, source.head(64 * 1024), reading.encoding)
    separator_line = start[:4].lower() == "sep=" and start[5:6] in ("\n", "\r", "")
    delimiter = start[4:5] if separator_line else _delimiter(start, source.suffix)
    if delimiter not in DELIMITERS:
        fail(f"The first line names the separator {clipped(delimiter)}.", "Use a comma, a semicolon or a tab.")
    reading.kind = "TSV" if delimiter == "\t" else "CSV"
    csv.field_size_limit(LONGEST_ROW)
    lines = _Lines(reading, source)
    if separator_line:
        next(lines)
    table = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(reading, source, table)
    began = lines.number + 1
    while (cells := _next_row(reading, table, began, lines)) is not None:
        if cells:
            reading.row += 1
            if lines.suspicious and _told(reading, source, began, header, cells):
                lines.suspicious = False
            elif len(cells) == len(header):
                yield began, dict(zip(header, cells, strict=True))
            else:
                message = f"The row has {len(cells)} cells, the header {len(header)}."
                hint, column = f"Put cells that hold {NAMES[delimiter]} into quotation marks.", header[-1]
                if len(cells) < len(header):
                    hint, column = f"Add the missing cells: {NAMES[delimiter]} before each.", header[len(cells)]
                reading.report(began, message, hint, column=column)
        began = lines.number + 1


class _Lines:
    """The lines as the csv module wants them: with their ends, counted, looked at for what is no text."""

    def __init__(self, reading: Reading, source: Source) -> None:
        self._lines, self._reading = lines_of(reading, source), reading
        self.number = 0
        self.suspicious = False

    def __iter__(self) -> "Iterator[str]":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if self._reading.suspicious or "\0" in line:
            self.suspicious = True
        return line + self._reading.newline


def _delimiter(start: str, suffix: str) -> str:
    """The separator of the header: a comma in a .csv and a tab in a .tsv, unless the header has only another one."""
    first = start.split("\n", 1)[0]
    outside = "".join(first.split('"')[::2])  # what stands in quotation marks separates nothing
    preferred = "\t" if suffix in (".tsv", ".tab") else ","
    order = (preferred, *(mark for mark in DELIMITERS if mark != preferred))
    return next((mark for mark in order if mark in outside), preferred)


def _header(reading: Reading, source: Source, table: Iterator[list[str]]) -> list[str]:
    try:
        header = next((cells for cells in table if cells), [])
    except csv.Error as error:
        reading.refuse(1, f"The header cannot be read: {error}.", "Check the quotation marks in it.")
    for number, name in enumerate(header, start=1):
        if (found := invalid_byte(name)) is not None:
            report_invalid(reading, source, 1, name)
            reading.refuse(1, f"The header holds byte {found[1]:#04x}.", reading.problems[-1].hint)
        if "\0" in name:
            reading.refuse(1, "The header holds a NUL byte: this is not text.", "Save the file as CSV.")
        if not name.strip():
            hint = "Name every column in the first line (pandas: to_csv(index=False))."
            fail(f"Column {number} of the header has no name.", hint)
    twice = [name for index, name in enumerate(header) if name in header[:index]]
    if twice:
        refuse_twice(reading, twice[0])
    return header


def _next_row(reading: Reading, table: Iterator[list[str]], began: int, lines: _Lines) -> list[str] | None:
    try:
        return next(table, None)
    except csv.Error as error:
        message, row = str(error), reading.row + 1
        if "unexpected end of data" in message or "field larger" in message:
            told = "A quotation mark that opens in this row is never closed."
            reading.refuse(began, told, "Close it, or double it when it belongs to the text.", row=row)
        if "expected after" in message:
            told = f"Text stands behind a closing quotation mark (line {lines.number})."
            reading.refuse(began, told, 'Write a quotation mark inside a cell twice: "".', row=row)
        if "new-line character" in message:
            told = "A line break without its line feed stands outside quotation marks."
            reading.refuse(began, told, "Put the cell into quotation marks.", row=row)
        reading.refuse(began, f"The row cannot be read: {message}.", "Check its quotation marks.", row=row)


def _told(reading: Reading, source: Source, began: int, header: list[str], cells: list[str]) -> bool:
    """Report the first cell that holds a byte that is no text."""
    for index, cell in enumerate(cells):
        column = header[min(index, len(header) - 1)]
        if "\0" in cell:
            message = f"A NUL byte stands behind {clipped(cell[: cell.index(chr(0))][-20:])}."
            reading.report(began, message, "Delete it: it is not text.", column=column)
            return True
        if report_invalid(reading, source, began, cell, column):
            return True
    return False
