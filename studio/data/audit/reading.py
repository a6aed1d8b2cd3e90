"""An example taken apart once, for all checks: what is asked, what is answered, and fingerprints of both."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from studio.data.audit.scripts import script_of
from studio.data.examples import Example, Message


@dataclass(frozen=True, slots=True)
class Reading:
    """One example as the checks see it.

    `prompt` is everything before the answer that counts (a conversation's last), as messages; raw text has none.
    `asked` is what the user says in it. `answers` are the texts that are learned, of a pair the chosen one's.
    `asked_script` and `answer_script` are the scripts of both. `spoken` are the texts of all turns but a tool's;
    `whole` is all text in one: theirs, reasoning, and the words of tool calls.
    `digest` and `prompt_digest` are 64-bit fingerprints of the whole example and of its prompt.
    """

    row: int
    example: Example
    held_out: bool
    prompt: list[Message]
    asked: str
    answers: list[str]
    asked_script: str
    answer_script: str
    spoken: list[str]
    whole: str
    digest: int
    prompt_digest: int


def read(row: int, example: Example, *, held_out: bool = False) -> Reading:
    """Take an example apart."""
    messages = all_messages(example)
    prompt, answers = prompt_and_answers(example)
    digest = digest_of(example)
    raw = [example["text"]] if "text" in example else []
    asked = "\n".join([message["content"] for message in prompt if message["role"] == "user"])
    return Reading(
        row=row,
        example=example,
        held_out=held_out,
        prompt=prompt,
        asked=asked,
        answers=answers,
        asked_script=script_of(asked),
        answer_script=script_of("\n".join(answers)),
        spoken=raw or [message["content"] for message in messages if message["role"] != "tool"],
        whole="\n".join(raw or [text for message in messages for text in texts_of(message)]),
        digest=digest,
        prompt_digest=digest_of([prompt, example.get("tools")]) if prompt else digest,
    )


def prompt_and_answers(example: Example) -> tuple[list[Message], list[str]]:
    """(the messages before the last answer, the texts that are learned)."""
    if "text" in example:
        return [], [example["text"]]
    if "messages" in example:
        messages = example["messages"]
        last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
        return messages[:last], [message["content"] for message in learned_turns(messages)]
    answer = example["chosen"] if "chosen" in example else example["completion"]
    return example["prompt"], [message["content"] for message in learned_turns(answer)]


def learned_turns(messages: list[Message]) -> list[Message]:
    """The assistant's turns, without those that are only read (weight 0)."""
    return [message for message in messages if message["role"] == "assistant" and message.get("weight") != 0]


def all_messages(example: Example) -> list[Message]:
    """Every message of an example, in order: none in raw text."""
    if "text" in example:
        return []
    if "messages" in example:
        return example["messages"]
    if "chosen" in example:
        return [*example["prompt"], *example["chosen"], *example["rejected"]]
    return [*example["prompt"], *example["completion"]]


def texts_of(message: Message) -> Iterable[str]:
    """What a message says: its content, its reasoning, and the texts in the arguments of its calls."""
    if len(message) == 2:
        return (message["content"],)
    said = [message["content"]]
    if "reasoning_content" in message:
        said.append(message["reasoning_content"])
    for call in message.get("tool_calls", []):
        said += _strings(call["function"]["arguments"])
    return said


def digest_of(value: Any) -> int:
    """A 64-bit fingerprint of a JSON value: equal values, equal numbers."""
    return int.from_bytes(blake2b(json.dumps(value).encode(), digest_size=8).digest(), "big")


def _strings(value: Any) -> Iterator[str]:
    """The texts in a JSON value, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
