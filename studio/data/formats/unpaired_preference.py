"""Unpaired preference: one answer and whether it is good (label true) or bad (label false)."""

from studio.data.examples import Row, RowError, UnpairedPreferenceExample
from studio.data.formats.contract import DatasetFormat, messages_of
from studio.data.formats.messages import ROLES
from studio.data.formats.prompt_completion import turns_of


def to_example(row: Row) -> UnpairedPreferenceExample:
    label = row["label"]
    if not isinstance(label, bool):
        # "false" is a text that Python calls true: a label is true or false, or the row is refused.
        raise RowError("label", f"The label is {label!r}.", "Write true or false, without quotes.")
    if "messages" in row:
        messages = messages_of(row["messages"], "messages", "role", "content", ROLES)
        if messages[-1]["role"] != "assistant" or len(messages) < 2:
            raise RowError("messages", "The last message is not the assistant's answer.", "Add the answer.")
        return {"prompt": messages[:-1], "completion": messages[-1:], "label": label}
    return {
        "prompt": turns_of(row, "prompt", speaker="user"),
        "completion": turns_of(row, "completion", speaker="assistant"),
        "label": label,
    }


class UnpairedPreferenceFormat(DatasetFormat):
    """Two spellings share the label: beside messages, or beside prompt and completion."""

    def recognises(self, row: Row) -> bool:
        return "label" in row and ("messages" in row or ("prompt" in row and "completion" in row))


UNPAIRED_PREFERENCE = UnpairedPreferenceFormat(
    name="unpaired_preference",
    title="Unpaired preference",
    dataset_type="unpaired_preference",
    columns=("label",),
    to_example=to_example,
    sample_row={"prompt": "Name a sea bird.", "completion": "The puffin.", "label": True},
)
