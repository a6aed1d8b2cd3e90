"""The data sets of a workspace: their rows page by page, what was decided about them, and what a job would learn."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from studio.data import steps as decided
from studio.data.audit.contract import Finding, Remedy, row_numbers
from studio.data.conversion import example_line
from studio.data.dataset import DatasetRecord, read_record, verified_examples
from studio.data.examples import Example
from studio.data.isolation import run_isolated
from studio.data.rows import MATCHES_KEPT, RowsFile
from studio.data.snapshots import read_current
from studio.data.steps import Step, apply_steps
from studio.errors import UserError
from studio.workspace import Workspace

CELL_CHARACTERS = 600
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for a formula
Sort = Literal["row", "characters"]
Positions = npt.NDArray[np.integer[Any]]


class Library:
    """Reads and decides; safe to share between threads. Every id is checked before it becomes a path."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._deciding = threading.Lock()

    def record(self, dataset_id: str) -> DatasetRecord:
        """What is known about a data set. Raises UserError when there is none."""
        return read_record(self._folder(dataset_id))

    def current(self, dataset_id: str) -> dict[str, Any]:
        """{sha256, rows, steps}: what a job would learn from now, and the decisions behind it."""
        folder = self._folder(dataset_id)
        return {**read_current(folder), "steps": [step.model_dump() for step in decided.read_steps(folder)]}

    def page(
        self,
        dataset_id: str,
        *,
        offset: int = 0,
        limit: int = 50,
        search: str = "",
        sort: Sort = "row",
        descending: bool = False,
        only: str = "",
    ) -> dict[str, Any]:
        """{total, more, of, columns, rows}: a page of the rows that hold `search` (spelled so) and are among `only`.

        `only` are spans of row numbers. `more`: a search ends after MATCHES_KEPT rows, and there may be others.

        Each row is {row: its number, cells: {column: text}, dropped}. Sorted by number or by length.
        """
        folder = self._folder(dataset_id)
        rows = _opened(folder, _version(folder))
        positions = _chosen(rows, search, only)
        if sort == "characters":
            positions = rows.by_length[np.isin(rows.by_length, positions)] if search or only else rows.by_length
        if descending:
            positions = positions[::-1]
        shown = positions[max(0, offset) : max(0, offset) + min(max(1, limit), 500)]
        dropped = _dropped(decided.read_steps(folder))
        cells = [_cells(rows.row(int(position))) for position in shown]
        return {
            "total": len(positions),
            "more": bool(search) and len(positions) >= MATCHES_KEPT,
            "of": len(rows),
            "columns": list(
                dict.fromkeys([*self.record(dataset_id).columns, *(name for row in cells for name in row)])
            ),
            "rows": [
                {"row": int(rows.numbers[position]), "cells": row, "dropped": int(rows.numbers[position]) in dropped}
                for position, row in zip(shown, cells, strict=True)
            ],
        }

    def row(self, dataset_id: str, number: int) -> dict[str, Any]:
        """{row, raw, example, changed, dropped}: one row as in the file, and the example that is trained."""
        folder = self._folder(dataset_id)
        rows = _opened(folder, _version(folder))
        position = rows.position(number)
        if position is None:
            raise UserError(f"There is no row {number} in this data set.", "It may have been left out; choose another.")
        before = rows.example(position)
        after = next((example for _, example in apply_steps([(number, before)], decided.read_steps(folder))), None)
        return {
            "row": number,
            "raw": rows.row(position),
            "example": after if after is not None else before,
            "changed": after is not None and after != before,
            "dropped": after is None,
        }

    def numbers(self, dataset_id: str, *, offset: int, limit: int) -> list[int]:
        """The numbers of some rows that are still there, in order: for stepping through examples."""
        folder = self._folder(dataset_id)
        rows, dropped = _opened(folder, _version(folder)), _dropped(decided.read_steps(folder))
        kept = rows.numbers if not dropped else rows.numbers[~np.isin(rows.numbers, list(dropped))]
        return [int(number) for number in kept[offset : offset + limit]]

    def apply(self, dataset_id: str, finding: Finding, remedy: Remedy, rows: str | None = None) -> dict[str, Any]:
        """Record what is done about a finding, and return what is then current. Raises UserError."""
        folder = self._folder(dataset_id)
        return self._decide(dataset_id, [*decided.read_steps(folder), decided.step_for(finding, remedy, rows)])

    def undo(self, dataset_id: str, position: int) -> dict[str, Any]:
        """Take the step at `position` (from 0) back. Raises UserError."""
        steps = decided.read_steps(self._folder(dataset_id))
        if not 0 <= position < len(steps):
            raise UserError("There is no such step.", "Look at the list of steps again.")
        return self._decide(dataset_id, steps[:position] + steps[position + 1 :])

    def _decide(self, dataset_id: str, steps: list[Step]) -> dict[str, Any]:
        """Keep these steps and the examples that they leave, or everything as it was."""
        folder = self._folder(dataset_id)
        with self._deciding:
            before = decided.read_steps(folder)
            decided.write_steps(folder, steps)
            try:
                run_isolated("snapshot", folder=str(folder))
            except UserError:
                decided.write_steps(folder, before)
                raise
        return self.current(dataset_id)

    def delete(self, dataset_id: str) -> None:
        """Delete a data set; whether a job needs it is for the caller to know."""
        folder = self._folder(dataset_id)
        read_record(folder)
        self._workspace.discard(folder)

    def jsonl(self, dataset_id: str) -> Iterator[bytes]:
        """The examples after the steps, one JSON object a line."""
        for example in self._examples(dataset_id):
            yield example_line(example)

    def csv(self, dataset_id: str) -> Iterator[bytes]:
        """The examples after the steps as CSV for a spreadsheet; cells that it would take for formulas begin with '."""
        columns: list[str] | None = None
        for example in self._examples(dataset_id):
            buffer = io.StringIO()
            writer = csv.writer(buffer)
            if columns is None:
                columns = list(example)
                writer.writerow(columns)
            values: dict[str, Any] = dict(example)
            writer.writerow([_harmless(_cell(values.get(name))) for name in columns])
            yield buffer.getvalue().encode()

    def _examples(self, dataset_id: str) -> list[Example]:
        folder = self._folder(dataset_id)
        return verified_examples(folder, read_current(folder)["sha256"])

    def _folder(self, dataset_id: str) -> Path:
        return self._workspace.dataset(dataset_id)


def _version(folder: Path) -> str:
    return read_record(folder).sha256


@lru_cache(maxsize=8)
def _opened(folder: Path, version: str) -> RowsFile:
    return RowsFile.open(folder)


def _chosen(rows: RowsFile, search: str, only: str) -> Positions:
    positions = rows.find(search) if search else np.arange(len(rows), dtype=np.int64)
    if only:
        wanted = rows.positions(np.frombuffer(row_numbers(only), np.uint32))
        positions = np.intersect1d(positions, wanted, assume_unique=True)
    return positions


def _dropped(steps: list[Step]) -> set[int]:
    return {row for step in steps if step.remedy == "drop" for row in row_numbers(step.rows)}


def _cells(row: dict[str, Any]) -> dict[str, str]:
    return {name: _clipped(_cell(value)) for name, value in row.items()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _clipped(text: str) -> str:
    return text if len(text) <= CELL_CHARACTERS else text[:CELL_CHARACTERS] + " …"


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_MARKS) else text
