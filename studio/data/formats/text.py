"""Raw text: one column `text`, every token learned."""

from studio.data.examples import Row, TextExample
from studio.data.formats.contract import DatasetFormat, text_of


def to_example(row: Row) -> TextExample:
    return {"text": text_of(row, "text")}


TEXT = DatasetFormat(
    name="text",
    title="Raw text",
    dataset_type="language_modeling",
    columns=("text",),
    to_example=to_example,
    sample_row={"text": "The puffin is a sea bird."},
)
