"""The shapes of a row and of an example, named as TRL names them."""

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, final

Row = dict[str, Any]
"""One raw record as it stands in the user's file."""

DatasetType = Literal["language_modeling", "prompt_completion", "preference", "unpaired_preference"]

# What each of TRL's objectives learns from.
LEARNS_FROM: dict[str, tuple[DatasetType, ...]] = {
    "sft": ("language_modeling", "prompt_completion"),
    "dpo": ("preference",),
    "orpo": ("preference",),
    "cpo": ("preference",),
    "reward": ("preference",),
    "kto": ("unpaired_preference", "preference"),
    "ppo": ("prompt_completion", "language_modeling", "preference", "unpaired_preference"),
    "rloo": ("prompt_completion", "language_modeling", "preference", "unpaired_preference"),
    "grpo": ("prompt_completion", "language_modeling", "preference", "unpaired_preference"),
}

Role = Literal["system", "user", "assistant", "tool"]


class Function(TypedDict):
    name: str
    arguments: dict[str, Any]


class ToolCall(TypedDict):
    """One call, as OpenAI writes it, with its arguments as an object (as transformers' templates expect)."""

    type: Literal["function"]
    function: Function
    id: NotRequired[str]


Tool = dict[str, Any]
"""A tool's definition, as OpenAI writes it: {"type": "function", "function": {"name", "description", "parameters"}}."""


class Message(TypedDict):
    """`weight` 0 marks an assistant's turn that is read but not learned."""

    role: Role
    content: str
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    weight: NotRequired[Literal[0]]


@final  # so that a type checker knows the kind by its keys
class TextExample(TypedDict):
    """language_modeling: every token is learned."""

    text: str


@final  # so that a type checker knows the kind by its keys
class ConversationExample(TypedDict):
    """language_modeling, conversational: the assistant's turns are learned."""

    messages: list[Message]
    tools: NotRequired[list[Tool]]


@final  # so that a type checker knows the kind by its keys
class PromptCompletionExample(TypedDict):
    """prompt_completion: the completion is learned."""

    prompt: list[Message]
    completion: list[Message]
    tools: NotRequired[list[Tool]]


@final  # so that a type checker knows the kind by its keys
class PreferenceExample(TypedDict):
    """preference: the chosen answer is made likelier than the rejected one."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: NotRequired[list[Tool]]


@final  # so that a type checker knows the kind by its keys
class UnpairedPreferenceExample(TypedDict):
    """unpaired_preference: the completion is made likelier (label true) or less likely (false)."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    tools: NotRequired[list[Tool]]


Example = TextExample | ConversationExample | PromptCompletionExample | PreferenceExample | UnpairedPreferenceExample


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a file: `row` and `line` count from 1; 0 means the file as a whole."""

    message: str
    hint: str = ""
    row: int = 0
    line: int = 0
    column: str = ""

    def to_dict(self) -> dict[str, str | int]:
        return {
            "row": self.row,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        place = [f"row {self.row}"] if self.row else []
        place += [f"line {self.line}"] if self.line else []
        place += [f"column {self.column!r}"] if self.column else []
        return f"{', '.join(place).capitalize()}: {self.message}" if place else self.message


class RowError(Exception):
    """A row that cannot become an example: raised by formats, turned into a Problem with its row number."""

    def __init__(self, column: str, message: str, hint: str = "") -> None:
        super().__init__(column, message, hint)
        self.column, self.message, self.hint = column, message, hint


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def system(content: str) -> Message:
    return {"role": "system", "content": content}
