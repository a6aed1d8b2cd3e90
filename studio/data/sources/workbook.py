"""The XML inside an .xlsx, read as a stream: which sheets there are, the shared texts, the cells of a sheet."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any
from xml.parsers import expat

from studio.data.sources.archive import open_member
from studio.data.sources.contract import BLOCK, LONGEST_ROW, clipped, fail

MOST_COLUMNS, MOST_ROWS = 16_384, 1_048_576  # as in Excel
MOST_SHARED = 4 * LONGEST_ROW  # characters of shared texts: they are all kept while a sheet is read
_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
STYLES = "xl/styles.xml"
DATE_FORMATS = {str(number) for number in (*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59))}  # built in
_NO_LETTERS = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.|general')  # what is shown as it is, and conditions
_DATE_LETTER = re.compile(r"[ymdhs]")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")

Cell = tuple[str, str, str | None, bool]
"""(reference, type as in the file, text or None when empty, whether it is a formula)."""


def stream_xml(archive: zipfile.ZipFile, name: str, parser: "XmlReader") -> Iterator[Any]:
    """What `parser` collects from one part of the archive. Raises UserError for what is no plain XML."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        fail(f"The workbook's part {clipped(name)} is missing.", "Save it again as .xlsx.")
    with open_member(archive, info) as stream:
        while True:
            block = stream.read(BLOCK // 8)
            try:
                parser.expat.Parse(block, not block)
            except expat.ExpatError as error:
                told = f"The workbook's part {clipped(name)} is not valid XML (line {error.lineno})."
                fail(told, "Save it again as .xlsx.")
            yield from parser.take()
            if not block:
                return


class XmlReader:
    """A streaming reader that knows no document types: neither entities that explode nor ones that fetch files."""

    def __init__(self) -> None:
        self.expat = expat.ParserCreate(namespace_separator=" ")
        self.expat.buffer_text = True
        self.expat.StartElementHandler = lambda name, attributes: self.start(name.rpartition(" ")[2], attributes)
        self.expat.EndElementHandler = lambda name: self.end(name.rpartition(" ")[2])
        self.expat.CharacterDataHandler = self.characters
        self.expat.StartDoctypeDeclHandler = _refuse_document_type
        self._found: list[Any] = []

    def start(self, name: str, attributes: dict[str, str]) -> None: ...

    def end(self, name: str) -> None: ...

    def characters(self, text: str) -> None: ...

    def found(self, value: Any) -> None:
        self._found.append(value)

    def take(self) -> list[Any]:
        """What was found since the last time."""
        found, self._found = self._found, []
        return found


def _refuse_document_type(*_: object) -> None:
    fail("The workbook declares a document type (DTD), which can harm its reader.", "Save it again as .xlsx.")


class _Elements(XmlReader):
    """The attributes of all elements of one name; namespaced attributes by their last part."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self._wanted = wanted

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == self._wanted:
            self.found({key.rpartition(" ")[2]: value for key, value in attributes.items()})


def sheets_of(archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    """(title, name of its part) of each sheet, in the order of the tabs."""
    targets = _targets(archive, "")
    workbook = next((part for kind, part in targets.values() if kind.endswith("/officeDocument")), "")
    if not workbook:
        fail("The workbook has no content.", "Save it again as .xlsx.")
    parts = _targets(archive, workbook)
    found = []
    for sheet in stream_xml(archive, workbook, _Elements("sheet")):
        kind, part = parts.get(sheet.get("id", ""), ("", ""))
        if kind.endswith("/worksheet"):  # charts are sheets as well
            found.append((sheet.get("name", ""), part))
    if not found:
        fail("The workbook has no sheet with cells.", "Save it again as .xlsx.")
    return found


def shared_texts(archive: zipfile.ZipFile) -> list[str]:
    """The texts that cells name by number."""
    name = next((one for one in archive.namelist() if one.lower() == "xl/sharedstrings.xml"), "")
    if not name:
        return []
    texts, size = [], 0
    for text in stream_xml(archive, name, _SharedTexts()):
        size += len(text)
        if size > MOST_SHARED:
            fail(f"The workbook holds more than {MOST_SHARED // 1024**2} million characters.", "Save it as CSV.")
        texts.append(text)
    return texts


def date_styles(archive: zipfile.ZipFile) -> frozenset[str]:
    """The numbers of the cell styles that show a number as a date or a time."""
    if STYLES not in archive.namelist():
        return frozenset()
    return frozenset(stream_xml(archive, STYLES, _DateStyles()))


def sheet_rows(
    archive: zipfile.ZipFile, part: str, dates: frozenset[str] = frozenset()
) -> Iterator[tuple[int, list[Cell]]]:
    """(row number in the sheet, its cells that hold something); a number in one of the styles `dates` has type d."""
    return stream_xml(archive, part, _Sheet(dates))


def _targets(archive: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Relationship id → (type, part) of one part of the workbook; "" is the workbook as a whole."""
    path = PurePosixPath(part)
    name = str(path.parent / "_rels" / f"{path.name}.rels") if part else "_rels/.rels"
    found = {}
    for relation in stream_xml(archive, name, _Elements("Relationship")):
        target = relation.get("Target", "")
        if relation.get("TargetMode") != "External":
            whole = target.lstrip("/") if target.startswith("/") or not part else str(path.parent / target)
            found[relation.get("Id", "")] = (relation.get("Type", ""), whole)
    return found


class _SharedTexts(XmlReader):
    """The texts of <si>: its runs joined, without the reading aids (<rPh>) of East Asian texts."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._inside = self._aside = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "si":
            self._parts = []
        elif name == "rPh":
            self._aside = True
        self._inside = name == "t" and not self._aside

    def characters(self, text: str) -> None:
        if self._inside:
            self._parts.append(text)

    def end(self, name: str) -> None:
        self._inside = False
        if name == "rPh":
            self._aside = False
        elif name == "si":
            self.found(unescaped("".join(self._parts)))


class _DateStyles(XmlReader):
    """The numbers of the styles of cells (<cellXfs>) whose format is one of dates or times."""

    def __init__(self) -> None:
        super().__init__()
        self._formats = set(DATE_FORMATS)
        self._inside, self._count = False, 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "numFmt" and _DATE_LETTER.search(_NO_LETTERS.sub("", attributes.get("formatCode", "").lower())):
            self._formats.add(attributes.get("numFmtId", ""))
        elif name == "cellXfs":
            self._inside = True
        elif name == "xf" and self._inside:
            if attributes.get("numFmtId", "") in self._formats:
                self.found(str(self._count))
            self._count += 1

    def end(self, name: str) -> None:
        self._inside = self._inside and name != "cellXfs"


class _Sheet(XmlReader):
    """The rows of a sheet with the cells that hold something."""

    def __init__(self, dates: frozenset[str]) -> None:
        super().__init__()
        self._dates = dates
        self._row, self._column, self._characters = 0, 0, 0
        self._cells: list[Cell] = []
        self._parts: list[str] | None = None
        self._reference, self._type = "", ""
        self._formula = self._inside = self._aside = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self._start_row(attributes.get("r", ""))
        elif name == "c":
            self._column += 1
            self._reference = attributes.get("r", f"{_letters(self._column)}{self._row}")
            self._column = column_of(self._reference, self._row)
            self._type, self._parts, self._formula = attributes.get("t", "n"), None, False
            if self._type == "n" and attributes.get("s", "") in self._dates:
                self._type = "d"
        elif name == "f":
            self._formula = True
        elif name == "rPh":
            self._aside = True
        elif name in ("v", "t") and not self._aside:
            self._inside, self._parts = True, self._parts or []

    def characters(self, text: str) -> None:
        if self._inside and self._parts is not None:
            self._parts.append(text)
            self._characters += len(text)
            if self._characters > LONGEST_ROW:
                fail(f"Row {self._row} of the sheet is too long.", "Split the row.")

    def end(self, name: str) -> None:
        if name in ("v", "t"):
            self._inside = False
        elif name == "rPh":
            self._aside = False
        elif name == "c" and (self._parts is not None or self._formula):
            text = None if self._parts is None else "".join(self._parts)
            self._cells.append((self._reference, self._type, text, self._formula))
        elif name == "row" and self._cells:
            self.found((self._row, self._cells))

    def _start_row(self, number: str) -> None:
        following = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else self._row + 1
        if not self._row < following <= MOST_ROWS:
            fail(f"The rows of the sheet are out of order at row {following}.", "Save it again as .xlsx.")
        self._row, self._column, self._characters, self._cells = following, 0, 0, []


def column_of(reference: str, row: int) -> int:
    """The number of a cell's column, A is 1. Raises UserError for a reference that does not belong to the row."""
    found = _REFERENCE.fullmatch(reference)
    number = 0
    for letter in found.group(1) if found else "":
        number = number * 26 + ord(letter) - ord("A") + 1
    if found is None or number > MOST_COLUMNS or int(found.group(2)) != row:
        fail(f"The cell {clipped(reference, 20)} stands in row {row} of the sheet.", "Save it again as .xlsx.")
    return number


def unescaped(text: str) -> str:
    """A text of a workbook as Excel shows it: characters that XML cannot hold are written _x0007_."""
    return _ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), text) if "_x" in text else text


def _letters(column: int) -> str:
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


TakeRows = Callable[[zipfile.ZipFile, str], Iterator[tuple[int, list[Cell]]]]
