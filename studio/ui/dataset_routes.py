"""/api/datasets: what the Data tab asks for and does. GET changes nothing; text goes out as JSON, never as markup."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from studio.base_models import STARTER
from studio.data.examples import RowError
from studio.data.formats import FORMATS
from studio.data.mapping import ColumnMapping
from studio.data.sources import ENCODINGS
from studio.ui.data_room import ROWS_RENDERED, DataRoom, Look
from studio.ui.data_words import told_current, told_reason, told_report
from studio.ui.dataset_requests import Changes, HubWish, LookWish, Mapped, Pasted, ServerFile, StepWish, filled
from studio.ui.i18n import language_of, words
from studio.ui.menus import base_model_choices
from studio.ui.refusals import told_view
from studio.ui.server_folder import list_folder, offered_file
from studio.workspace import ORIGIN, read_json

LookAsked = Annotated[Look, Depends()]


class DatasetRoutes:
    """The routes below /api/datasets. All are plain functions: they run beside the event loop, not in it."""

    def __init__(self, room: DataRoom) -> None:
        self._room = room

    def router(self) -> APIRouter:
        """All of them, to be included in the application; the fixed ones before those with an id."""
        router = APIRouter(prefix="/api/datasets")
        router.get("/menus")(self.menus)
        router.get("/folder")(self.folder)
        router.get("/tasks/{task_id}")(self.task)
        router.post("/tasks/{task_id}/cancel")(self.cancel)
        router.post("/tasks/{task_id}/again")(self.again)
        router.post("/hub")(self.hub)
        router.post("/paste")(self.paste)
        router.post("/file")(self.file)
        router.post("/mapping")(self.mapping)
        router.get("/{dataset_id}")(self.about)
        router.get("/{dataset_id}/rows")(self.rows)
        router.get("/{dataset_id}/rows/{row}")(self.row)
        router.get("/{dataset_id}/neighbours")(self.neighbours)
        router.get("/{dataset_id}/tokens")(self.tokens)
        router.get("/{dataset_id}/report")(self.report)
        router.get("/{dataset_id}/cleaned.jsonl")(self.jsonl)
        router.get("/{dataset_id}/cleaned.csv")(self.csv)
        router.post("/{dataset_id}/again")(self.again_from_source)
        router.post("/{dataset_id}/audit")(self.audit)
        router.post("/{dataset_id}/steps")(self.apply)
        router.post("/{dataset_id}/steps/{position}/undo")(self.undo)
        router.post("/{dataset_id}/delete")(self.delete)
        return router

    # ---- menus and sources ----

    def menus(self, request: Request) -> dict[str, Any]:
        """Models, formats with their parts, encodings: what the page's menus offer."""
        table = words(language_of(request.headers))
        formats = [
            {
                "name": one.name,
                "title": table[f"format.{one.name}"],
                "parts": one.parts,
                "needed": one.columns,
                "either": one.either,
            }
            for one in FORMATS.values()
        ]
        models = [{"title": title, "name": name} for title, name in base_model_choices(self._room.studio)]
        return {"formats": formats, "models": models, "encodings": list(ENCODINGS), "starter": STARTER}

    def folder(self, root: int = 0, path: str = "") -> dict[str, Any]:
        """A folder that the operator offers."""
        return list_folder(self._room.studio.settings.data_roots, root, path)

    def hub(self, wish: HubWish) -> dict[str, str]:
        """Begin to fetch rows of the Hub."""
        options: dict[str, Any] = {"subset": wish.subset, "split": wish.split, "limit": wish.limit}
        return {"task": self._room.start_hub(wish.id.strip(), **options)}

    def paste(self, pasted: Pasted) -> dict[str, str]:
        """Begin the import of a pasted text."""
        return {"task": self._room.start_pasted(pasted.text, pasted.kind)}

    def file(self, asked: ServerFile) -> dict[str, str]:
        """Begin the import of a file of this machine."""
        file = offered_file(self._room.studio.settings.data_roots, asked.root, asked.path)
        return {"task": self._room.start_file(file)}

    def mapping(self, mapped: Mapped) -> dict[str, Any]:
        """What a mapping makes of some rows: {"examples": [example or {"problem": …}]}. Raises UserError."""
        mapping = ColumnMapping(format=mapped.format, columns=filled(mapped.columns))
        return {"examples": [tried(mapping, row) for row in mapped.rows]}

    # ---- tasks ----

    def task(self, task_id: str, request: Request) -> dict[str, Any]:
        """How far an import or an audit is; the report of an audit is fetched for itself."""
        view = told_view(self._room.desk.view(task_id), language_of(request.headers))
        return {**view, "result": None} if view["kind"] == "audit" else {**view, "name": self._room.name_of(task_id)}

    def cancel(self, task_id: str) -> dict[str, str]:
        """Do not go on."""
        self._room.desk.cancel(task_id)
        return {"done": "cancel"}

    def again(self, task_id: str, changes: Changes) -> dict[str, str]:
        """Import a task's files once more, with other options."""
        return {"task": self._room.start_again(task_id, **changes.options())}

    # ---- one data set ----

    def about(self, dataset_id: str, request: Request) -> dict[str, Any]:
        """Its record, and what the steps leave of it."""
        record, language = self._room.library.record(dataset_id), language_of(request.headers)
        current = self._room.library.current(dataset_id)
        return {
            "record": {**record.model_dump(), "reason": told_reason(record.reason, language)},
            "title": words(language)[f"format.{record.format}"],
            "current": told_current(current),
            "origin": read_json(self._room.studio.workspace.dataset(dataset_id) / ORIGIN),
        }

    def rows(
        self,
        dataset_id: str,
        look: LookAsked,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        search: Annotated[str, Query(max_length=1000)] = "",
        sort: Literal["row", "characters"] = "row",
        descending: bool = False,
        finding: str = "",
    ) -> dict[str, Any]:
        """A page of the table; only the rows of a finding when one is named."""
        only = self._room.finding(dataset_id, look, finding).rows if finding else ""
        options: dict[str, Any] = {"search": search, "sort": sort, "descending": descending, "only": only}
        return self._room.library.page(dataset_id, offset=offset, limit=limit, **options)

    def row(self, dataset_id: str, row: int) -> dict[str, Any]:
        """One row: as it stands in the file, and its example."""
        return self._room.library.row(dataset_id, row)

    def neighbours(self, dataset_id: str, row: int, back: bool = False) -> dict[str, Any]:
        """The number of the row before or behind one, in a list that is empty at the end."""
        return {"rows": self._room.numbers_from(dataset_id, row if back else row + 1, 1, back=back)["rows"]}

    def tokens(
        self,
        dataset_id: str,
        look: LookAsked,
        row: int = 0,
        start: int = 1,
        count: Annotated[int, Query(ge=1, le=ROWS_RENDERED)] = 5,
        back: bool = False,
    ) -> dict[str, Any]:
        """One row token by token, or `count` of those that are trained, from (or, `back`, before) a number on."""
        there = self._room.numbers_from(dataset_id, start, count, back=back)
        return {**there, "rows": self._room.tokens(dataset_id, [row] if row else there["rows"], look)}

    def again_from_source(self, dataset_id: str, changes: Changes) -> dict[str, str]:
        """Import a data set's own file once more, in another format: it becomes another data set."""
        return {"task": self._room.start_from_source(dataset_id, **changes.options())}

    # ---- the audit and its remedies ----

    def audit(self, dataset_id: str, wish: LookWish) -> dict[str, str]:
        """Begin an audit."""
        return {"task": self._room.start_audit(dataset_id, wish.look())}

    def report(self, dataset_id: str, look: LookAsked, request: Request) -> dict[str, Any]:
        """A finished audit, in words."""
        steps = self._room.steps(dataset_id)
        return told_report(self._room.report(dataset_id, look), steps, language_of(request.headers))

    def apply(self, dataset_id: str, wish: StepWish) -> dict[str, Any]:
        """Apply a remedy."""
        finding = self._room.finding(dataset_id, wish.look(), wish.finding)
        return told_current(self._room.library.apply(dataset_id, finding, wish.remedy, wish.rows))

    def undo(self, dataset_id: str, position: int) -> dict[str, Any]:
        """Take a step back."""
        return told_current(self._room.library.undo(dataset_id, position))

    # ---- downloads and the end ----

    def jsonl(self, dataset_id: str) -> StreamingResponse:
        """The cleaned data set, one example a line."""
        return self._download(dataset_id, self._room.library.jsonl(dataset_id), "jsonl", "application/x-ndjson")

    def csv(self, dataset_id: str) -> StreamingResponse:
        """The cleaned data set as a table."""
        return self._download(dataset_id, self._room.library.csv(dataset_id), "csv", "text/csv; charset=utf-8")

    def delete(self, dataset_id: str) -> dict[str, str]:
        """Delete a data set that no job needs."""
        self._room.delete(dataset_id)
        return {"done": "delete"}

    def _download(self, dataset_id: str, lines: Iterator[bytes], ending: str, kind: str) -> StreamingResponse:
        record = self._room.library.record(dataset_id)  # an unknown id is told before anything is sent
        name = quote(f"{record.name}.{ending}", safe="")
        disposition = f"attachment; filename=\"{record.id}.{ending}\"; filename*=UTF-8''{name}"
        return StreamingResponse(lines, media_type=kind, headers={"content-disposition": disposition})


def tried(mapping: ColumnMapping, row: dict[str, Any]) -> dict[str, Any]:
    """What a mapping makes of a row, or what is wrong with it."""
    try:
        return {"example": mapping.to_example(row)}
    except RowError as error:
        return {"problem": {"column": error.column, "message": error.message, "hint": error.hint}}
