"""One cell of a row → text, or a sentence about what it holds instead."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from studio.data.examples import Row, RowError

Columns = dict[str, str]
"""Which of the user's columns plays which part: part → column. Parts that a row lacks are absent."""

Warn = Callable[[str, str, str], None]
"""Called with (column, message, hint) for what is odd in a row but not wrong."""


NAME_SHOWN = 60  # characters


def ignore(column: str, message: str, hint: str) -> None:
    """A Warn for those who do not want to know."""


def text_of(row: Row, column: str) -> str:
    """The text in a column. Raises RowError when it is missing, not text, or empty (invisible characters only)."""
    value = row.get(column)
    if type(value) is not str:
        refuse_value(row, column)
    if is_blank(value):
        raise RowError(column, f"{column} is empty.", "Fill it in, or delete the row.")
    return value


def optional_text(row: Row, column: str | None) -> str:
    """The text in a column that may be absent, null or empty; "" for all three. Raises RowError when it is no text."""
    if column is None:
        return ""
    value = row.get(column)
    if value is None:
        return ""
    if type(value) is not str:
        refuse_value(row, column)
    return "" if is_blank(value) else value


def is_blank(text: str) -> bool:
    """Whether there is nothing to read in a text: it is empty, or all white space and zero-width characters."""
    return not text or (not "!" <= text[0] <= "~" and not text.strip(INVISIBLE))


class Foreign(dict[str, Any]):
    """A value that JSON cannot hold, as an object that names its type, so that it is not taken for text."""

    def __init__(self, words: str, shown: dict[str, Any]) -> None:
        super().__init__(shown)
        self.words = words


def kind_of(value: object) -> str:
    """A value's type in the words of JSON."""
    if isinstance(value, Foreign):
        return value.words
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, dict) else f"a value of the type {type(value).__name__}"


def refuse_value(row: Row, column: str) -> NoReturn:
    """Raise RowError for a column that holds no text."""
    if column not in row:
        refuse_missing(column, row)
    value = row[column]
    hint = "Fill it in, or delete the row." if value is None else "Write it as text, in quotes."
    if isinstance(value, Foreign):
        hint = "Write it as text."
    elif isinstance(value, dict | list):
        hint = "Write the text itself; files, images and lists are not read."
    raise RowError(column, f"{column} is {kind_of(value)}, not text.", hint)


def refuse_missing(column: str, row: Row) -> NoReturn:
    """Raise RowError for a column that a row lacks, with the column that was perhaps meant."""
    near = near_name(column, row)
    meant = f" Is {near!r} meant?" if near else ""
    hint = f"Rename {near!r} to {column!r}." if near else f"Give every row a {column!r}, or delete the row."
    raise RowError(column, f"{column} is missing.{meant}", hint)


def near_name(name: str, names: Iterable[str]) -> str:
    """The one of `names` that looks most like `name`, "" when none does."""
    spelled = {plain(one): one for one in names if len(one) <= NAME_SHOWN}
    found = get_close_matches(plain(name), list(spelled)[:100], n=1, cutoff=0.75)
    return spelled[found[0]] if found else ""


def listed(names: Iterable[str]) -> str:
    """Names in quotes, eight at most, each shortened when it is a text rather than a name."""
    shown = [repr(name if len(name) <= NAME_SHOWN else name[:NAME_SHOWN] + "…") for name in names]
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "")


def plain(name: str) -> str:
    """A column's name without capitals and spaces, for comparing."""
    return name.strip().lower().replace(" ", "_")


# White space and the characters that take no room: zero-width spaces and joiners, marks of direction, soft hyphen,
# fillers, byte order mark, NUL.
INVISIBLE = "".join(
    [chr(code) for code in range(0x3001) if chr(code).isspace()]
    + [chr(code) for code in (0, 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x180E, *range(0x200B, 0x2010))]
    + [chr(code) for code in (*range(0x2028, 0x202F), *range(0x2060, 0x2070), 0x2800, 0x3164, 0xFEFF, 0xFFA0)]
)
