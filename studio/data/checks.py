"""What is wrong with examples, by row and column."""

from collections.abc import Iterator
from typing import Any

from studio.data.examples import Example, Problem, RowError


def check_characters(example: Example) -> None:
    """Raise RowError when a text cannot be written as UTF-8 (half of a surrogate pair)."""
    for column, text in _texts(example):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError(
                column,
                f"Character {error.start + 1} is half of a pair (\\u{ord(text[error.start]):04x}).",
                "Replace that character: it belongs to no language.",
            ) from None


def duplicate_warnings(rows_of: dict[bytes, list[int]]) -> list[Problem]:
    """One warning for rows that say exactly the same; `rows_of` maps an example's hash to its rows."""
    repeated = [rows for rows in rows_of.values() if len(rows) > 1]
    if not repeated:
        return []
    extra = sum(len(rows) - 1 for rows in repeated)
    first = repeated[0]
    return [
        Problem(
            message=f"{extra} rows repeat another row word for word, first row {first[1]} (as row {first[0]}).",
            hint="Repeated rows are learned more strongly. Delete them unless that is meant.",
            row=first[1],
        )
    ]


def _texts(example: Example) -> Iterator[tuple[str, str]]:
    for column, value in example.items():
        yield from ((column, text) for text in _strings(value))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
