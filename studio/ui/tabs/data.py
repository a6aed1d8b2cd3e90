"""Data: files become data sets. The layout and the few events that Gradio's parts need; the rest asks /api/datasets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from studio.data.sources import SUFFIXES
from studio.errors import UserError
from studio.jobs.chain import preset_for
from studio.jobs.studio import SAMPLES, Studio
from studio.ui.data_room import DataRoom, Look
from studio.ui.feedback import explain, guarded, language_here
from studio.ui.i18n import word
from studio.ui.menus import dataset_choice
from studio.ui.tabs.train import TrainTab
from studio.ui.training_carry import fitting_values
from studio.ui.training_events import filled_form
from studio.ui.widgets import widget

SAMPLE_FILES = {"keeper": SAMPLES / "lighthouse-keeper.jsonl", "plain": SAMPLES / "plain-answers.jsonl"}
# The form's options that go along with "Train on this", when the user changed them while looking.
CARRIED = {"template": "chat_template", "max_length": "max_length"}


@dataclass(frozen=True)
class DataTab:
    """The parts of the tab that events touch."""

    upload: gr.File
    dataset: gr.Dropdown
    samples: dict[str, gr.Button]
    room: gr.HTML
    messenger: gr.HTML
    use: gr.Button


def build(studio: Studio) -> DataTab:
    """Layout."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="st-side-form", elem_id="data-side"):
            widget("dataSources", elem_id="data-sources", folders=bool(studio.settings.data_roots))
            upload = gr.File(
                label=word("data_upload"),
                file_types=sorted(SUFFIXES),
                height=150,
                elem_id="upload",
                file_count="multiple",
            )
            with gr.Column(elem_classes="st-form"):
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
        with gr.Column(scale=10, min_width=320):
            room = widget("dataset", elem_id="dataset-summary", value={"empty": True})
            messenger = widget("dataMessenger", elem_id="data-messenger", event="arrived")
    return DataTab(upload, dataset, samples, room, messenger, use)


class DataHandlers:
    """What happens on the tab's events."""

    def __init__(self, room: DataRoom) -> None:
        self._room, self._studio = room, room.studio

    def upload(self, files: list[str] | None) -> Any:
        """Dropped files → (what the page follows, an empty drop zone)."""
        if not files:
            return gr.skip()
        try:
            return {"task": self._room.start_uploaded(files)}, None
        except UserError as error:
            message, hint = explain(error, language_here())
            return {"refused": {"message": message, "hint": hint}}, None

    def take_sample(self, name: str) -> Any:
        """One of our samples → the menu with it chosen."""
        return dataset_choice(self._studio, self._studio.sample(SAMPLE_FILES[name]).id)

    def show(self, dataset_id: str | None) -> Any:
        """A chosen data set → (what the page shows, the button)."""
        if not dataset_id:
            return {"empty": True}, gr.update(visible=False)
        return {"dataset": self._room.library.record(dataset_id).id}, gr.update(visible=True)

    def arrive(self, event: gr.EventData) -> Any:
        """The page made a data set, or deleted one → the menu with the right one chosen."""
        data = event._data if isinstance(event._data, dict) else {}
        return dataset_choice(self._studio, str(data.get("dataset", "")))

    def refresh(self, request: gr.Request) -> Any:
        """A page that opens → the menu, with the data set that its address names."""
        return dataset_choice(self._studio, request.query_params.get("dataset"))

    def use(self, train: TrainTab, dataset_id: str | None, looked: Any, mode: str, objective: str) -> Any:
        """The button → the Train tab with this data set, and with the model and options that it was looked at.

        An advanced form whose objective cannot learn from these rows begins with a preset that can.
        """
        given = looked if isinstance(looked, dict) else {}
        model, *options = carried(given)
        # The simple form decides these options by itself: who has chosen one goes on in the other.
        shown = "advanced" if any(key in given for key in CARRIED) else mode
        chosen = {CARRIED[key]: given[key] for key in CARRIED if key in given}
        values = None
        if dataset_id and shown == "advanced":
            values = fitting_values(self._studio, dataset_id, objective, chosen)
        form = filled_form(train.form, preset_for(values["objective"]["name"]), values) if values else None
        if form is None:
            form = [gr.skip()] * (4 + len(train.form.options) + len(train.form.columns))
            for key, value in zip(CARRIED.values(), options, strict=True):
                form[4 + [option.key for option in train.options].index(key)] = value
        return dataset_choice(self._studio, dataset_id), model, shown, *form, gr.Tabs(selected="train")


def wire(room: DataRoom, tab: DataTab, blocks: gr.Blocks, tabs: gr.Tabs, train: TrainTab) -> None:
    """Events."""
    on = DataHandlers(room)
    loud: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
    quiet = {**loud, "show_progress": "hidden"}
    tab.upload.upload(guarded(on.upload), tab.upload, [tab.room, tab.upload], **quiet)
    for name, button in tab.samples.items():
        button.click(guarded(partial(on.take_sample, name)), None, tab.dataset, **loud)
    tab.dataset.change(guarded(on.show), tab.dataset, [tab.room, tab.use], **quiet)
    tab.messenger.arrived(guarded(on.arrive), None, tab.dataset, **quiet)
    filled = [train.preset, train.objective, train.tuner, train.about, *(option.control for option in train.options)]
    columns = [column for _, column in train.form.columns]
    tab.use.click(
        guarded(partial(on.use, train)),
        [tab.dataset, tab.messenger, train.mode, train.objective],
        # tabs last: arriving there reads what was set
        [train.dataset, train.base_model, train.mode, *filled, *columns, tabs],
        js="(dataset, looked, ...rest) => [dataset, Studio.data.changed(), ...rest]",
        **quiet,
    )
    blocks.load(guarded(on.refresh), None, tab.dataset, **quiet)


def carried(given: Mapping[str, Any]) -> list[Any]:
    """Updates for (base model, *CARRIED): what the user chose on the Data tab, else nothing. Raises UserError."""
    look = Look(**{key: value for key, value in given.items() if key in ("model", *CARRIED)})
    return [getattr(look, key) if key in given else gr.skip() for key in ("model", *CARRIED)]
