"""Alpaca: instruction, input (may be empty), output; `system` and `history` when they are there."""

from studio.data.examples import PromptCompletionExample, Row, RowError, assistant, system, user
from studio.data.formats.contract import DatasetFormat, optional_text, text_of


def to_example(row: Row) -> PromptCompletionExample:
    instruction, extra = text_of(row, "instruction"), optional_text(row, "input")
    question = f"{instruction}\n\n{extra}" if extra.strip() else instruction
    prompt = [system(row["system"])] if optional_text(row, "system").strip() else []
    for turn in row.get("history") or []:
        if not (isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)):
            raise RowError("history", "A turn of the history is not a [question, answer] pair.", "Write pairs.")
        prompt += [user(turn[0]), assistant(turn[1])]
    return {"prompt": [*prompt, user(question)], "completion": [assistant(text_of(row, "output"))]}


ALPACA = DatasetFormat(
    name="alpaca",
    title="Alpaca",
    dataset_type="prompt_completion",
    columns=("instruction", "output"),
    to_example=to_example,
    sample_row={"instruction": "Name a sea bird.", "input": "", "output": "The puffin."},
)
