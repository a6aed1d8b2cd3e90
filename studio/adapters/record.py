"""What is known about an adapter that was brought in, and the shelf of all of them in a workspace."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.errors import UserError
from studio.workspace import Workspace, read_json, write_json

RECORD = "record.json"
LONGEST_NAME = 80
SourceKind = Literal["upload", "folder", "hub"]


class ImportSource(BaseModel):
    """Where it came from: a file's, a folder's or a repository's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SourceKind
    name: str = Field(max_length=300)


class AdapterRecord(BaseModel):
    """record.json. `says_base`: the base model that its own file names; `tokenizer`: "own" or the "base"'s."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    base_model: str
    source: ImportSource
    created: str
    tuner: str
    files: list[str]
    bytes: int
    says_base: str = ""
    tokenizer: Literal["own", "base"] = "base"
    left_out: list[str] = []


@dataclass(frozen=True)
class ImportedAdapters:
    """The adapters below adapters/ of a workspace. Every id is checked before it becomes a path."""

    workspace: Workspace

    def records(self) -> list[AdapterRecord]:
        """All whose record can be read, the newest first; see `unreadable` for the others."""
        found = [found for _, found in self._read() if isinstance(found, AdapterRecord)]
        return sorted(found, key=lambda record: record.created, reverse=True)

    def unreadable(self) -> dict[str, str]:
        """Id → why its record cannot be read."""
        return {adapter_id: str(found) for adapter_id, found in self._read() if isinstance(found, UserError)}

    def _read(self) -> Iterator[tuple[str, AdapterRecord | UserError]]:
        for entry in self.workspace.adapters.iterdir():
            if entry.name[0] != "." and (entry / RECORD).is_file():
                try:
                    yield entry.name, self.record(entry.name)
                except UserError as error:  # one damaged record must not hide the rest
                    yield entry.name, error

    def record(self, adapter_id: str) -> AdapterRecord:
        """One of them. Raises UserError when there is none, or its record is damaged."""
        try:
            value = read_json(self._folder(adapter_id) / RECORD)
            if value is None:
                raise UserError(f"There is no imported adapter {adapter_id!r}.", "Choose one from the list.")
            return AdapterRecord(**value)
        except (TypeError, ValueError):
            raise UserError(f"The record of the adapter {adapter_id} is damaged.", "Bring it in again.") from None

    def rename(self, adapter_id: str, name: str) -> AdapterRecord:
        """Call it something else; its id stays. Raises UserError."""
        renamed = self.record(adapter_id).model_copy(update={"name": checked_name(name)})
        write_json(self._folder(adapter_id) / RECORD, renamed.model_dump())
        return renamed

    def remove(self, adapter_id: str) -> None:
        """Delete it. Jobs and their adapters are never touched. Raises UserError when it is none of these."""
        if not (self._folder(adapter_id) / RECORD).is_file():
            raise UserError(f"There is no imported adapter {adapter_id!r}.", "Choose one from the list.")
        self.workspace.discard(self._folder(adapter_id))

    def _folder(self, adapter_id: str) -> Path:
        return self.workspace.adapter(adapter_id)


def checked_name(name: str) -> str:
    """A name for people. Raises UserError for an empty one, a very long one, or one with control characters."""
    told = " ".join(name.split())
    if not told or len(told) > LONGEST_NAME or not told.isprintable():
        raise UserError(f"A name has 1 to {LONGEST_NAME} characters.", "Write another one.")
    return told
