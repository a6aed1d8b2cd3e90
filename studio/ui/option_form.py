"""The options of a job as a form: a control for each, shown for the methods that have it, filled by presets."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component
from pydantic.fields import FieldInfo

from studio.jobs.presets import Preset
from studio.jobs.spec import option_fields
from studio.jobs.training_options import DataOptions, ForgettingOptions, Quantization, ReportOptions
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui.forms import build_control, names_a_job
from studio.ui.i18n import word

# Asked for in a place of their own, not as one of the options.
ELSEWHERE = ("name", "base_model")
# The headings of "All options", in their order; what every job has and none of them names is about the schedule.
GROUPS: dict[str, tuple[str, ...]] = {
    "data": tuple(DataOptions.model_fields),
    "schedule": (),
    "memory": (*Quantization.model_fields, "optim", "dtype", "gradient_checkpointing"),
    "tuner": (),
    "objective": (),
    "forgetting": tuple(ForgettingOptions.model_fields),
    "reports": tuple(ReportOptions.model_fields),
}


@dataclass(frozen=True)
class Option:
    """One control of the form: whose option it is, and where it stands in the spec."""

    owner: str  # "" for every job, "tuner:lora", "objective:dpo"
    key: str  # learning_rate, tuner.r, objective.beta
    control: Component


class OptionForm:
    """The controls, in the order in which they were placed, and the columns that hold those of one owner."""

    def __init__(self, preset: Preset) -> None:
        self.values = preset.values()
        self.options: list[Option] = []
        self.columns: list[tuple[str, gr.Column]] = []

    @property
    def job_menus(self) -> list[Option]:
        """The options that name a job."""
        return [option for option in self.options if names_a_job(option.key)]

    def place(self, keys: tuple[str, ...]) -> None:
        """Controls for these options, in this order, each method's in a column of its own."""
        for owner, fields in _fields_by_owner().items():
            found = sorted((pair for pair in fields if pair[0] in keys), key=lambda pair: keys.index(pair[0]))
            self._place(owner, found)

    def place_one(self, key: str, *, visible: bool = True) -> Component:
        """The control of an option that every job has, without a column around it."""
        control = build_control(key, dict(_fields_by_owner()[""])[key], self.values[key])
        control.visible = visible
        self.options.append(Option("", key, control))
        return control

    def place_rest(self) -> None:
        """Controls for all options that have none yet, each group below its heading."""
        placed = {option.key for option in self.options}
        by_owner = _fields_by_owner()
        for group in GROUPS:
            for owner, fields in by_owner.items():
                free = [pair for pair in fields if pair[0] not in placed and pair[0] not in ELSEWHERE]
                self._place(owner, [pair for pair in free if _group(owner, pair[0]) == group], f"train_group.{group}")

    def _place(self, owner: str, fields: list[tuple[str, FieldInfo]], heading: str = "") -> None:
        if not fields:
            return
        with gr.Column(visible=owner in owners(self.values), elem_classes="st-group") as column:
            if heading:
                gr.Markdown(word(heading), elem_classes="st-heading")
            with gr.Row():
                for key, field in fields:
                    value = _value(self.values, owner, key, field)
                    control = build_control(key, field, value, owner.rpartition(":")[2])
                    self.options.append(Option(owner, key, control))
        self.columns.append((owner, column))


def preset_updates(form: OptionForm, preset: Preset) -> list[Any]:
    """A preset's values for every control, and which columns show."""
    return value_updates(form, preset.values())


def value_updates(form: OptionForm, values: dict[str, Any]) -> list[Any]:
    """New values for every control, and which columns show; `values` are a whole spec's."""
    shown = owners(values)
    fields = {(owner, key): field for owner, keys in _fields_by_owner().items() for key, field in keys}
    new_values = [
        gr.skip()
        if option.owner not in shown or names_a_job(option.key)  # jobs are the user's, not the preset's
        else _value(values, option.owner, option.key, fields[option.owner, option.key])
        for option in form.options
    ]
    return [*new_values, *column_updates(form, values)]


def column_updates(form: OptionForm, values: dict[str, Any]) -> list[gr.Column]:
    """Which columns show for a spec's objective and tuner."""
    shown = owners(values)
    return [gr.Column(visible=owner in shown) for owner, _ in form.columns]


def set_options(spec: dict[str, Any], options: list[Option], values: tuple[Any, ...]) -> None:
    """Put the form's values into spec values; those of other methods than the spec's are left aside."""
    shown = owners(spec)
    for option, value in zip(options, values, strict=True):
        if option.owner in shown:
            group, _, field = option.key.rpartition(".")
            (spec[group] if group else spec)[field] = value


def owners(values: dict[str, Any]) -> tuple[str, str, str]:
    """Whose options a spec has: every job's, its tuner's, its objective's."""
    return "", f"tuner:{values['tuner']['name']}", f"objective:{values['objective']['name']}"


def _group(owner: str, key: str) -> str:
    """Below which heading an option stands."""
    if owner:
        return owner.partition(":")[0]
    return next((group for group, keys in GROUPS.items() if key in keys), "schedule")


def _fields_by_owner() -> dict[str, list[tuple[str, FieldInfo]]]:
    fields: dict[str, list[tuple[str, FieldInfo]]] = {"": []}
    for objective in OBJECTIVES:
        for tuner in TUNERS:
            for key, field in option_fields(objective, tuner):
                group = key.partition(".")[0] if "." in key else ""
                owner = {"": "", "tuner": f"tuner:{tuner}", "objective": f"objective:{objective}"}[group]
                known = fields.setdefault(owner, [])
                if key not in [name for name, _ in known]:
                    known.append((key, field))
    return fields


def _value(values: dict[str, Any], owner: str, key: str, field: FieldInfo) -> Any:
    """The preset's value of an option, or the field's default when the option is another method's."""
    group, _, name = key.rpartition(".")
    if owner not in owners(values):
        return field.get_default()
    return (values[group] if group else values)[name]
