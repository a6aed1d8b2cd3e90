"""The method guide: small tables that stand beside the choice they explain, in two languages, from guide.yaml."""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

Text = dict[Literal["en", "zh"], str]


class Topic(BaseModel):
    """One table. `rows` have one text for each of `columns`; a plain text is the same in both languages.

    `today`: where the document behind `section` is wrong or dated, and what is so today.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    section: str
    title: Text
    why: Text
    columns: list[Text | str]
    rows: list[list[Text | str]]
    today: list[Text] = []

    @model_validator(mode="after")
    def _rectangular(self) -> "Topic":
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a row has not as many cells as there are columns")
        return self

    def told(self, language: Literal["en", "zh"]) -> dict[str, Any]:
        """The topic in one language: {section, title, why, columns, rows, today}."""
        return {
            "section": self.section,
            "title": self.title[language],
            "why": self.why[language],
            "columns": [_say(text, language) for text in self.columns],
            "rows": [[_say(text, language) for text in row] for row in self.rows],
            "today": [text[language] for text in self.today],
        }


@cache
def read_guide() -> dict[str, Topic]:
    """Every topic by its name, in the order of the file."""
    read = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: Topic(**topic) for name, topic in read.items()}


def _say(text: Text | str, language: Literal["en", "zh"]) -> str:
    return text if isinstance(text, str) else text[language]
