"""Whether an example can be written as UTF-8, and where not."""

from collections.abc import Iterator
from typing import Any

from studio.data.examples import Example, RowError


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
