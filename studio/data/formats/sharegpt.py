"""ShareGPT: `conversations`, a list of {from, value}."""

from studio.data.examples import ConversationExample, Message, Role, Row, RowError
from studio.data.formats.contract import DatasetFormat, messages_of, optional_text

ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


def conversation_of(row: Row) -> list[Message]:
    """The messages of a row; a `system` column comes first. Raises RowError."""
    messages = messages_of(row["conversations"], "conversations", "from", "value", ROLES)
    if optional_text(row, "system").strip():
        messages.insert(0, {"role": "system", "content": row["system"]})
    return messages


def to_example(row: Row) -> ConversationExample:
    messages = conversation_of(row)
    if not any(message["role"] == "assistant" for message in messages):
        raise RowError("conversations", "No turn is the assistant's, so there is nothing to learn.", "Add one.")
    return {"messages": messages}


SHAREGPT = DatasetFormat(
    name="sharegpt",
    title="ShareGPT",
    dataset_type="language_modeling",
    columns=("conversations",),
    to_example=to_example,
    sample_row={
        "conversations": [{"from": "human", "value": "Name a sea bird."}, {"from": "gpt", "value": "The puffin."}]
    },
)
