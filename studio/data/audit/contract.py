"""What a check promises: to look at examples one by one, and to say in the end which rows it means."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from studio.data.audit.reading import Reading
from studio.data.examples import DatasetType

Severity = Literal["error", "warning", "info"]
Remedy = Literal["drop", "trim", "keep"]

ALL_TYPES: tuple[DatasetType, ...] = ("language_modeling", "prompt_completion", "preference", "unpaired_preference")
NAMED_PAIRS = 20


class Finding(BaseModel):
    """Something that deserves a look.

    `count` is how many rows it concerns, `rows` which: spans such as "3-5,9", ascending, empty when it concerns the
    data set as a whole. `figures` are its numbers, ready for JSON; `remedies` what a step can do about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    severity: Severity
    count: int
    rows: str = ""
    figures: dict[str, Any] = {}
    remedies: tuple[Remedy, ...] = ("keep",)

    def row_numbers(self) -> "array[int]":
        """The rows it concerns, from 1, ascending."""
        return row_numbers(self.rows)


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """What the checks need to know beside the examples.

    `special_tokens` are the tokenizer's own; an answer is short below `shortest_answer` characters (a Chinese
    character counts twice); only the first `most_compared` rows are compared for likeness.
    """

    dataset_type: DatasetType
    special_tokens: tuple[str, ...] = ()
    shortest_answer: int = 5
    most_compared: int = 200_000


class Check:
    """One check: sees every example once, in order, and keeps at most some bytes a row."""

    code: ClassVar[str]
    severity: ClassVar[Severity] = "warning"
    remedies: ClassVar[tuple[Remedy, ...]] = ("drop", "keep")
    dataset_types: ClassVar[tuple[DatasetType, ...]] = ALL_TYPES
    sees_held_out: ClassVar[bool] = False  # whether it also sees the examples of a separate evaluation set

    def __init__(self, settings: AuditSettings) -> None:
        self.settings = settings
        self.rows = array("I")

    def add(self, reading: Reading) -> None:
        """Look at one example."""
        if self.concerns(reading):
            self.rows.append(reading.row)

    def concerns(self, reading: Reading) -> bool:
        """Whether an example is one that this check is after, for checks that need no memory."""
        raise NotImplementedError

    def finding(self) -> Finding | None:
        """What was found, or None when there is nothing to say."""
        return self.found(self.rows) if self.rows else None

    def found(self, rows: Iterable[int], **figures: Any) -> Finding:
        """A finding of this check about `rows`."""
        numbers = array("I", rows)
        return Finding(
            code=self.code,
            severity=self.severity,
            count=len(numbers),
            rows=to_spans(numbers),
            figures=figures,
            remedies=self.remedies,
        )


def to_spans(rows: Iterable[int]) -> str:
    """Ascending row numbers as "3-5,9"."""
    spans: list[str] = []
    first = last = 0
    for row in rows:
        if last and row == last + 1:
            last = row
            continue
        if last:
            spans.append(f"{first}-{last}" if last > first else str(first))
        first = last = row
    if last:
        spans.append(f"{first}-{last}" if last > first else str(first))
    return ",".join(spans)


def row_numbers(spans: str) -> "array[int]":
    """The row numbers that `to_spans` wrote."""
    rows = array("I")
    for span in spans.split(",") if spans else ():
        first, _, last = span.partition("-")
        rows.extend(range(int(first), int(last or first) + 1))
    return rows
