"""Open → recognise → convert → check: files become a data set, a folder whose examples never change."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from studio.data.conversion import Conversion, Tell
from studio.data.examples import DatasetType, Example, Problem, Row
from studio.data.mapping import ColumnMapping, suggest_mapping
from studio.data.rows import EXAMPLES, RowsWriter
from studio.data.sources import SourceError, candidate_encodings
from studio.data.sources.contract import printable
from studio.errors import UserError
from studio.workspace import read_json, write_json

RECORD, FIRST_ROWS, SOURCE, SNAPSHOTS = "dataset.json", "first_rows.json", "source", "snapshots"
FIRST_ROWS_KEPT = 100
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
    encoding: str = ""
    mapping: ColumnMapping | None = None
    warnings: list[dict[str, str | int]] = []
    dropped_rows: list[int] = []


class Verdict(BaseModel):
    """What reading a file gave: the data set, or the errors that stand in its way and what could help.

    `can_drop`: without the rows named in `errors` it would do. `encodings`: (name, some text read with it) when the
    file is not UTF-8. `suggestion`: a column mapping to begin with when no format fits, for the file's `columns`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: DatasetRecord | None
    errors: list[dict[str, str | int]] = []
    can_drop: bool = False
    encodings: list[tuple[str, str]] = []
    suggestion: ColumnMapping | None = None
    columns: list[str] = []
    first_rows: list[dict[str, Any]] = []


def convert(
    files: Path | Sequence[Path],
    folder: Path,
    *,
    name: str,
    format_name: str = "",
    drop_bad_rows: bool = False,
    encoding: str = "",
    mapping: ColumnMapping | None = None,
    tell: Tell = lambda share, known: None,
) -> Verdict:
    """Read `files` and fill `folder` (a staging folder that exists) with a data set, all rows or none.

    Runs in a child process: see isolation.py. Raises nothing for a bad file: the verdict says what is wrong.
    """
    paths = [files] if isinstance(files, Path) else list(files)
    with RowsWriter(folder) as writer:
        conversion = Conversion(
            writer, format_name=format_name, mapping=mapping, encoding=encoding, keep_going=drop_bad_rows, tell=tell
        )
        try:
            conversion.read(paths)
        except SourceError as error:
            return _refused(conversion, paths, encoding, error.problem)
        except UserError as error:
            return _refused(conversion, paths, encoding, Problem(message=error.message, hint=error.hint))
    if conversion.problems and not (drop_bad_rows and conversion.rows):
        return _refused(conversion, paths, encoding)
    if conversion.format is None or not conversion.rows:
        empty = Problem(
            message=f"{printable(paths[0].name)} holds no rows.", hint="Choose a file with at least one row."
        )
        return _refused(conversion, paths, encoding, empty)
    record = _record(conversion, folder, paths, name, encoding, mapping)
    _keep(conversion, folder, paths, record)
    return Verdict(record=record)


def _refused(conversion: Conversion, paths: list[Path], encoding: str, problem: Problem | None = None) -> Verdict:
    problems = [*conversion.problems, *([problem] if problem else [])]
    unreadable = any("--encoding" in one.hint for one in problems)
    unknown = conversion.format is None and bool(conversion.first_rows)
    columns = list(dict.fromkeys(name for row in conversion.first_rows for name in row))
    return Verdict(
        record=None,
        errors=[one.to_dict() for one in problems],
        can_drop=problem is None and conversion.rows > 0,
        encodings=candidate_encodings(paths[0]) if unreadable and not encoding else [],
        suggestion=suggest_mapping(columns, conversion.first_rows) if unknown else None,
        columns=columns,
        first_rows=[_clipped(row) for row in conversion.first_rows[:5]],
    )


def _record(
    conversion: Conversion,
    folder: Path,
    paths: list[Path],
    name: str,
    encoding: str,
    mapping: ColumnMapping | None,
) -> DatasetRecord:
    assert conversion.format is not None
    more = f" + {len(paths) - 1}" if len(paths) > 1 else ""
    return DatasetRecord(
        id=folder.name,
        name=name,
        source_name=printable(paths[0].name) + more,
        kind=conversion.kind,
        format=conversion.format.name,
        reason=conversion.reason,
        dataset_type=conversion.format.dataset_type,
        rows=conversion.rows,
        sha256=conversion.digest.hexdigest(),
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        columns=list(dict.fromkeys(name for row in conversion.first_rows for name in row)),
        statistics=conversion.statistics.to_dict(),
        encoding=encoding,
        mapping=mapping,
        warnings=[note.to_dict() for note in conversion.notes],
        dropped_rows=conversion.bad_rows,
    )


def _keep(conversion: Conversion, folder: Path, paths: list[Path], record: DatasetRecord) -> None:
    write_json(folder / FIRST_ROWS, [_clipped(row) for row in conversion.first_rows[:FIRST_ROWS_KEPT]])
    (folder / SOURCE).mkdir()
    for number, path in enumerate(paths):
        shutil.copyfile(path, folder / SOURCE / f"{number}{path.suffix.lower()[:12]}")
    write_json(folder / RECORD, record.model_dump())


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
    """The examples of a data set as they were converted, in the file's order."""
    return list(_examples(folder / EXAMPLES, limit))


def snapshot_path(folder: Path, sha256: str) -> Path:
    """Where the examples with that hash are kept when steps changed them."""
    return folder / SNAPSHOTS / f"{sha256}.jsonl"


def verified_examples(folder: Path, sha256: str) -> list[Example]:
    """The examples that have this hash: as converted, or as a user's steps left them. Raises UserError.

    A job keeps the hash, and a snapshot is never changed: what was chosen is what is trained, whatever came later.
    """
    snapshot = snapshot_path(folder, sha256)
    file = snapshot if snapshot.is_file() else folder / EXAMPLES
    if not file.is_file():
        raise UserError(f"The data set {folder.name} is gone.", "Upload the file again.")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise UserError(
            f"The data set {folder.name} is not what it was when the job was made.", "Upload the file again."
        )
    return list(_examples(file, None))


def _examples(file: Path, limit: int | None) -> Iterator[Example]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream):
            if number == limit:
                return
            yield json.loads(line)


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= CELL_CHARACTERS_KEPT else text[:CELL_CHARACTERS_KEPT] + " …"
    if isinstance(value, list):
        return [_clipped(item) for item in value[:100]]
    if isinstance(value, dict):
        return {str(key).encode("utf-8", "backslashreplace").decode(): _clipped(item) for key, item in value.items()}
    return value
