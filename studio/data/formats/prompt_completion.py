"""Prompt and completion, as text or as messages."""

from studio.data.cells import Columns, Warn, text_of
from studio.data.conversation import check_answer, messages_of, prompt_of
from studio.data.examples import Example, Message, Row, assistant, user
from studio.data.formats.alpaca import question_of, turns_before
from studio.data.formats.contract import DatasetFormat
from studio.data.tool_calls import with_tools


def prompt_turns(row: Row, at: Columns, warn: Warn) -> list[Message]:
    """The turns before the answer, from a prompt that is text or messages. Raises RowError."""
    if isinstance(row.get(at["prompt"]), list):
        return prompt_of(row, at, "prompt", warn)
    return [*turns_before(row, at), user(question_of(row, at, "prompt", "input"))]


def answer_turns(row: Row, column: str, *, before: list[Message]) -> list[Message]:
    """The answer's turns, from a column that holds text or messages. Raises RowError."""
    value = row.get(column)
    if not isinstance(value, list):
        return [assistant(text_of(row, column))]
    answer = messages_of(value, column)
    check_answer(answer, column, before=before)
    return answer


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    prompt = prompt_turns(row, at, warn)
    completion = answer_turns(row, at["completion"], before=prompt)
    return with_tools({"prompt": prompt, "completion": completion}, row, at.get("tools"))


PROMPT_COMPLETION = DatasetFormat(
    name="prompt_completion",
    title="Prompt and completion",
    dataset_type="prompt_completion",
    columns=("prompt", "completion"),
    optional=("system", "tools"),
    aliases={
        "prompt": ("提示", "提示词"),
        "completion": ("response", "answer", "补全", "回复", "回应", "回答"),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
        "tools": ("工具",),
    },
    together={"prompt": "user", "completion": "assistant"},
    convert=convert,
    sample_row={"prompt": "Name a sea bird.", "completion": "The puffin."},
)
