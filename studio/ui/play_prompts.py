"""What happens to a list of prompts: read from a file, asked of the columns' models."""

from typing import Any

from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.batch import Asked, BatchDesk
from studio.playground.prompts import LONGEST_LIST, read_prompts
from studio.ui.panes import thought_apart
from studio.ui.play_page import Values, menu

BYTES_A_CHARACTER = 4


class PromptHandlers:
    """What happens on the events of the prompt list."""

    def __init__(self, studio: Studio, desk: BatchDesk) -> None:
        self._studio, self._desk = studio, desk

    def take_file(self, path: str | None) -> str:
        """An uploaded file → its text. Raises UserError when it is no list of prompts."""
        file = self._studio.workspace.uploaded_file(path or "")
        if file.stat().st_size > LONGEST_LIST * BYTES_A_CHARACTER:
            raise UserError("That file is too large for a list of prompts.", f"Up to {LONGEST_LIST:,} characters fit.")
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise UserError("The file is not UTF-8 text.", "Save it as UTF-8.") from None
        read_prompts(text)  # what is wrong with it is told now
        return text

    def view(self, batch_id: str, since: int = -1) -> dict[str, Any]:
        """How far a table is, and its rows from `since` on, what the models thought first apart. Raises UserError."""
        told = self._desk.get(batch_id).view(since)
        for cell in (cell for row in told["rows"] for cell in row["cells"] if cell):
            cell["thought"], cell["text"] = thought_apart(cell["text"])
        return told

    def run(self, text: str | None, *values: Any) -> dict[str, str]:
        """The list → the table that fills. Raises UserError."""
        prompts = read_prompts(text or "")
        titles = {value: label for label, value in menu(self._studio, None, checkpoints=True)}
        visible = Values.of(values).comparison().visible
        models = [Asked(titles.get(one.choice, one.choice), one.choice, one.drawn) for one in visible]
        return {"batch": self._desk.start(prompts, models)}
