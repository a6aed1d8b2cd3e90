"""One pass over the files of a data set: rows in, examples out, everything worth knowing collected on the way."""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from studio.data.cells import Warn
from studio.data.checks import check_characters
from studio.data.examples import Example, Problem, Row, RowError
from studio.data.formats import FORMATS, DatasetFormat, ExampleReader
from studio.data.mapping import ColumnMapping
from studio.data.recognition import ROWS_ASKED, recognise
from studio.data.rows import RowsWriter
from studio.data.sources import MAX_PROBLEMS, RowReader, SourceError
from studio.data.sources.contract import printable
from studio.data.statistics import TextStatistics
from studio.errors import UserError

TABLES = ("CSV", "TSV")  # kinds whose cells are all text
TOLD_EVERY = 2_000  # rows
FIRST_ROWS_TOLD, FIRST_EXAMPLES_TOLD = 20, 5
Tell = Callable[[float, dict[str, Any]], None]
FirstRows = list[tuple[int, int, Row]]  # (row, line, what it holds), read before the format is known


class Conversion:
    """Rows of one or several files of one format. `tell(share done, what is known)` is called now and then."""

    def __init__(
        self,
        writer: RowsWriter,
        *,
        format_name: str = "",
        mapping: ColumnMapping | None = None,
        encoding: str = "",
        keep_going: bool = False,
        tell: Tell = lambda share, known: None,
    ) -> None:
        self._writer, self._tell, self._encoding = writer, tell, encoding
        self._chosen, self._mapping = _format_called(format_name), mapping
        self._keep_going = keep_going
        self.format: DatasetFormat | None = None
        self.reason = ""
        self.kind = ""
        self.first_rows: list[Row] = []
        self.first_examples: list[Example] = []
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.bad_rows: list[int] = []
        self.statistics = TextStatistics()
        self.digest = hashlib.sha256()
        self.rows = 0

    def read(self, files: Sequence[Path]) -> None:
        """Read all files, one after the other. Raises UserError; SourceError behind which nothing can be read."""
        share = 1 / len(files)
        before = 0
        for position, file in enumerate(files):
            reader = RowReader(encoding=self._encoding, keep_going=self._keep_going)
            many = printable(file.name) if len(files) > 1 else ""
            try:
                self._read(reader, file, before, (position * share, share))
            except SourceError as error:
                raise SourceError(_placed(error.problem, before, many)) from None
            finally:
                self.problems += [_placed(problem, before, many) for problem in reader.problems]
                self.notes += [_placed(note, before, many) for note in reader.notes]
                self.bad_rows += [row + before for row in reader.bad_rows]
                self.kind = reader.kind
            before += reader.row

    def _read(self, reader: RowReader, file: Path, before: int, done: tuple[float, float]) -> None:
        rows = reader.read(file)
        first = [(reader.row, line, row) for line, row in islice(rows, ROWS_ASKED)]
        if not first:
            return
        where = [0, 0]

        def warn(column: str, message: str, hint: str) -> None:
            if len(self.notes) < MAX_PROBLEMS:
                number, line = where
                self.notes.append(Problem(row=number + before, line=line, column=column, message=message, hint=hint))

        convert = self._reader_for(first, reader, warn)
        convert.cells_are_text = reader.kind in TABLES
        for number, line, row in first:
            where[:] = number, line
            self._add(reader, convert, before, number, line, row)
        self._say(done[0])
        for line, row in rows:
            where[:] = reader.row, line
            self._add(reader, convert, before, reader.row, line, row)
            if not self.rows % TOLD_EVERY:
                self._say(done[0] + done[1] * reader.progress)
        self._say(done[0] + done[1])

    def _reader_for(self, first: FirstRows, reader: RowReader, warn: Warn) -> ExampleReader:
        rows = [row for _, _, row in first]
        self.first_rows = self.first_rows or rows
        if self._mapping is not None:
            self._mapping.check_columns(dict.fromkeys(name for row in rows for name in row))
            self.format, self.reason = FORMATS[self._mapping.format], self._mapping.reason()
            return self._mapping.reader(warn)
        if self._chosen is not None:
            self.format, self.reason = self._chosen, "chosen by hand"
            return self._chosen.reader_for(rows, warn)
        try:
            found, reason = recognise(rows)
        except RowError as error:
            number, line, _ = first[0]
            raise SourceError(
                reader.problem(line, error.message, error.hint, row=number, column=error.column)
            ) from None
        if self.format is not None and found is not self.format:
            raise UserError(
                f"The files are written in different formats: {self.format.title} and {found.title}.",
                "Upload them one by one.",
            )
        self.format, self.reason = found, reason
        return found.reader_for(rows, warn)

    def _add(
        self, reader: RowReader, convert: Callable[[Row], Example], before: int, number: int, line: int, row: Row
    ) -> None:
        try:
            example = convert(row)
            data = example_line(example)
        except RowError as error:
            reader.report(line, error.message, error.hint, row=number, column=error.column)
            return
        self.rows += 1
        self.statistics.add(example)
        self.digest.update(data)
        self._writer.add(number + before, row, data)
        if len(self.first_examples) < FIRST_EXAMPLES_TOLD:
            self.first_examples.append(example)

    def _say(self, share: float) -> None:
        known = {
            "rows": self.rows,
            "format": self.format.title if self.format else "",
            "reason": self.reason,
            "first_rows": self.first_rows[:FIRST_ROWS_TOLD],
            "examples": self.first_examples,
        }
        self._tell(share, known)


def example_line(example: Example) -> bytes:
    """An example as a line of JSON in UTF-8. Raises RowError for a text that holds half of a character."""
    try:
        return orjson.dumps(example, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half of a character, or a number beyond 64 bits in the arguments of a call
        check_characters(example)
        return (json.dumps(example, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _format_called(name: str) -> DatasetFormat | None:
    if name and name not in FORMATS:
        raise UserError(f"There is no format {name!r}.", f"Choose one of {', '.join(FORMATS)}.")
    return FORMATS.get(name)


def _placed(problem: Problem, before: int, file: str) -> Problem:
    """A problem counted through all files, with the file's name when there are several."""
    if not before and not file:
        return problem
    return Problem(
        message=f"{file}: {problem.message}" if file else problem.message,
        hint=problem.hint,
        row=problem.row + before if problem.row else 0,
        line=problem.line,
        column=problem.column,
    )
