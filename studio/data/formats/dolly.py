"""Dolly: instruction, context (may be empty), response."""

from studio.data.cells import Columns, Warn, text_of
from studio.data.examples import Example, Row, assistant, user
from studio.data.formats.alpaca import question_of, turns_before
from studio.data.formats.contract import DatasetFormat


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    question = question_of(row, at, "instruction", "context")
    answer = text_of(row, at["response"])
    return {"prompt": [*turns_before(row, at), user(question)], "completion": [assistant(answer)]}


DOLLY = DatasetFormat(
    name="dolly",
    title="Dolly",
    dataset_type="prompt_completion",
    columns=("instruction", "response"),
    optional=("context", "system"),
    aliases={
        "instruction": ("指令", "指示"),
        "context": ("input", "上下文", "背景", "输入"),
        "response": ("回复", "回应", "回答"),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
    },
    convert=convert,
    sample_row={"instruction": "Name a sea bird.", "context": "", "response": "The puffin.", "category": "open_qa"},
)
