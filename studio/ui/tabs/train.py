"""Train: model, data, method and options become a job."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.data.dataset import read_record
from studio.errors import UserError
from studio.jobs.presets import Preset, read_presets
from studio.jobs.spec import TrainSpec, build_spec, option_fields
from studio.jobs.studio import Studio
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui.feedback import guarded
from studio.ui.forms import build_control
from studio.ui.i18n import word
from studio.ui.menus import base_model_choices, dataset_choice
from studio.ui.widgets import widget

# The options that most people change, for every method; the rest is one click away.
MAIN = (
    "learning_rate",
    "num_train_epochs",
    "max_length",
    "per_device_train_batch_size",
    "tuner.r",
    "tuner.lora_alpha",
    "objective.beta",
)
ELSEWHERE = ("name", "base_model")


@dataclass(frozen=True)
class Option:
    """One control of the form: whose option it is, and where it stands in the spec."""

    owner: str  # "" for every job, "tuner:lora", "objective:dpo"
    key: str  # learning_rate, tuner.r, objective.beta
    control: Component


@dataclass(frozen=True)
class TrainTab:
    """The parts of the tab that events touch."""

    base_model: gr.Dropdown
    dataset: gr.Dropdown
    preset: gr.Radio
    about: gr.HTML
    name: gr.Textbox
    options: list[Option]
    groups: dict[str, list[gr.Group | gr.Column]]
    summary: gr.HTML
    start: gr.Button


def build(studio: Studio) -> TrainTab:
    """Layout."""
    presets = read_presets()
    first = next(iter(presets))
    with gr.Row(equal_height=False):
        with gr.Column(scale=8, min_width=340):
            with gr.Column(elem_classes="st-form"):
                with gr.Row(elem_classes="st-pair"):
                    base_model = gr.Dropdown(
                        choices=base_model_choices(studio),
                        value="starter",
                        label=word("train_base_model"),
                        info=word("train_base_model_info"),
                        allow_custom_value=True,
                        interactive=True,
                        elem_id="base-model",
                    )
                    dataset = gr.Dropdown(
                        choices=[],
                        label=word("train_dataset"),
                        info=word("data_choose_info"),
                        interactive=True,
                        elem_id="train-dataset",
                    )
                preset = gr.Radio(
                    choices=[(word(f"preset.{name}"), name) for name in presets],
                    value=first,
                    label=word("train_preset"),
                    interactive=True,
                    elem_id="preset",
                )
                about = widget("presetAbout", elem_id="preset-about", value=_about(presets[first]))
            options, groups = _option_controls(presets[first])
        with gr.Column(scale=4, min_width=280, elem_id="start-card"):
            summary = widget("plan", elem_id="plan")
            name = gr.Textbox(label=word("train_name"), max_lines=1, interactive=True, elem_id="job-name")
            start = gr.Button(word("train_start"), variant="primary", size="lg", elem_id="start")
    return TrainTab(base_model, dataset, preset, about, name, options, groups, summary, start)


def _option_controls(preset: Preset) -> tuple[list[Option], dict[str, list[Any]]]:
    """Controls for the options of every tuner and objective; those of the others are hidden."""
    values = preset.values()
    options: list[Option] = []
    groups: dict[str, list[Any]] = {}

    def place(owner: str, keys: list[tuple[str, Any]]) -> None:
        visible = owner in ("", *_owners(values))
        with gr.Column(visible=visible, elem_classes="st-group") as column, gr.Row():
            for key, field in keys:
                options.append(Option(owner, key, build_control(key, field, _value(values, owner, key, field))))
        groups.setdefault(owner, []).append(column)

    fields = _fields_by_owner()
    with gr.Column(elem_classes="st-form", elem_id="main-options"):
        for owner, keys in fields.items():
            main = sorted(((key, field) for key, field in keys if key in MAIN), key=lambda pair: MAIN.index(pair[0]))
            if main:
                place(owner, main)
    more = gr.Accordion(word("train_more"), open=False, elem_id="all-options")
    with more, gr.Column(elem_classes="st-form st-flat"):
        for owner, keys in fields.items():
            rest = [(key, field) for key, field in keys if key not in (*MAIN, *ELSEWHERE)]
            if rest:
                place(owner, rest)
    return options, groups


def _fields_by_owner() -> dict[str, list[tuple[str, Any]]]:
    fields: dict[str, list[tuple[str, Any]]] = {"": []}
    for objective in OBJECTIVES:
        for tuner in TUNERS:
            for key, field in option_fields(objective, tuner):
                group = key.partition(".")[0] if "." in key else ""
                owner = {"": "", "tuner": f"tuner:{tuner}", "objective": f"objective:{objective}"}[group]
                known = fields.setdefault(owner, [])
                if key not in [name for name, _ in known]:
                    known.append((key, field))
    return fields


def wire(studio: Studio, tab: TrainTab, blocks: gr.Blocks, page: gr.Tab, tabs: gr.Tabs) -> None:
    """Events."""
    presets = read_presets()
    controls: list[Component] = [option.control for option in tab.options]
    group_columns = [column for columns in tab.groups.values() for column in columns]

    @guarded
    def choose_preset(name: str) -> Any:
        return [_about(presets[name]), *preset_updates(tab, presets[name])]

    @guarded
    def plan(base_model: str, dataset: str | None, preset: str, *values: Any) -> Any:
        return plan_of(studio, presets, tab.options, base_model, dataset, preset, values)

    @guarded
    def start(base_model: str, dataset: str | None, preset: str, name: str, *values: Any) -> Any:
        spec = spec_of(studio, presets, tab.options, base_model, dataset, preset, values, name)
        job_id = studio.start_job(spec)
        return gr.Tabs(selected="jobs"), {"started": job_id}, gr.Textbox(value="")

    @guarded
    def arrive(dataset: str | None) -> Any:
        return dataset_choice(studio, dataset), gr.Dropdown(choices=base_model_choices(studio))

    quiet: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
    asked = [tab.base_model, tab.dataset, tab.preset]
    tab.preset.change(choose_preset, tab.preset, [tab.about, *controls, *group_columns], **quiet)
    for come in (page.select, blocks.load):
        come(arrive, tab.dataset, [tab.dataset, tab.base_model], **quiet)
    watched = [control for option, control in zip(tab.options, controls, strict=True) if option.key in PLANNED]
    gr.on(
        [component.change for component in [*asked, *watched]],
        plan,
        [*asked, *controls],
        tab.summary,
        trigger_mode="always_last",
        **quiet,
    )
    tab.start.click(
        start,
        [*asked, tab.name, *controls],
        [tabs, tab.summary, tab.name],
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=tab.start,
        trigger_mode="once",
    )


# Options that change the plan at the side: how many steps there are and what is trained.
PLANNED = (
    "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "eval_share",
    "quantization", "tuner.r",
)  # fmt: skip


def spec_of(
    studio: Studio,
    presets: dict[str, Preset],
    options: list[Option],
    base_model: str,
    dataset: str | None,
    preset: str,
    values: tuple[Any, ...],
    name: str = "",
) -> TrainSpec:
    """The form as a spec. Raises UserError naming what is missing or out of place."""
    if not dataset:
        raise UserError("No data set is chosen.", "Go to Data and drop a file, or take a sample.")
    if preset not in presets:
        raise UserError(f"There is no preset {preset!r}.", "Choose one of the list.")
    record = read_record(studio.workspace.dataset(dataset))
    spec = presets[preset].values({"id": record.id, "sha256": record.sha256})
    title = (name or "").strip() or f"{record.name} · {presets[preset].title}"
    spec |= {"base_model": (base_model or "").strip(), "name": title[:80]}
    owners = ("", *_owners(spec))
    for option, value in zip(options, values, strict=True):
        if option.owner in owners:
            group, _, field = option.key.rpartition(".")
            (spec[group] if group else spec)[field] = value
    return build_spec(spec)


def plan_of(
    studio: Studio,
    presets: dict[str, Preset],
    options: list[Option],
    base_model: str,
    dataset: str | None,
    preset: str,
    values: tuple[Any, ...],
) -> dict[str, Any]:
    """What would happen: examples, steps, what is trained, who waits before it."""
    if not dataset:
        return {"empty": True}
    try:
        spec = spec_of(studio, presets, options, base_model, dataset, preset, values)
    except UserError as error:
        return {"problem": str(error)}
    rows = read_record(studio.workspace.dataset(dataset)).rows
    held_out = min(max(1, round(rows * spec.eval_share)), rows - 1) if spec.eval_share and rows > 1 else 0
    train = rows - held_out
    batch = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    steps = -(-train // batch) * spec.num_train_epochs
    return {
        "examples": train,
        "eval_examples": held_out,
        "steps": spec.max_steps if spec.max_steps > 0 else max(1, round(steps)),
        "tuner": spec.tuner.name,
        "quantization": spec.quantization,
        "objective": spec.objective.name,
        "waiting": len(studio.catalog.waiting()),
    }


def preset_updates(tab: TrainTab, preset: Preset) -> list[Any]:
    """New values for every control, and which groups of options show."""
    values = preset.values()
    shown = ("", *_owners(values))
    fields = {(owner, key): field for owner, keys in _fields_by_owner().items() for key, field in keys}
    new_values = [
        gr.skip()
        if option.owner not in shown
        else _value(values, option.owner, option.key, fields[option.owner, option.key])
        for option in tab.options
    ]
    visible = [gr.Column(visible=owner in shown) for owner, columns in tab.groups.items() for _ in columns]
    return [*new_values, *visible]


def _value(values: dict[str, Any], owner: str, key: str, field: Any) -> Any:
    """The preset's value of an option, or the field's default when the option is another method's."""
    group, _, name = key.rpartition(".")
    if owner and owner not in _owners(values):
        return field.get_default()
    return (values[group] if group else values)[name]


def _owners(values: dict[str, Any]) -> tuple[str, str]:
    return f"tuner:{values['tuner']['name']}", f"objective:{values['objective']['name']}"


def _about(preset: Preset) -> dict[str, str]:
    return {"en": preset.summary, "zh": preset.summary_zh}
