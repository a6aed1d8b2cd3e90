"""Conversations and comparisons that were saved: one JSON file each in the workspace, listed by name."""

import itertools
import re
import threading
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
        self._workspace, self._lock = workspace, threading.Lock()

    def save(self, comparison: Comparison, name: str) -> Comparison:
        """Keep it under its id; under a new one where that would replace what another saved. Returns what was kept.

        What columns hold that are not shown is kept too. Raises UserError when there is nothing.
        """
        if not any(column.conversation.turns for column in comparison.visible):
            raise UserError("There is nothing to save yet.", "Ask something first.")
        title = tidy(name) or comparison.name or tidy(first_question(comparison)[:NAMED_AFTER])
        used = [number for number, column in enumerate(comparison.columns, 1) if column.conversation.turns]
        columns = comparison.columns[: max(comparison.shown, *used)]
        with self._lock:  # between looking and writing nobody else saves
            known = self._known(comparison.id)
            mine = known is not None and known.revision == comparison.revision
            kept_id = comparison.id if mine else new_id("chat")
            if known is not None and not mine and title == known.name:
                title = self._next_name(title)
            told = {"id": kept_id, "name": title or kept_id, "revision": (comparison.revision or 0) + 1 if mine else 1}
            kept = comparison.model_copy(update={**told, "columns": columns})
            write_json(self._workspace.conversation(kept_id), kept.model_dump())
        return kept

    def _known(self, saved_id: str) -> Comparison | None:
        """What is saved under an id; None when nothing is that can be read."""
        return next((self.read(one.id) for one in self.list() if one.id == saved_id), None)

    def _next_name(self, name: str) -> str:
        """The name with the first number that none has yet."""
        taken = {one.name for one in self.list()}
        endings = (f" ({number})" for number in itertools.count(2))
        return next(new for ending in endings if (new := name[: NAME_LENGTH - len(ending)] + ending) not in taken)

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
        with self._lock:
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
