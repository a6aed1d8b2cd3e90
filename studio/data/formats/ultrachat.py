"""UltraChat as it was published: `data`, a list of texts that are the user's and the assistant's by turns."""

from studio.data.cells import Columns, Warn, is_blank, kind_of
from studio.data.examples import Example, Message, Row, RowError, assistant, user
from studio.data.formats.contract import DatasetFormat


def holds_texts(row: Row, at: Columns) -> bool:
    """Whether `data` is a list of texts: a column of that name may hold anything."""
    value = row[at["data"]]
    return isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    column = at["data"]
    value = row[column]
    if not isinstance(value, list):
        raise RowError(column, f"{column} is {kind_of(value)}, not a list of texts.", "Write [ question, answer, … ].")
    if not value or len(value) % 2:
        message = f"{column} holds {len(value)} turns: the last question has no answer."
        raise RowError(column, message, "Add the answer, or delete the row.")
    return {"messages": [_turn(text, number, column) for number, text in enumerate(value, start=1)]}


def _turn(text: object, number: int, column: str) -> Message:
    if not isinstance(text, str):
        raise RowError(column, f"Turn {number} is {kind_of(text)}, not text.", "Write text.")
    if is_blank(text):
        raise RowError(column, f"Turn {number} is empty.", "Fill it in, or delete the row.")
    return user(text) if number % 2 else assistant(text)


ULTRACHAT = DatasetFormat(
    name="ultrachat",
    title="UltraChat",
    dataset_type="language_modeling",
    columns=("data",),
    only_if=holds_texts,
    convert=convert,
    sample_row={"id": "0", "data": ["Name a sea bird.", "The puffin."]},
)
