"""What happens to conversations that are kept: save, open, rename, delete, export; and what a link opens."""

import json
import shutil
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from studio.data.isolation import import_file
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.playground.conversations import MOST_COLUMNS, Comparison, Drawn, export_rows
from studio.playground.saved import SavedComparisons
from studio.ui.feedback import show_error
from studio.ui.i18n import say
from studio.ui.menus import dataset_choice
from studio.ui.play_page import (
    DRAWN,
    Choices,
    PageState,
    Values,
    chosen,
    menu,
    messages_shown,
    notes_told,
    with_unknown,
)


class SavedHandlers:
    """`everything` are the outputs (state, count, separate, *shared, *choices, *own, name, saved, *chats)."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._saved = SavedComparisons(studio.workspace)

    # ---- arriving ----

    def land(self, request: gr.Request) -> tuple[Any, ...]:
        """The page opens → everything, with the comparison or adapter that its address names."""
        wanted = request.query_params.get("comparison")
        if wanted:
            try:
                lent = self._saved.read(wanted).model_copy(update={"revision": None})
                return self._everything(lent, request)
            except UserError as error:
                show_error(error)
        choices = menu(self._studio, request)
        values = chosen(choices, (), request.query_params.get("adapter"))
        menus = [gr.Dropdown(choices=choices, value=value) for value in values]
        kept: list[Any] = [gr.skip()] * (3 + len(DRAWN))
        own: list[Any] = [gr.skip()] * (MOST_COLUMNS * len(DRAWN))
        chats: list[Any] = [gr.skip()] * MOST_COLUMNS
        return *kept, *menus, *own, gr.skip(), self.list(None), *chats

    def arrive(self, checkpoints: bool, request: gr.Request, *shown: str | None) -> list[Any]:
        """The tab opens, or checkpoints are wanted → the menus as they are now; what they show stays where it can."""
        choices = menu(self._studio, request, checkpoints=bool(checkpoints))
        if request.query_params.get("comparison") and not any(shown):
            return [gr.skip()] * MOST_COLUMNS  # the page is about to be filled
        every = choices if checkpoints else menu(self._studio, request, checkpoints=True)
        labels = {value: label for label, value in every}
        ids = {value for _, value in choices}
        kept = dict.fromkeys(one for one in shown if one in labels and one not in ids)
        choices += [(labels[value], value) for value in kept]  # a checkpoint that a column shows
        values = chosen(choices, shown, request.query_params.get("adapter"))
        return [
            gr.Dropdown(choices=choices) if value == before else gr.Dropdown(choices=choices, value=value)
            for value, before in zip(values, shown, strict=True)
        ]

    # ---- the list ----

    def list(self, value: str | None) -> gr.Dropdown:
        """The menu of what is saved."""
        choices = [(_title(one.name, one.columns), one.id) for one in self._saved.list()]
        return gr.Dropdown(choices=choices, value=value if value in [one for _, one in choices] else None)

    def save(self, request: gr.Request, name: str | None, *values: Any) -> tuple[Any, ...]:
        """The button → (state with its id, the name, the menu). A new one beside another's is said to be one."""
        wanted = Values.of(values).comparison()
        kept = self._saved.save(wanted, name or "")
        if wanted.id != kept.id and wanted.id in self._ids():
            gr.Info(escape(say("play_saved_new", request).format(name=kept.name)), title="", duration=8)
        page = PageState.of(values[0])
        page.comparison = kept
        return page.told(), kept.name, self.list(kept.id)

    def _ids(self) -> set[str]:
        return {one.id for one in self._saved.list()}

    def open(self, saved_id: str | None, request: gr.Request) -> tuple[Any, ...]:
        """The button → everything as it was saved. Raises UserError."""
        return self._everything(self._saved.read(_selected(saved_id)), request)

    def rename(self, saved_id: str | None, name: str | None, state: Any) -> tuple[Any, ...]:
        """The button → (state, the menu with the new name)."""
        kept = self._saved.rename(_selected(saved_id), name or "")
        page = PageState.of(state)
        if page.comparison.id == kept.id:
            page.comparison.name = kept.name
        return page.told(), self.list(kept.id)

    def delete(self, saved_id: str | None, state: Any) -> tuple[Any, ...]:
        """The button → (state, the menu without it). What is on the page stays there, unsaved."""
        self._saved.delete(_selected(saved_id))
        page = PageState.of(state)
        if page.comparison.id == saved_id:
            page.comparison.id = ""
        return page.told(), self.list(None)

    # ---- a data set of it ----

    def export(self, request: gr.Request, name: str | None, *values: Any) -> gr.Dropdown:
        """What the columns show as a data set → the Data tab's menu with it chosen."""
        comparison = Values.of(values).comparison()
        return self._import([comparison], name or comparison.name or say("tab_playground", request), request)

    def export_all(self, request: gr.Request) -> gr.Dropdown:
        """Everything that is saved as a data set → the Data tab's menu with it chosen."""
        found = [self._saved.read(one.id) for one in self._saved.list()]
        return self._import(found, say("play_saved", request), request)

    def _import(self, comparisons: Sequence[Comparison], name: str, request: gr.Request) -> gr.Dropdown:
        rows = export_rows(list(comparisons))
        if not rows:
            raise UserError("There is no answer to export.", "Ask something; what was cut or stopped is left out.")
        file = self._studio.workspace.new_upload("conversations.jsonl")
        try:
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            verdict = import_file(file, self._studio.workspace, name=name, format_name="messages")
        finally:
            shutil.rmtree(file.parent, ignore_errors=True)
        if verdict.record is None:
            problem = verdict.errors[0]
            raise UserError(f"The conversations are not a data set: {problem['message']}", str(problem["hint"]))
        told = say("play_exported", request).format(rows=len(rows), name=verdict.record.name)
        gr.Info(escape(told), title="", duration=6)
        return dataset_choice(self._studio, verdict.record.id)

    def _everything(self, comparison: Comparison, request: gr.Request) -> tuple[Any, ...]:
        every = menu(self._studio, request, checkpoints=True)
        columns = comparison.columns
        values = chosen(every, [column.choice for column in columns], None)
        values[: len(columns)] = [column.choice for column in columns]
        plain = {choice for _, choice in menu(self._studio, request)} | set(values)
        known: Choices = [one for one in every if one[1] in plain]
        choices = with_unknown(known, values, say("play_gone", request))
        titles = {value: label for label, value in choices}
        drawn = [column.drawn for column in columns] + [Drawn()] * (MOST_COLUMNS - len(columns))
        own = [value for one in drawn for value in one.model_dump().values()]
        thinking = say("play_thinking", request)
        chats: list[Any] = [messages_shown(column.conversation, thinking) for column in columns]
        return (
            PageState(
                comparison, {value: titles[value] for value in values}, notes=notes_told(comparison, request)
            ).told(),
            comparison.shown,
            comparison.separate,
            *drawn[0].model_dump().values(),
            *[gr.Dropdown(choices=choices, value=value) for value in values],
            *own,
            comparison.name,
            self.list(comparison.id),
            *chats,
            *[None] * (MOST_COLUMNS - len(chats)),
        )


def _title(name: str, columns: int) -> str:
    return name if columns == 1 else f"{name} · {columns}"


def _selected(saved_id: str | None) -> str:
    if not saved_id:
        raise UserError("Nothing is chosen.", "Choose a saved conversation first.")
    return saved_id
