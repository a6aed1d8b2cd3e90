"""Data: a file becomes a data set; its rows, and its examples exactly as the model will see them."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from studio.base_models import model_folder
from studio.data.dataset import DatasetRecord, Verdict, read_examples, read_first_rows, read_record
from studio.data.examples import Row
from studio.data.formats import FORMATS
from studio.data.isolation import import_file, render_examples
from studio.data.sources import READERS
from studio.errors import UserError
from studio.jobs.studio import SAMPLES, Studio
from studio.ui.feedback import guarded
from studio.ui.i18n import word
from studio.ui.menus import base_model_choices, dataset_choice
from studio.ui.tabs.train import TrainTab
from studio.ui.widgets import widget

EXAMPLES_SHOWN = 5
CELL_CHARACTERS = 600
SAMPLE_FILES = {"keeper": SAMPLES / "lighthouse-keeper.jsonl", "plain": SAMPLES / "plain-answers.jsonl"}


@dataclass(frozen=True)
class DataTab:
    """The parts of the tab that events touch."""

    upload: gr.File
    drop_bad: gr.Checkbox
    dataset: gr.Dropdown
    samples: dict[str, gr.Button]
    summary: gr.HTML
    model: gr.Dropdown
    seen: gr.HTML
    rows: gr.Dataframe
    use: gr.Button


def build(studio: Studio) -> DataTab:
    """Layout."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="st-side-form"):
            upload = gr.File(
                label=word("data_upload"), file_types=sorted(READERS), height=150, elem_id="upload", file_count="single"
            )
            with gr.Column(elem_classes="st-form"):
                drop_bad = gr.Checkbox(False, label=word("data_drop_bad"), interactive=True, elem_id="drop-bad")
                dataset = gr.Dropdown(
                    choices=[],
                    label=word("data_choose"),
                    info=word("data_choose_info"),
                    elem_id="dataset",
                    interactive=True,
                )
                gr.Markdown(word("data_samples"), elem_classes="st-label")
                samples = {
                    name: gr.Button(word(f"data_sample_{name}"), size="sm", elem_id=f"sample-{name}")
                    for name in SAMPLE_FILES
                }
            use = gr.Button(word("use_for_training"), variant="primary", visible=False, elem_id="use-dataset")
        with gr.Column(scale=8, min_width=320):
            summary = widget("dataset", elem_id="dataset-summary", value={"empty": True})
            with gr.Tabs(elem_id="data-views", selected="seen", visible=True):
                with gr.Tab(word("data_seen"), id="seen"):
                    model = gr.Dropdown(
                        choices=base_model_choices(studio),
                        value="starter",
                        label=word("data_model"),
                        allow_custom_value=True,
                        interactive=True,
                        elem_id="seen-model",
                        container=True,
                    )
                    seen = widget("examples", elem_id="examples")
                with gr.Tab(word("data_rows"), id="rows"):
                    rows = gr.Dataframe(
                        label=word("data_rows_label"),
                        interactive=False,
                        wrap=True,
                        datatype="str",
                        max_height=560,
                        show_search="search",
                        buttons=["fullscreen", "copy"],
                        elem_id="rows",
                    )
    return DataTab(upload, drop_bad, dataset, samples, summary, model, seen, rows, use)


