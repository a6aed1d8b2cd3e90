"""Raw text: one column `text` (or `content`), every token learned."""

from studio.data.cells import Columns, Warn, text_of
from studio.data.examples import Example, Row
from studio.data.formats.contract import DatasetFormat


def convert(row: Row, at: Columns, warn: Warn) -> Example:
    return {"text": text_of(row, at["text"])}


TEXT = DatasetFormat(
    name="text",
    title="Raw text",
    dataset_type="language_modeling",
    columns=("text",),
    aliases={"text": ("content", "文本", "内容", "正文")},
    never_with=("role", "from"),  # one message a row: its conversation would be torn apart
    convert=convert,
    sample_row={"text": "The puffin is a sea bird."},
)
