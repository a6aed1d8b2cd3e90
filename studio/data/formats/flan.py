"""FLAN: inputs and targets; or, as in Firefly, input and target."""

from studio.data.cells import Columns, Warn, text_of
from studio.data.examples import Example, Row, assistant, user
from studio.data.formats.contract import DatasetFormat


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    question, answer = text_of(row, at["inputs"]), text_of(row, at["targets"])
    return {"prompt": [user(question)], "completion": [assistant(answer)]}


FLAN = DatasetFormat(
    name="flan",
    title="FLAN",
    dataset_type="prompt_completion",
    columns=("inputs", "targets"),
    aliases={"inputs": ("input",), "targets": ("target",)},
    never_with=("instruction",),  # what is asked would be left out
    convert=convert,
    sample_row={"inputs": "Name a sea bird.", "targets": "The puffin."},
)
