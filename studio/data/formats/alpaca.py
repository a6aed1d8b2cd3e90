"""Alpaca: instruction, input (may be empty), output; `system` and `history` when they are there."""

from typing import Any

from studio.data.cells import Columns, Warn, kind_of, optional_text, text_of
from studio.data.examples import Example, Message, Row, RowError, assistant, system, user
from studio.data.formats.contract import DatasetFormat
from studio.data.tool_calls import with_tools


def question_of(row: Row, at: Columns, part: str, extra: str) -> str:
    """The instruction with what it is about below it; one of the two may be empty. Raises RowError."""
    about = optional_text(row, at.get(extra))
    instruction = optional_text(row, at[part]) if about else text_of(row, at[part])
    return f"{instruction}\n\n{about}" if instruction and about else instruction or about


def turns_before(row: Row, at: Columns) -> list[Message]:
    """The system prompt and the history, where there are any. Raises RowError."""
    text = optional_text(row, at.get("system"))
    turns = [system(text)] if text else []
    history = row.get(at["history"]) if "history" in at else None
    if history in (None, "", []):
        return turns
    column = at["history"]
    if not isinstance(history, list):
        raise RowError(column, f"{column} is {kind_of(history)}, not a list.", "Write [ [question, answer], … ].")
    for number, pair in enumerate(history, start=1):
        question, answer = _texts_of(pair, number, column)
        turns += [user(question), assistant(answer)]
    return turns


def _texts_of(pair: Any, number: int, column: str) -> tuple[str, str]:
    if isinstance(pair, list) and len(pair) == 2:
        question, answer = pair
        if isinstance(question, str) and isinstance(answer, str) and question.strip() and answer.strip():
            return question, answer
    raise RowError(column, f"Turn {number} of {column} is not a [question, answer] pair of texts.", "Write pairs.")


def _refuse_pair(answer: Any, column: str) -> None:
    if isinstance(answer, list) and len(answer) == 2 and all(isinstance(one, str) for one in answer):
        hint = "If the first is the better one, write them as the columns chosen and rejected."
        raise RowError(column, f"{column} is a list of two answers, not text.", hint)


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    question = question_of(row, at, "instruction", "input")
    _refuse_pair(row.get(at["output"]), at["output"])
    answer = text_of(row, at["output"])
    example = {"prompt": [*turns_before(row, at), user(question)], "completion": [assistant(answer)]}
    return with_tools(example, row, at.get("tools"))


ALPACA = DatasetFormat(
    name="alpaca",
    title="Alpaca",
    dataset_type="prompt_completion",
    columns=("instruction", "output"),
    optional=("input", "system", "history", "tools"),
    aliases={
        "instruction": ("指令", "指示"),
        "input": ("输入",),
        "output": ("输出",),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
        "history": ("历史", "历史对话"),
        "tools": ("工具",),
    },
    convert=convert,
    sample_row={"instruction": "Name a sea bird.", "input": "", "output": "The puffin."},
)
