"""OpenAI `messages`: a list of {role, content}."""

from studio.data.examples import ConversationExample, Role, Row, RowError
from studio.data.formats.contract import DatasetFormat, messages_of

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def to_example(row: Row) -> ConversationExample:
    messages = messages_of(row["messages"], "messages", "role", "content", ROLES)
    if not any(message["role"] == "assistant" for message in messages):
        raise RowError("messages", "No message is the assistant's, so there is nothing to learn.", "Add an answer.")
    return {"messages": messages}


MESSAGES = DatasetFormat(
    name="messages",
    title="OpenAI messages",
    dataset_type="language_modeling",
    columns=("messages",),
    to_example=to_example,
    sample_row={
        "messages": [
            {"role": "user", "content": "Name a sea bird."},
            {"role": "assistant", "content": "The puffin."},
        ]
    },
)