class DataHandlers:
    """What happens on the tab's events."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def upload(self, file: str | None, drop_bad: bool) -> Any:
        """A dropped file → (summary, menu of data sets)."""
        if file is None:
            return gr.skip()
        path = self._studio.workspace.uploaded_file(file)
        verdict = import_upload(self._studio, path, drop_bad)
        if verdict.record is None:
            return refused(path.name, verdict), gr.skip()
        return gr.skip(), dataset_choice(self._studio, verdict.record.id)

    def take_sample(self, name: str) -> Any:
        """One of our samples → the menu with it chosen."""
        return dataset_choice(self._studio, self._studio.sample(SAMPLE_FILES[name]).id)

    def show(self, dataset_id: str | None) -> Any:
        """A chosen data set → (summary, rows, button)."""
        if not dataset_id:
            return {"empty": True}, None, gr.update(visible=False)
        folder = self._studio.workspace.dataset(dataset_id)
        return summary_of(read_record(folder)), rows_table(read_first_rows(folder)), gr.update(visible=True)

    def render(self, dataset_id: str | None, model: str) -> Any:
        """A chosen data set and model → the first examples as tokens."""
        return seen_by_model(self._studio, dataset_id, model) if dataset_id else None

    def refresh(self, request: gr.Request) -> Any:
        """A page that opens → the menu, with the data set that its address names."""
        return dataset_choice(self._studio, request.query_params.get("dataset"))

    def use(self, dataset_id: str | None) -> Any:
        """The button → the Train tab with this data set chosen."""
        return gr.Tabs(selected="train"), dataset_choice(self._studio, dataset_id)


def wire(studio: Studio, tab: DataTab, blocks: gr.Blocks, tabs: gr.Tabs, train: TrainTab) -> None:
    """Events."""
    on = DataHandlers(studio)
    loud: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
    quiet = {**loud, "show_progress": "hidden"}
    tab.upload.upload(guarded(on.upload), [tab.upload, tab.drop_bad], [tab.summary, tab.dataset], **loud)
    for name, button in tab.samples.items():
        button.click(guarded(partial(on.take_sample, name)), None, tab.dataset, **loud)
    shown = tab.dataset.change(guarded(on.show), tab.dataset, [tab.summary, tab.rows, tab.use], **quiet)
    asked = [tab.dataset, tab.model]
    shown.then(guarded(on.render), asked, tab.seen, show_progress_on=tab.seen, **loud)
    tab.model.change(guarded(on.render), asked, tab.seen, show_progress_on=tab.seen, **loud)
    tab.use.click(guarded(on.use), tab.dataset, [tabs, train.dataset], **quiet)
    blocks.load(guarded(on.refresh), None, tab.dataset, **quiet)


def import_upload(studio: Studio, path: Path, drop_bad: bool) -> Verdict:
    """Read an uploaded file; what is wrong with the file as a whole is an error like any other."""
    try:
        return import_file(path, studio.workspace, drop_bad_rows=drop_bad)
    except UserError as error:
        problem = {"row": 0, "line": 0, "column": "", "message": error.message, "hint": error.hint}
        return Verdict(record=None, errors=[problem])


def summary_of(record: DatasetRecord) -> dict[str, Any]:
    """What the cards above the examples show."""
    return {
        "name": record.name,
        "source": record.source_name,
        "kind": record.kind,
        "rows": record.rows,
        "format": FORMATS[record.format].title,
        "reason": record.reason,
        "type": record.dataset_type,
        "statistics": record.statistics,
        "warnings": record.warnings,
        "dropped": len(record.dropped_rows),
    }


def refused(name: str, verdict: Verdict) -> dict[str, Any]:
    """What the page shows about a file that was not kept."""
    return {"refused": name, "errors": verdict.errors}


def rows_table(rows: list[Row]) -> pd.DataFrame:
    """Rows as they stand in the file; every cell is text, whatever the file holds."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = [[_cell(row.get(name)) for name in columns] for row in rows]
    return pd.DataFrame(table, columns=pd.Index(columns, dtype=str), dtype=str)


def seen_by_model(studio: Studio, dataset_id: str, model: str) -> dict[str, Any]:
    """The first examples as tokens, learned ones marked, for a base model. Raises UserError."""
    folder = studio.workspace.dataset(dataset_id)
    base = model_folder(model, studio.workspace.models, studio.model_roots)
    if base is None:
        raise UserError(f"{model} is not on this machine yet.", "Its template can be shown after the first training.")
    examples = read_examples(folder, limit=EXAMPLES_SHOWN)
    return {
        "type": read_record(folder).dataset_type,
        "model": base.name,
        "examples": render_examples(examples, base),
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= CELL_CHARACTERS else text[:CELL_CHARACTERS] + " …"
