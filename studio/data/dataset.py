"""Open → recognise → convert → check: a file becomes a data set, a folder that never changes."""

import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from studio.data import checks
from studio.data.examples import DatasetType, Example, Row, RowError
from studio.data.formats import FORMATS, DatasetFormat
from studio.data.sources import RowReader
from studio.data.statistics import TextStatistics
from studio.errors import UserError
from studio.workspace import read_json, write_json

RECORD, EXAMPLES, FIRST_ROWS, SOURCE = "dataset.json", "examples.jsonl", "first_rows.json", "source"
FIRST_ROWS_KEPT = 200
CELL_CHARACTERS_KEPT = 2_000


class DatasetRecord(BaseModel):
    """What is known about a data set; `sha256` is the hash of its examples, which a job records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    source_name: str
    kind: str
    format: str
    reason: str
    dataset_type: DatasetType
    rows: int
    sha256: str
    created: str
    columns: list[str]
    statistics: dict[str, int]
    warnings: list[dict[str, str | int]] = []
    dropped_rows: list[int] = []


class Verdict(BaseModel):
    """What reading a file gave: the data set, or the errors that stand in its way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: DatasetRecord | None
    errors: list[dict[str, str | int]] = []


def recognise(row: Row) -> tuple[DatasetFormat, str]:
    """The first format that has this row's columns, and the reason in words. Raises UserError when none has."""
    for dataset_format in FORMATS.values():
        if dataset_format.recognises(row):
            found = [name for name in dataset_format.columns if name in row]
            return dataset_format, f"the first row has {_listed(found)}"
    nearest = max(FORMATS.values(), key=lambda one: sum(name in row for name in one.columns) / len(one.columns))
    missing = [name for name in nearest.columns if name not in row]
    if len(missing) < len(nearest.columns):
        raise UserError(
            f"The columns are {_listed(list(row))}; {nearest.title} also needs {_listed(missing)}.",
            f"Add or rename the column {_listed(missing)}.",
        )
    raise UserError(
        f"No known format has the columns {_listed(list(row))}.",
        "Rename them, for example to instruction and output, or to prompt and completion.",
    )


class Conversion:
    """One pass over a file: rows in, examples out, everything worth knowing collected on the way."""

    def __init__(self, format_name: str = "") -> None:
        self.reader = RowReader()
        self.format = FORMATS.get(format_name)
        self.reason = "chosen by hand" if self.format else ""
        self.first_rows: list[Row] = []
        self.bad_rows: list[int] = []
        self.statistics = TextStatistics()
        self.digest = hashlib.sha256()
        self.rows_of: dict[bytes, list[int]] = {}

    def lines(self, file: Path) -> Iterator[str]:
        """The examples as JSON lines, in the file's order; a bad row is reported and left out."""
        for number, (line, row) in enumerate(self.reader.read(file), start=1):
            if self.format is None:
                self.format, self.reason = recognise(row)
            if len(self.first_rows) < FIRST_ROWS_KEPT:
                self.first_rows.append(row)
            try:
                example = self.format.to_example(_with_columns(row, self.format))
                checks.check_characters(example)
            except RowError as error:
                self.bad_rows.append(number)
                self.reader.report(line, error.message, error.hint, row=number, column=error.column)
                continue
            text = json.dumps(example, ensure_ascii=False) + "\n"
            self.statistics.add(example)
            self.digest.update(text.encode())
            self.rows_of.setdefault(hashlib.sha256(text.encode()).digest(), []).append(number)
            yield text

    @property
    def rows(self) -> int:
        """How many rows became examples."""
        return sum(len(rows) for rows in self.rows_of.values())


def convert(file: Path, folder: Path, *, name: str, format_name: str = "", drop_bad_rows: bool = False) -> Verdict:
    """Read `file` and fill `folder` (a staging folder that exists) with a data set, all rows or none.

    Runs in a child process: see isolation.py. Raises UserError when the file as a whole is of no use.
    """
    conversion = Conversion(format_name)
    with (folder / EXAMPLES).open("w", encoding="utf-8") as output:
        output.writelines(conversion.lines(file))
    problems = conversion.reader.problems
    if problems and not (drop_bad_rows and conversion.rows):
        return Verdict(record=None, errors=[problem.to_dict() for problem in problems])
    if conversion.format is None or not conversion.rows:
        raise UserError(f"{file.name} holds no rows.", "Choose a file with at least one row.")
    write_json(folder / FIRST_ROWS, [_clipped(row) for row in conversion.first_rows])
    shutil.copyfile(file, folder / SOURCE)
    record = DatasetRecord(
        id=folder.name,
        name=name,
        source_name=file.name,
        kind=conversion.reader.kind,
        format=conversion.format.name,
        reason=conversion.reason,
        dataset_type=conversion.format.dataset_type,
        rows=conversion.rows,
        sha256=conversion.digest.hexdigest(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=list(conversion.first_rows[0]),
        statistics=conversion.statistics.to_dict(),
        warnings=[problem.to_dict() for problem in checks.duplicate_warnings(conversion.rows_of)],
        dropped_rows=conversion.bad_rows,
    )
    write_json(folder / RECORD, record.model_dump())
    return Verdict(record=record)


def read_record(folder: Path) -> DatasetRecord:
    """The record of a data set. Raises UserError when there is none."""
    value = read_json(folder / RECORD)
    if value is None:
        raise UserError(f"There is no data set {folder.name!r}.", "Choose one from the list, or upload a file.")
    return DatasetRecord(**value)


def read_first_rows(folder: Path) -> list[Row]:
    """The first rows as they stand in the file (long cells clipped), for a table."""
    return cast(list[Row], read_json(folder / FIRST_ROWS) or [])


def read_examples(folder: Path, *, limit: int | None = None) -> list[Example]:
    """The examples of a data set, in the file's order."""
    return list(_examples(folder, limit))


def verified_examples(folder: Path, sha256: str) -> list[Example]:
    """All examples, after comparing their hash with the job's. Raises UserError when the data set changed."""
    found = hashlib.sha256((folder / EXAMPLES).read_bytes()).hexdigest()
    if found != sha256:
        raise UserError(
            f"The data set {folder.name} is not what it was when the job was made.", "Upload the file again."
        )
    return list(_examples(folder, None))


def split(examples: list[Example], eval_share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(train, eval): a seeded share for evaluation, at least one example on each side when a share is wanted."""
    if eval_share <= 0 or len(examples) < 2:
        return examples, []
    count = min(max(1, round(len(examples) * eval_share)), len(examples) - 1)
    held_out = set(random.Random(seed).sample(range(len(examples)), count))
    train = [example for index, example in enumerate(examples) if index not in held_out]
    return train, [examples[index] for index in sorted(held_out)]


def _examples(folder: Path, limit: int | None) -> Iterator[Example]:
    with (folder / EXAMPLES).open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file):
            if number == limit:
                return
            yield json.loads(line)


def _with_columns(row: Row, chosen: DatasetFormat) -> Row:
    """`row`, or RowError when it lacks a column that the format's rows have."""
    for column in chosen.columns:
        if column not in row:
            raise RowError(column, f"{column} is missing.", f"Give every row a {column!r}, or delete the row.")
    return row


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= CELL_CHARACTERS_KEPT else value[:CELL_CHARACTERS_KEPT] + " …"
    if isinstance(value, list):
        return [_clipped(item) for item in value[:100]]
    if isinstance(value, dict):
        return {key: _clipped(item) for key, item in value.items()}
    return value


def _listed(names: list[str]) -> str:
    shown = [repr(name) for name in names[:8]]
    return ", ".join(shown) + (" …" if len(names) > 8 else "")
