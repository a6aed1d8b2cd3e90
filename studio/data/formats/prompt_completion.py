"""Prompt and completion, as text or as messages."""

from studio.data.examples import Message, PromptCompletionExample, Row, assistant, user
from studio.data.formats.contract import DatasetFormat, messages_of, text_of
from studio.data.formats.messages import ROLES


def turns_of(row: Row, column: str, *, speaker: str) -> list[Message]:
    """A column that holds text (said by `speaker`: user or assistant) or messages. Raises RowError."""
    if isinstance(row.get(column), list):
        return messages_of(row[column], column, "role", "content", ROLES)
    text = text_of(row, column)
    return [user(text) if speaker == "user" else assistant(text)]


def to_example(row: Row) -> PromptCompletionExample:
    return {
        "prompt": turns_of(row, "prompt", speaker="user"),
        "completion": turns_of(row, "completion", speaker="assistant"),
    }


PROMPT_COMPLETION = DatasetFormat(
    name="prompt_completion",
    title="Prompt and completion",
    dataset_type="prompt_completion",
    columns=("prompt", "completion"),
    to_example=to_example,
    sample_row={"prompt": "Name a sea bird.", "completion": "The puffin."},
)
