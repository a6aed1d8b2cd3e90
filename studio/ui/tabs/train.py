"""Train: five answers, or a form with every option, become a job, or the jobs of a sweep."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.jobs.presets import read_presets
from studio.jobs.studio import Studio
from studio.methods.advice import TASKS
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.ui.advising import CARDS, HERE
from studio.ui.i18n import word
from studio.ui.menus import base_model_choices
from studio.ui.option_form import Option, OptionForm
from studio.ui.training_carry import MERGE
from studio.ui.training_events import TrainHandlers
from studio.ui.training_wish import ADVICE, MODES
from studio.ui.widgets import widget

# The options that most people change, for every method; the rest is one click away.
MAIN = (
    "learning_rate",
    "num_train_epochs",
    "max_length",
    "per_device_train_batch_size",
    "tuner.r",
    "tuner.lora_alpha",
    "tuner.init_r",
    "tuner.target_r",
    "tuner.trained_layers",
    "tuner.bottleneck_size",
    "tuner.num_virtual_tokens",
    "objective.beta",
    "objective.reward_model",
)
FIRST_PRESET = "lora"


@dataclass(frozen=True)
class TrainTab:
    """The parts of the tab that events touch."""

    base_model: gr.Dropdown
    dataset: gr.Dropdown
    mode: gr.Radio
    carried: gr.Textbox
    task: gr.Dropdown
    card: gr.Dropdown
    hurry: gr.Radio
    preset: gr.Dropdown
    objective: gr.Dropdown
    tuner: gr.Dropdown
    eval_dataset: gr.Dropdown
    general_dataset: gr.Dropdown
    name: gr.Textbox
    eval_share: Component
    general_share: Component
    about: gr.HTML
    form: OptionForm
    advice: gr.HTML
    use_advice: gr.Button
    summary: gr.HTML
    start: gr.Button
    grid: gr.Textbox
    sweep: gr.Button

    @property
    def options(self) -> list[Option]:
        """The controls of the options."""
        return self.form.options

    def asked(self) -> list[Component]:
        """What is asked beside the options, in the order of Wish."""
        return [
            self.base_model, self.dataset, self.mode, self.task, self.card, self.hurry, self.preset, self.objective,
            self.tuner, self.eval_dataset, self.general_dataset, self.name,
        ]  # fmt: skip


def build(studio: Studio) -> TrainTab:
    """Layout."""
    presets = read_presets()
    form = OptionForm(presets[FIRST_PRESET])
    with gr.Row(equal_height=False):
        with gr.Column(scale=8, min_width=340):
            modes = [(word(f"train_mode_{mode}"), mode) for mode in MODES]
            mode = gr.Radio(choices=modes, value=MODES[0], show_label=False, interactive=True, elem_id="form-mode")
            carried = gr.Textbox(visible="hidden", elem_id="form-carried")
            parts = _questions(studio)
            advice = widget("advice", elem_id="advice")
            use_advice = gr.Button(word("train_use_advice"), size="sm", elem_id="use-advice")
            with gr.Column(elem_id="advanced"):  # the stylesheet hides it while the simple form is chosen
                parts |= _method(form, list(presets))
                with gr.Column(elem_classes="st-form", elem_id="main-options"):
                    form.place(MAIN)
                    widget("guide", elem_id="guide-options", topics=["ranks", "rates"])
                parts |= _other_data(form)
                with (
                    gr.Accordion(word("train_more"), open=False, elem_id="all-options"),
                    gr.Column(elem_classes="st-form st-flat"),
                ):
                    form.place_rest()
                parts |= _sweep()
        with gr.Column(scale=4, min_width=280, elem_id="start-card"):
            summary = widget("plan", elem_id="plan")
            name = gr.Textbox(label=word("train_name"), max_lines=1, interactive=True, elem_id="job-name")
            start = gr.Button(word("train_start"), variant="primary", size="lg", elem_id="start")
    more: dict[str, Any] = {"advice": advice, "use_advice": use_advice, "summary": summary, "start": start}
    return TrainTab(mode=mode, carried=carried, form=form, name=name, **more, **parts)


def _questions(studio: Studio) -> dict[str, Any]:
    """What is to be learned, from which rows, by which model, on which card, and how soon."""
    with gr.Column(elem_classes="st-form", elem_id="questions"):
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
            dataset = _dataset_menu("train_dataset", "data_choose_info", "train-dataset")
        with gr.Row(elem_classes="st-triple"):
            task = _menu("train_task", [(word(f"task_{name}"), name) for name in TASKS], TASKS[0], "task")
            cards = [(word("train_card_here"), HERE), *((f"{size} GB", size) for size in CARDS)]
            card = _menu("train_card", cards, HERE, "card")
            hurry = gr.Radio(
                choices=[(word("train_quality"), "no"), (word("train_hurry"), "yes")],
                value="no",
                label=word("train_pace"),
                interactive=True,
                elem_id="pace",
            )
        widget("guide", elem_id="guide-task", topics=["applications"])
    return {"base_model": base_model, "dataset": dataset, "task": task, "card": card, "hurry": hurry}


def _method(form: OptionForm, presets: list[str]) -> dict[str, Any]:
    """A preset to begin with, and what it is made of: objective, tuner, quantization."""
    with gr.Column(elem_classes="st-form", elem_id="method"):
        choices = [(word("preset_choice.advice"), ADVICE), *((word(f"preset_choice.{one}"), one) for one in presets)]
        preset = _menu("train_preset", choices, FIRST_PRESET, "preset")
        about = widget("presetAbout", elem_id="preset-about", value=read_presets()[FIRST_PRESET].about())
        with gr.Row(elem_classes="st-pair"):
            objectives = [(word(f"objective.{one}"), one) for one in OBJECTIVES]
            objective = _menu("advice_objective", objectives, "sft", "objective")
            tuner = _menu("advice_tuner", [(word(f"tuner.{one}"), one) for one in TUNERS], "lora", "tuner")
        with gr.Row(elem_classes="st-pair"):
            form.place_one("quantization")
            form.place_one("start_from")
        topics = ["full_or_adapter", "tuners", "quantization", "alignment", "dpo_or_rlhf", "pitfalls"]
        widget("guide", elem_id="guide-method", topics=topics)
    return {"preset": preset, "about": about, "objective": objective, "tuner": tuner}


def _other_data(form: OptionForm) -> dict[str, Any]:
    """Menus for what is evaluated on and what is mixed in, each with its share, which shows when it counts."""
    with (
        gr.Accordion(word("train_other_data"), open=False, elem_id="other-data"),
        gr.Column(elem_classes="st-form st-flat"),
    ):
        with gr.Row(elem_classes="st-pair"):
            eval_dataset = _dataset_menu("train_eval_dataset", "train_eval_dataset_info", "eval-dataset")
            eval_share = form.place_one("eval_share")
        with gr.Row(elem_classes="st-pair"):
            general_dataset = _dataset_menu("train_general_dataset", "train_general_dataset_info", "general-dataset")
            general_share = form.place_one("general_share", visible=False)
        widget("guide", elem_id="guide-data", topics=["forgetting"])
    return {"eval_dataset": eval_dataset, "eval_share": eval_share, "general_dataset": general_dataset,
            "general_share": general_share}  # fmt: skip


def _sweep() -> dict[str, Any]:
    """Several values of some options, a job each."""
    with (
        gr.Accordion(word("train_sweep"), open=False, elem_id="sweep-form"),
        gr.Column(elem_classes="st-form st-flat"),
    ):
        grid = gr.Textbox(
            value="tuner.r = 4, 8, 16",
            lines=2,
            label=word("train_grid"),
            info=word("train_grid_info"),
            interactive=True,
            elem_id="sweep-grid",
        )
        start = gr.Button(word("train_start_sweep"), elem_id="start-sweep")
    return {"grid": grid, "sweep": start}


def _menu(label: str, choices: list[tuple[Any, str]], value: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(choices=choices, value=value, label=word(label), interactive=True, elem_id=elem_id)


def _dataset_menu(label: str, info: str, elem_id: str) -> gr.Dropdown:
    """A menu that is filled when the tab opens."""
    return gr.Dropdown(choices=[], label=word(label), info=word(info), interactive=True, elem_id=elem_id)


def wire(studio: Studio, tab: TrainTab, blocks: gr.Blocks, page: gr.Tab, tabs: gr.Tabs) -> None:
    """Events."""
    on = TrainHandlers(studio, tab.form)
    controls: list[Component] = [option.control for option in tab.options]
    asked, columns = tab.asked(), [column for _, column in tab.form.columns]
    everything = [*asked, *controls]
    quiet: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
    shown = [tab.summary, tab.advice]
    filled = [tab.mode, tab.preset, tab.objective, tab.tuner, tab.about, *controls, *columns]
    methods = [tab.preset, tab.objective, tab.tuner]
    # Only what the user does: what other events put into these menus goes together already.
    for asked_for in (
        tab.preset.input(on.choose_preset, [tab.carried, *everything], tab.carried, **quiet),
        tab.use_advice.click(on.use_advice, [tab.carried, *everything], [tab.mode, tab.carried], **quiet),
        tab.mode.input(on.choose_mode, [tab.carried, *everything], tab.carried, **quiet),
    ):
        merged = asked_for.then(None, [tab.carried, *methods, *controls], [*methods, *controls], js=MERGE)
        merged.then(on.carried, [tab.carried, *methods], [tab.about, *columns], **quiet)
    for menu in (tab.objective, tab.tuner):
        menu.input(on.choose_method, [tab.objective, tab.tuner], columns, **quiet)
    menus = [tab.dataset, tab.eval_dataset, tab.general_dataset]
    job_menus = [option.control for option in tab.form.job_menus]
    for come in (page.select, blocks.load):  # and plan anew: steps may have changed how many rows there are
        arriving = come(on.arrive, [*menus, *job_menus], [*menus, tab.base_model, *filled], **quiet)
        arriving.then(on.plan, everything, shown, **quiet)
    changes = [menu.change for menu in menus[1:]]
    gr.on(changes, on.shares, menus[1:], [tab.eval_share, tab.general_share], **quiet)
    # Every option: the plan says what starting would refuse, whichever it is about.
    watched = [component.change for component in (*asked[:-1], *(option.control for option in tab.options))]
    gr.on(watched, on.plan, everything, shown, trigger_mode="always_last", **quiet)
    loud: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "trigger_mode": "once"}
    done = [tabs, tab.summary, tab.name]
    tab.start.click(on.start, everything, done, show_progress_on=tab.start, **loud)
    tab.sweep.click(on.sweep, [tab.grid, *everything], done, show_progress_on=tab.sweep, **loud)
