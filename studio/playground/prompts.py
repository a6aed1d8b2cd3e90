"""A list of prompts, typed or from a file: one a line, or JSON Lines."""

import json
from typing import Any

from studio.data.examples import Message
from studio.errors import UserError

MOST_PROMPTS = 1000
LONGEST_LIST = 2_000_000  # characters
KEYS = ("prompt", "instruction", "question", "text")

Prompt = list[Message]
"""What is asked: messages that end with the user's."""


def read_prompts(text: str) -> list[Prompt]:
    """One prompt for each line that is not blank.

    A list whose lines all begin with { is JSON Lines: an object with `prompt` (or `instruction`, `question`, `text`)
    or with `messages`, of which an answer at the end is left out. Raises UserError naming the line.
    """
    if len(text) > LONGEST_LIST:
        raise UserError("That is too much text for a list of prompts.", f"Up to {LONGEST_LIST:,} characters fit.")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UserError("There is no prompt yet.", "Write one a line, or choose a file.")
    if len(lines) > MOST_PROMPTS:
        raise UserError(f"The list has {len(lines):,} prompts.", f"Up to {MOST_PROMPTS:,} can be asked at once.")
    if all(line.startswith("{") for _, line in lines):
        return [_from_json(number, line) for number, line in lines]
    return [[{"role": "user", "content": line}] for _, line in lines]


def words_of(prompt: Prompt) -> str:
    """What a table shows of a prompt: the last thing the user said."""
    return str(prompt[-1]["content"])


def _from_json(number: int, line: str) -> Prompt:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"Line {number} is not JSON: {error}.", "Mend it, or write prompts one a line.") from None
    if "messages" in row:
        return _from_messages(number, row["messages"])
    for key in KEYS:
        if isinstance(row.get(key), str) and row[key].strip():
            return [{"role": "user", "content": row[key]}]
    raise UserError(f"Line {number} has no prompt.", f"Call it one of {', '.join(KEYS)}, or give messages.")


def _from_messages(number: int, messages: Any) -> Prompt:
    found: Prompt = []
    for message in messages if isinstance(messages, list) else []:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise UserError(f"Line {number} has a message that is not text.", "Each needs a role and a content.")
        found.append({"role": role, "content": content})
    while found and found[-1]["role"] != "user":
        found.pop()
    if not found:
        raise UserError(f"Line {number} has no message of the user.", "Give at least one.")
    return found
