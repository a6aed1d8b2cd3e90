"""What a format promises: to recognise its rows, and to turn one into an example without changing its words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.data.examples import DatasetType, Example, Message, Role, Row, RowError


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """One way to spell rows.

    `columns` are the names that make a row this format's; `to_example` raises RowError naming the column;
    `sample_row` is what the contract tests and the documentation use.
    """

    name: str
    title: str
    dataset_type: DatasetType
    columns: tuple[str, ...]
    to_example: Callable[[Row], Example]
    sample_row: Row

    def recognises(self, row: Row) -> bool:
        """Whether the row has this format's columns."""
        return all(name in row for name in self.columns)


def text_of(row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """The text in a column. Raises RowError when it is missing, empty, or not text."""
    value = row.get(column)
    if value is None:
        raise RowError(column, f"{column} is missing.", f"Give every row a {column!r}, or delete the row.")
    if not isinstance(value, str):
        raise RowError(column, f"{column} is {_kind(value)}, not text.", "Write it as text, in quotes.")
    if not value.strip() and not may_be_empty:
        raise RowError(column, f"{column} is empty.", "Fill it in, or delete the row.")
    return value


def optional_text(row: Row, column: str) -> str:
    """The text in a column that may be absent, null or empty."""
    return "" if row.get(column) is None else text_of(row, column, may_be_empty=True)


def message_of(value: Any, column: str, role_key: str, content_key: str, roles: dict[str, Role]) -> Message:
    """One message from an object with a role and a content. Raises RowError."""
    if not isinstance(value, dict):
        raise RowError(column, f"A message is {_kind(value)}, not an object.", "Write {role, content}.")
    spelled, content = value.get(role_key), value.get(content_key)
    role = roles.get(spelled) if isinstance(spelled, str) else None
    if role is None:
        known = ", ".join(roles)
        raise RowError(column, f"The {role_key} {spelled!r} is not known.", f"Use one of: {known}.")
    if not isinstance(content, str):
        raise RowError(column, f"The {content_key} of a message is {_kind(content)}, not text.", "Write text.")
    if not content.strip():
        raise RowError(column, f"A message of the {role} is empty.", "Fill it in, or delete the row.")
    return {"role": role, "content": content}


def messages_of(value: Any, column: str, role_key: str, content_key: str, roles: dict[str, Role]) -> list[Message]:
    """A list of messages. Raises RowError."""
    if not isinstance(value, list) or not value:
        raise RowError(column, f"{column} is {_kind(value)}, not a list of messages.", "Write [ {…}, {…} ].")
    return [message_of(item, column, role_key, content_key, roles) for item in value]


def _kind(value: Any) -> str:
    """`value`'s type in the words of JSON."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object"
