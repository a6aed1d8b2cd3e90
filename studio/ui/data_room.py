"""What the Data tab's events and routes share: the desk that works, the library, and how an import is done again."""

import os
import re
import sys
import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.base_models import model_folder
from studio.data.audit.contract import Finding
from studio.data.dataset import SOURCE, DatasetRecord
from studio.data.desk import Desk
from studio.data.isolation import render_examples
from studio.data.library import Library
from studio.data.mapping import ColumnMapping
from studio.data.steps import Step
from studio.errors import UserError
from studio.jobs.studio import Studio

IMPORTS_REMEMBERED = 200
LONGEST_PASTE = 5_000_000  # characters
LONGEST_LENGTH = 1_000_000  # tokens
ROWS_RENDERED = 20  # at once
COLUMN_NAME = re.compile(r"[\w\"'][\w \-\"']{0,40}")
PASTE_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".md")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """An import as the user wants it."""

    files: tuple[Path, ...]
    name: str = ""
    format_name: str = ""
    encoding: str = ""
    mapping: ColumnMapping | None = None
    drop_bad_rows: bool = False


@dataclass(frozen=True, kw_only=True)
class Look:
    """With what a data set is audited: a base model, a chat template, a length."""

    model: str = "starter"
    template: str = "model"
    max_length: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.max_length <= LONGEST_LENGTH or self.template not in ("model", "plain"):
            raise UserError("The length or the template cannot be.", "Choose a length above 0, and model or plain.")


