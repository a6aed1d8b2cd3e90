"""Conversations and comparisons that were saved: one JSON file each in the workspace, listed by name."""

import re
from dataclasses import dataclass

from pydantic import ValidationError

from studio.data.sources.contract import printable
from studio.errors import UserError
from studio.playground.conversations import Comparison
from studio.workspace import Workspace, new_id, read_json, write_json

NAME_LENGTH = 80  # characters
NAMED_AFTER = 48  # characters of the first question


@dataclass(frozen=True)
class Saved:
    """One entry of the list. `changed`: seconds since 1970."""

    id: str
    name: str
    columns: int
    changed: float


class SavedComparisons:
    """What is saved in one workspace. Every id is checked before it becomes a path."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def save(self, comparison: Comparison, name: str) -> Comparison:
        """Keep it under its id, or under a new one; returns what was kept. Raises UserError when there is nothing."""
        if not any(column.conversation.turns for column in comparison.visible):
            raise UserError("There is nothing to save yet.", "Ask something first.")
        known = comparison.id and self._workspace.conversation(comparison.id).is_file()
        kept_id = comparison.id if known else new_id("chat")
        title = tidy(name) or comparison.name or tidy(first_question(comparison)[:NAMED_AFTER])
        columns = comparison.visible
        kept = comparison.model_copy(update={"id": kept_id, "name": title or kept_id, "columns": columns})
        write_json(self._workspace.conversation(kept_id), kept.model_dump())
        return kept

    def read(self, saved_id: str) -> Comparison:
        """One of them. Raises UserError when there is none, or it cannot be read."""
        try:
            value = read_json(self._workspace.conversation(saved_id))
            if value is None:
                raise UserError("This conversation was deleted.", "Choose another from the list.")
            return Comparison.model_validate(value).model_copy(update={"id": saved_id})
        except (ValidationError, ValueError):
            raise UserError(f"The saved conversation {saved_id} cannot be read.", "Delete it.") from None

    def list(self) -> list[Saved]:
        """All that can be read, the newest first."""
        found = []
        for file in self._workspace.conversations.glob("*.json"):
            try:
                one = self.read(file.stem)
            except UserError:  # one damaged file must not hide the rest
                continue
            found.append(Saved(file.stem, one.name, one.shown, file.stat().st_mtime))
        return sorted(found, key=lambda saved: saved.changed, reverse=True)

    def rename(self, saved_id: str, name: str) -> Comparison:
        """Give it another name. Raises UserError when the name is blank."""
        title = tidy(name)
        if not title:
            raise UserError("The name is empty.", "Write a name.")
        kept = self.read(saved_id).model_copy(update={"name": title})
        write_json(self._workspace.conversation(saved_id), kept.model_dump())
        return kept

    def delete(self, saved_id: str) -> None:
        """Delete it. Raises UserError when there is none."""
        file = self._workspace.conversation(saved_id)
        if not file.is_file():
            raise UserError("This conversation was deleted.", "Choose another from the list.")
        file.unlink()


def tidy(name: str) -> str:
    """A name on one line, without characters that cannot be seen."""
    return re.sub(r"\s+", " ", printable(name or "")).strip()[:NAME_LENGTH]


def first_question(comparison: Comparison) -> str:
    """What was asked first; "" where nothing was."""
    return next((turn.content for column in comparison.visible for turn in column.conversation.shown()), "")
