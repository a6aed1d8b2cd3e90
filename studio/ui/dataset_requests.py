"""What a browser may ask /api/datasets to do: the bodies of its POST requests."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.data.audit.contract import Remedy
from studio.data.formats import FORMATS
from studio.data.mapping import ColumnMapping
from studio.data.sources import ENCODINGS
from studio.errors import UserError
from studio.ui.data_room import Look

Body = ConfigDict(extra="forbid")


class HubWish(BaseModel):
    """A data set of the Hub, or its first rows."""

    model_config = Body
    id: str = Field(max_length=200)
    subset: str = Field(default="", max_length=200)
    split: str = Field(default="train", max_length=100)
    limit: int = Field(default=1000, ge=1, le=10_000_000)


class Pasted(BaseModel):
    """A text from the clipboard; `kind` is an ending, "" by its content."""

    model_config = Body
    text: str
    kind: str = ""


class ServerFile(BaseModel):
    """A file below one of the operator's folders."""

    model_config = Body
    root: int
    path: str = Field(max_length=4000)


class Changes(BaseModel):
    """What is to be different when a file is imported once more."""

    model_config = Body
    format: str = ""
    encoding: str = ""
    columns: dict[str, str] | None = None
    drop_bad_rows: bool | None = None

    def options(self) -> dict[str, Any]:
        """As `Wish` spells them. Raises UserError for a mapping that cannot be."""
        if self.format and self.format not in FORMATS:
            raise UserError(f"There is no format {self.format[:40]!r}.", f"Choose one of {', '.join(FORMATS)}.")
        if self.encoding and self.encoding not in ENCODINGS:
            raise UserError(f"There is no encoding {self.encoding[:40]!r}.", "Choose one of the list.")
        changed: dict[str, Any] = {}
        if self.columns is not None:
            changed |= {"mapping": ColumnMapping(format=self.format, columns=filled(self.columns)), "format_name": ""}
        elif self.format:
            changed |= {"format_name": self.format, "mapping": None}
        if self.encoding:
            changed["encoding"] = self.encoding
        if self.drop_bad_rows is not None:
            changed["drop_bad_rows"] = self.drop_bad_rows
        return changed


class Mapped(BaseModel):
    """A mapping to try on some rows."""

    model_config = Body
    format: str
    columns: dict[str, str]
    rows: list[dict[str, Any]] = Field(max_length=20)


class LookWish(BaseModel):
    """With what to audit."""

    model_config = Body
    model: str = Field(default="starter", max_length=400)
    template: Literal["model", "plain"] = "model"
    max_length: int = 512

    def look(self) -> Look:
        return Look(model=self.model, template=self.template, max_length=self.max_length)


class StepWish(LookWish):
    """A remedy for all rows of a finding, or for some of them (spans)."""

    finding: str
    remedy: Remedy
    rows: str | None = None


def filled(columns: dict[str, str]) -> dict[str, str]:
    """The parts for which a column is chosen."""
    return {part: column for part, column in columns.items() if column}