@dataclass
class DataRoom:
    """One a studio. All ids come from a browser and are checked where they become a path."""

    studio: Studio
    desk: Desk = field(init=False)
    library: Library = field(init=False)
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.desk, self.library = Desk(self.studio.workspace), Library(self.studio.workspace)

    # ---- imports ----

    def start(self, wish: Wish) -> str:
        """Begin an import; the task's id."""
        options = {name: value for name, value in vars(wish).items() if name != "files"}
        task = self.desk.start_import(list(wish.files), **options)
        self._remember(task, wish)
        return task

    def start_uploaded(self, paths: Sequence[str]) -> str:
        """Begin the import of files that a browser uploaded: together they are one data set. Raises UserError."""
        return self.start(Wish(files=tuple(self.studio.workspace.uploaded_file(path) for path in paths)))

    def start_pasted(self, text: str, suffix: str) -> str:
        """Begin the import of a pasted text; "" takes its kind by its content. Raises UserError."""
        if not text.strip():
            raise UserError("There is no text yet.", "Paste some rows first.")
        if len(text) > LONGEST_PASTE:
            raise UserError("That is too much text to paste.", "Save it as a file and upload that.")
        if suffix and suffix not in PASTE_SUFFIXES:
            raise UserError(f"{suffix[:20]!r} cannot be pasted.", f"Choose one of {', '.join(PASTE_SUFFIXES)}.")
        file = self.studio.workspace.new_upload(f"paste{suffix or kind_of_text(text)}")
        try:
            file.write_bytes(text.encode())
        except UnicodeEncodeError:
            raise UserError("The text holds half of a character.", "Copy it again.") from None
        return self.start(Wish(files=(file,)))

    def start_hub(self, hub_id: str, *, subset: str, split: str, limit: int) -> str:
        """Begin to fetch rows of the Hub; what came can be read again in another way."""
        file = self.studio.workspace.new_upload(f"{hub_id.replace('/', '-')[:120]}.jsonl")
        task = self.desk.start_hub_import(hub_id, file, subset=subset, split=split, limit=limit)
        self._remember(task, Wish(files=(file,)))
        return task

    def start_file(self, file: Path) -> str:
        """Begin the import of a file of this machine that may be read."""
        return self.start(Wish(files=(file,)))

    def name_of(self, task: str) -> str:
        """What an import reads, for the page; "" when that is not known any more."""
        with self._lock:
            wish = self._wishes.get(task)
        if wish is None:
            return ""
        more = f" + {len(wish.files) - 1}" if len(wish.files) > 1 else ""
        return wish.files[0].name + more

    def start_again(self, task: str, **changes: Any) -> str:
        """Begin an import once more with other options. Raises UserError when its file is gone."""
        with self._lock:
            wish = self._wishes.get(task)
        if wish is None or not all(file.is_file() for file in wish.files):
            raise UserError("That file is not here any more.", "Choose the file again.")
        return self.start(replace(wish, **changes))

    def start_from_source(self, dataset_id: str, **changes: Any) -> str:
        """Begin an import of a data set's own file with another format; it becomes a new data set."""
        record = self.library.record(dataset_id)
        options = {"encoding": record.encoding, "drop_bad_rows": bool(record.dropped_rows), **changes}
        return self.start(Wish(files=self._sources(record), name=record.name, **options))

    def _sources(self, record: DatasetRecord) -> tuple[Path, ...]:
        """The files that a data set was made of, under their names again."""
        kept = sorted((self.studio.workspace.dataset(record.id) / SOURCE).iterdir())
        first = record.source_name.rpartition(" + ")[0] or record.source_name
        files = []
        for number, file in enumerate(kept):
            name = first if not number else f"{Path(first).stem}-{number + 1}{file.suffix}"
            files.append(self.studio.workspace.new_upload(name))
            os.link(file, files[-1])
        return tuple(files)

    def _remember(self, task: str, wish: Wish) -> None:
        with self._lock:
            self._wishes[task] = wish
            while len(self._wishes) > IMPORTS_REMEMBERED:
                del self._wishes[next(iter(self._wishes))]

    # ---- audits ----

    def start_audit(self, dataset_id: str, look: Look) -> str:
        """Begin an audit; the task's id."""
        return self.desk.start_audit(
            dataset_id,
            base_model=look.model,
            model_folder=self.model_folder(look.model),
            chat_template=look.template,
            max_length=look.max_length,
        )

    def report(self, dataset_id: str, look: Look) -> dict[str, Any]:
        """A finished audit at a max_length. Raises UserError when there is none yet."""
        folder = self.model_folder(look.model)
        return self.desk.recount(dataset_id, look.model, folder, look.template, look.max_length)

    def steps(self, dataset_id: str) -> list[Step]:
        """What the user has decided about a data set, in order."""
        return [Step(**step) for step in self.library.current(dataset_id)["steps"]]

    def finding(self, dataset_id: str, look: Look, code: str) -> Finding:
        """One finding of the audit, with all its rows. Raises UserError."""
        for entry in self.report(dataset_id, look)["findings"]:
            if entry["code"] == code:
                return Finding(**entry)
        raise UserError("That is no longer found.", "Look at the findings again.")

    def model_folder(self, model: str) -> Path:
        """Where a base model lies. Raises UserError when it is not on this machine."""
        folder = model_folder(model.strip(), self.studio.workspace.models, self.studio.model_roots)
        if folder is None:
            raise UserError(
                f"{model} is not on this machine yet.", "Its template can be shown after the first training."
            )
        return folder

    def tokens(self, dataset_id: str, rows: Sequence[int], look: Look) -> list[dict[str, Any]]:
        """Rows as the model sees them: [{"row", "dropped", "changed", "sequences" or "error"}]. Raises UserError."""
        if len(rows) > ROWS_RENDERED:
            raise UserError("That is too much at once.", f"Ask for {ROWS_RENDERED} rows at most.")
        told = [self.library.row(dataset_id, row) for row in rows]
        there = [one["example"] for one in told if one["example"] is not None]
        shown = iter(self._render(there, look))
        return [
            {"row": one["row"], "dropped": one["dropped"], "changed": one["changed"]}
            | (next(shown) if one["example"] is not None else {"sequences": []})
            for one in told
        ]

    def numbers_from(self, dataset_id: str, start: int, count: int, *, back: bool) -> dict[str, Any]:
        """{"rows", "total", "first", "last"}: numbers of rows that are trained, from `start` on or before it."""
        every = self.library.numbers(dataset_id, offset=0, limit=sys.maxsize)
        at = bisect_left(every, start)
        rows = every[max(0, at - count) : at] if back else every[at : at + count]
        return {"rows": rows, "total": len(every), "first": every[0], "last": every[-1]}

    def _render(self, examples: list[Any], look: Look) -> list[dict[str, Any]]:
        """Every example for itself when one of them is refused by the template."""
        if not examples:
            return []
        folder = self.model_folder(look.model)
        options: dict[str, Any] = {"chat_template": look.template, "max_length": look.max_length}
        try:
            return [{"sequences": some} for some in render_examples(examples, folder, **options)]
        except UserError as error:
            if len(examples) == 1:
                return [{"sequences": [], "error": {"message": error.message, "hint": error.hint}}]
        return [told for example in examples for told in self._render([example], look)]

    # ---- deleting ----

    def delete(self, dataset_id: str) -> None:
        """Delete a data set. Raises UserError while a job needs it."""
        for view in self.studio.store.views():
            if view.status != "completed" and dataset_id in used_by(view.spec.model_dump()):
                raise UserError(f"The job {view.name!r} uses this data set.", "Delete that job first.")
        self.library.delete(dataset_id)


def used_by(spec: Mapping[str, Any]) -> set[str]:
    """The ids of all data sets that a spec names."""
    references = [value for key, value in spec.items() if key.endswith("dataset") and isinstance(value, dict)]
    return {str(reference["id"]) for reference in references}


def kind_of_text(text: str) -> str:
    """The ending that suits a pasted text: JSON by its first character, a table by its first line."""
    start = text.lstrip()
    if start[0] in "[{":
        return ".jsonl"
    head, _, rest = start.partition("\n")
    for separator, suffix in (("\t", ".tsv"), (",", ".csv")):
        cells = head.strip().split(separator)
        if len(cells) > 1 and rest.strip() and all(COLUMN_NAME.fullmatch(cell) for cell in cells):
            return suffix
    return ".txt"
