"""XLSX: the first sheet with rows. Texts stay text, numbers stay numbers, a formula counts by its saved result."""

import math
import re
import zipfile
from typing import Any

from studio.data.cells import Foreign
from studio.data.examples import Problem
from studio.data.sources.archive import open_zip
from studio.data.sources.contract import Reading, Rows, Source, clipped, fail, refuse_twice
from studio.data.sources.json_text import half_character
from studio.data.sources.workbook import Cell, column_of, date_styles, shared_texts, sheet_rows, sheets_of, unescaped

_INTEGER = re.compile(r"-?\d{1,18}")
_OTHERS = (
    ("word/document.xml", "a Word document"),
    ("ppt/presentation.xml", "a PowerPoint presentation"),
    ("xl/workbook.bin", "a binary workbook (.xlsb)"),
    ("META-INF/MANIFEST.MF", "a Java archive"),
)


def is_xlsx(archive: zipfile.ZipFile) -> bool:
    """Whether a zip is a workbook."""
    names = set(archive.namelist())
    return "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names)


def other_office_file(archive: zipfile.ZipFile) -> str:
    """What a zip is when it is a document or program of another kind, else ""."""
    names = set(archive.namelist())
    found = next((what for name, what in _OTHERS if name in names), "")
    if "mimetype" in names and "content.xml" in names:
        return "an OpenDocument file"
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "a PyTorch file, which could run code"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive"
    return found


def read_xlsx(reading: Reading, source: Source) -> Rows:
    """The rows under the header of the first sheet that has cells. Raises UserError."""
    reading.kind, reading.encoding = "Excel", ""
    with open_zip(source) as archive:
        sheets = [(title, part) for title, part in sheets_of(archive) if _has_rows(archive, part)]
        if not sheets:
            fail(f"{source.name} holds no rows.", "Write the column names into the first row of a sheet.")
        title, part = sheets[0]
        if len(sheets) > 1:
            others = ", ".join(clipped(other, 30) for other, _ in sheets[1:6])
            message = f"Only the sheet {clipped(title, 30)} was read; there is something on {others} as well."
            hint = "Save the other sheets as files of their own when they belong to the data."
            reading.notes.append(Problem(message=message, hint=hint))
        yield from _sheet(reading, archive, part)


def _sheet(reading: Reading, archive: zipfile.ZipFile, part: str) -> Rows:
    texts = shared_texts(archive)
    rows = sheet_rows(archive, part, date_styles(archive))
    number, cells = next(rows)
    header = _header(reading, number, cells, texts)
    for number, cells in rows:
        row: dict[str, Any] = dict.fromkeys(header.values())
        reading.row += 1
        if all([_fill(reading, number, header, row, cell, texts) for cell in cells]) and any(
            value is not None for value in row.values()
        ):
            yield number, row


def _has_rows(archive: zipfile.ZipFile, part: str) -> bool:
    return next(sheet_rows(archive, part), None) is not None


def _header(reading: Reading, number: int, cells: list[Cell], texts: list[str]) -> dict[int, str]:
    """Column number → name."""
    header: dict[int, str] = {}
    for cell in cells:
        value, fault = _value(cell, texts)
        if fault or not isinstance(value, str) or not value.strip() or half_character(value):
            shown = fault or f"holds {clipped(str(value), 20)}, which is no name"
            fail(f"The header's cell {cell[0]} {shown}.", "Write the column names as text into the first row.")
        if value in header.values():
            refuse_twice(reading, value)
        header[column_of(cell[0], number)] = value
    return header


def _fill(
    reading: Reading, number: int, header: dict[int, str], row: dict[str, Any], cell: Cell, texts: list[str]
) -> bool:
    """Put a cell's value into its column; whether it could be read."""
    column = header.get(column_of(cell[0], number))
    value, fault = _value(cell, texts)
    if column is None:
        if value is None and not fault:
            return True
        name = list(header.values())[-1]
        message = f"The cell {cell[0]} stands in a column without a name."
        reading.report(number, message, "Name the column in the first row, or empty the cell.", column=name)
        return False
    if isinstance(value, str) and not fault:
        fault = half_character(value) or ""
    if fault:
        hint = "Open the file in a spreadsheet program, correct the cell and save it."
        reading.report(number, f"The cell {cell[0]} {fault}.", hint, column=column)
        return False
    row[column] = value
    return True


def _value(cell: Cell, texts: list[str]) -> tuple[Any, str]:
    """(value, what is wrong with the cell)."""
    _, kind, text, formula = cell
    if text is None or (text == "" and kind not in ("str", "inlineStr")):
        return (None, "is a formula without a saved result") if formula else (None, "")
    if kind == "s":
        index = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text) else len(texts)
        return (texts[index], "") if index < len(texts) else (None, "names a text that is not there")
    if kind in ("str", "inlineStr"):
        return unescaped(text), ""
    if kind == "b":
        return (text.strip() == "1", "") if text.strip() in ("0", "1") else (None, "is neither true nor false")
    if kind == "e":
        return None, f"holds the error {clipped(text, 20)}"
    if kind == "d":
        return Foreign("a date", {"date": text}), ""
    return _number(text)


def _number(text: str) -> tuple[Any, str]:
    if _INTEGER.fullmatch(text):
        return int(text), ""
    try:
        value = float(text)
    except ValueError:
        return None, f"holds {clipped(text, 20)}, which is no number"
    return (value, "") if math.isfinite(value) else (None, f"holds {clipped(text, 20)}, which is no number")
