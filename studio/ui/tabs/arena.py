"""Arena: two hidden contenders answer, you vote, and the votes train the next one. One widget asks /api/arena."""

from typing import Any

import gradio as gr

from studio.jobs.chain import preset_for
from studio.jobs.studio import Studio
from studio.methods.advice import Task
from studio.ui.arena_data import training_values
from studio.ui.feedback import guarded
from studio.ui.i18n import say
from studio.ui.menus import base_model_choices, dataset_choice, job_menu
from studio.ui.option_form import OptionForm, value_updates
from studio.ui.tabs.train import TrainTab
from studio.ui.training_events import about_preset
from studio.ui.training_wish import ADVICE
from studio.ui.widgets import widget

TASK: Task = "alignment"  # what votes teach, as the simple form asks for it


def build() -> gr.HTML:
    """Layout: the widget draws everything; its events fill the Train tab and open the Data tab."""
    return widget("arena", elem_id="arena", events=["train_votes", "open_votes"])


class ArenaHandlers:
    """What happens on the tab's events."""

    def __init__(self, studio: Studio, form: OptionForm) -> None:
        self._studio, self._form = studio, form

    def train(self, event: gr.EventData, request: gr.Request) -> Any:
        """A data set made of votes, and what to start from → the Train tab filled, and shown."""
        data = event._data if isinstance(event._data, dict) else {}
        dataset, kind, start = (str(data.get(name, "")) for name in ("dataset", "kind", "start"))
        return filled(self._studio, self._form, training_values(self._studio, kind, start, dataset), dataset, request)

    def open(self, event: gr.EventData) -> Any:
        """A data set made of votes → the Data tab with it."""
        data = event._data if isinstance(event._data, dict) else {}
        return dataset_choice(self._studio, str(data.get("dataset", ""))), gr.Tabs(selected="data")


def filled(studio: Studio, form: OptionForm, values: dict[str, Any], dataset: str, request: gr.Request) -> list[Any]:
    """(data set, base model, mode, task, preset, objective, tuner, about, *controls, *columns, tabs) of a spec."""
    objective, tuner = values["objective"]["name"], values["tuner"]["name"]
    preset = preset_for(objective) or ADVICE
    updates = value_updates(form, values)
    for option in form.job_menus:
        group, _, name = option.key.rpartition(".")
        job = str((values[group] if group else values).get(name, ""))
        nothing = say("train_no_job", request)
        updates[form.options.index(option)] = job_menu(studio, option.key, None, nothing, chosen=job)
    base_model = gr.Dropdown(choices=base_model_choices(studio), value=values["base_model"])
    about = about_preset(preset)
    # Tabs last: arriving there reads what was set.
    return [dataset_choice(studio, dataset), base_model, "advanced", TASK, preset, objective, tuner, about,
            *updates, gr.Tabs(selected="train")]  # fmt: skip


def wire(studio: Studio, arena: gr.HTML, tabs: gr.Tabs, train: TrainTab, dataset: gr.Dropdown) -> None:
    """Events; `dataset` is the Data tab's menu."""
    on = ArenaHandlers(studio, train.form)
    controls = [option.control for option in train.options]
    columns = [column for _, column in train.form.columns]
    method = [train.mode, train.task, train.preset, train.objective, train.tuner, train.about]
    shown = [train.dataset, train.base_model, *method, *controls, *columns, tabs]
    quiet: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
    arena.train_votes(guarded(on.train), None, shown, **quiet)
    arena.open_votes(guarded(on.open), None, [dataset, tabs], **quiet)
