"""Preference pairs: chosen and rejected, with the prompt as text, messages or ShareGPT turns, or inside both."""

from typing import Any

from studio.data.examples import Message, PreferenceExample, Row, RowError, assistant
from studio.data.formats.contract import DatasetFormat, message_of, messages_of, text_of
from studio.data.formats.messages import ROLES
from studio.data.formats.prompt_completion import turns_of
from studio.data.formats.sharegpt import ROLES as SHAREGPT_ROLES
from studio.data.formats.sharegpt import conversation_of


def to_example(row: Row) -> PreferenceExample:
    chosen, rejected = _answer_of(row, "chosen"), _answer_of(row, "rejected")
    if "conversations" in row:
        prompt = conversation_of(row)
    elif "prompt" in row:
        prompt = turns_of(row, "prompt", speaker="user")
    else:
        prompt = _common_start(chosen, rejected)
    chosen, rejected = _without_prompt(chosen, prompt), _without_prompt(rejected, prompt)
    if chosen == rejected:
        raise RowError("rejected", "The chosen and the rejected answer are the same.", "Delete the row.")
    for column, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer or answer[-1]["role"] != "assistant":
            raise RowError(column, f"{column} does not end with the assistant's answer.", "Add the answer.")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _answer_of(row: Row, column: str) -> list[Message]:
    value: Any = row.get(column)
    if isinstance(value, list):
        return messages_of(value, column, "role", "content", ROLES)
    if isinstance(value, dict):
        if "from" in value:
            return [message_of(value, column, "from", "value", SHAREGPT_ROLES)]
        return [message_of(value, column, "role", "content", ROLES)]
    return [assistant(text_of(row, column))]


def _common_start(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The turns that both answers begin with: TRL's implicit prompt. Raises RowError when there are none."""
    length = 0
    for ours, theirs in zip(chosen[:-1], rejected[:-1], strict=False):
        if ours != theirs:
            break
        length += 1
    if length == 0:
        raise RowError("prompt", "There is no prompt, and the two answers begin differently.", "Add a prompt.")
    return chosen[:length]


def _without_prompt(answer: list[Message], prompt: list[Message]) -> list[Message]:
    """The answer alone, when it repeats the whole prompt before it (a common way to write pairs)."""
    return answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer


PREFERENCE = DatasetFormat(
    name="preference",
    title="Preference pairs",
    dataset_type="preference",
    columns=("chosen", "rejected"),
    to_example=to_example,
    sample_row={"prompt": "Name a sea bird.", "chosen": "The puffin.", "rejected": "There are many."},
)
