"""Question and answer, with the passage they are about and a system prompt when these are there."""

from studio.data.cells import Columns, Warn, text_of
from studio.data.examples import Example, Row, assistant, user
from studio.data.formats.alpaca import question_of, turns_before
from studio.data.formats.contract import DatasetFormat


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    question = question_of(row, at, "question", "context")
    answer = text_of(row, at["answer"])
    return {"prompt": [*turns_before(row, at), user(question)], "completion": [assistant(answer)]}


QUESTION_ANSWER = DatasetFormat(
    name="question_answer",
    title="Question and answer",
    dataset_type="prompt_completion",
    columns=("question", "answer"),
    optional=("context", "system"),
    aliases={
        "question": ("query", "问题", "提问", "问"),
        "answer": ("response", "completion", "回答", "答案", "回复", "答"),
        "context": ("上下文", "背景"),
        "system": ("system_prompt", "系统", "系统提示", "系统提示词"),
    },
    convert=convert,
    sample_row={"question": "Name a sea bird.", "answer": "The puffin."},
)
