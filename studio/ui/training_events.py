"""What happens on the Train tab's events, as plain methods: values in, what the page shows out."""

from typing import Any

import gradio as gr

from studio.errors import UserError
from studio.jobs.chain import next_objectives, preset_for, stage_values, training_like
from studio.jobs.spec import TrainSpec
from studio.jobs.studio import Studio
from studio.jobs.sweep import parse_grid, start_sweep
from studio.ui.advising import told_advice
from studio.ui.feedback import guarded
from studio.ui.i18n import LANGUAGES, language_of, say, words
from studio.ui.menus import base_model_choices, dataset_menu, job_menu, other_dataset_menu
from studio.ui.option_form import OptionForm, column_updates, value_updates
from studio.ui.training_carry import advised_values, arrived, carried_over, filled_in
from studio.ui.training_plan import plan_of
from studio.ui.training_wish import ADVICE, Wish, preset_of, spec_of

ASKED = len(Wish.__dataclass_fields__)


class TrainHandlers:
    """The handlers of one form."""

    def __init__(self, studio: Studio, form: OptionForm) -> None:
        self._studio, self._form = studio, form

    @guarded
    def choose_preset(self, carried: str, *given: Any) -> Any:
        """A preset → what the page carries over into the form."""
        wish, values = Wish(*given[:ASKED]), given[ASKED:]
        spec = advised_values(self._studio, wish) if wish.preset == ADVICE else preset_of(wish.preset).values()
        return filled_in(self._form, wish, values, carried, wish.preset, spec)

    @guarded
    def use_advice(self, carried: str, *given: Any) -> Any:
        """The button → the advanced form, and what the page carries over into it."""
        wish, values = Wish(*given[:ASKED]), given[ASKED:]
        return "advanced", filled_in(self._form, wish, values, carried, ADVICE, advised_values(self._studio, wish))

    @guarded
    def choose_mode(self, carried: str, *given: Any) -> Any:
        """Simple or Advanced → what the page carries over into the form."""
        return carried_over(self._studio, self._form, Wish(*given[:ASKED]), given[ASKED:], carried)

    @guarded
    def carried(self, carried: str, preset: str, objective: str, tuner: str) -> Any:
        """The form was filled → what the preset is for, and whose options show."""
        if not arrived(carried, [preset, objective, tuner]):
            return [gr.skip()] * (1 + len(self._form.columns))
        return about_preset(preset), *self.choose_method(objective, tuner)

    @guarded
    def choose_method(self, objective: str, tuner: str) -> Any:
        """Another objective or tuner → whose options show."""
        return column_updates(self._form, {"objective": {"name": objective}, "tuner": {"name": tuner}})

    @guarded
    def plan(self, request: gr.Request, *given: Any) -> Any:
        """Everything → what would happen, and the advice."""
        wish, values = Wish(*given[:ASKED]), given[ASKED:]
        language = language_of(request.headers)
        advice = told_advice(self._studio, wish, language)
        plan = plan_of(self._studio, self._form.options, wish, values, language)
        return plan, {**advice, "simple": wish.mode == "simple"}

    @guarded
    def arrive(self, request: gr.Request, dataset: Any, eval_on: Any, general: Any, *jobs: Any) -> Any:
        """The tab opens → its menus as the workspace is now, and the stage after the job that the address names."""
        menus = menus_of(self._studio, dataset, eval_on, general, request)
        form = self._form
        values = next_stage(self._studio, request)
        if values is None:
            filled: list[Any] = [gr.skip()] * (5 + len(form.options) + len(form.columns))
        else:
            preset = preset_for(values["objective"]["name"]) or ADVICE
            filled = ["advanced", *filled_form(form, preset, values)]
            menus = (*menus[:3], gr.Dropdown(choices=base_model_choices(self._studio), value=values["base_model"]))
        for option, shown in zip(form.job_menus, jobs, strict=True):
            menu = job_menu(
                self._studio, option.key, shown, say("train_no_job", request), chosen=_job(values, option.key)
            )
            filled[5 + form.options.index(option)] = menu
        return (*menus, *filled)

    @guarded
    def start(self, *given: Any) -> Any:
        """Everything → a job in the line."""
        job = self._studio.start_job(self._spec(given))
        return gr.Tabs(selected="jobs"), {"started": job}, gr.Textbox(value="")

    @guarded
    def sweep(self, grid: str, *given: Any) -> Any:
        """Everything, and a grid → the jobs of a sweep in the line."""
        lines = [line.strip() for line in str(grid).splitlines() if line.strip()]
        _, jobs = start_sweep(self._studio, self._spec(given), parse_grid(lines))
        return gr.Tabs(selected="jobs"), {"started": jobs[0]}, gr.Textbox(value="")

    @guarded
    def shares(self, eval_on: str | None, general: str | None) -> Any:
        """Which shares show."""
        return shares_of(eval_on, general)

    def _spec(self, given: tuple[Any, ...]) -> TrainSpec:
        return spec_of(self._studio, self._form.options, Wish(*given[:ASKED]), given[ASKED:])


def filled_form(form: OptionForm, preset: str, values: dict[str, Any]) -> list[Any]:
    """[preset, objective, tuner, what the preset is for, *controls, *columns] of a whole spec's values."""
    names = values["objective"]["name"], values["tuner"]["name"]
    return [preset, *names, about_preset(preset), *value_updates(form, values)]


def about_preset(name: str) -> dict[str, str]:
    """What a preset, or the advice, is for, in both languages. Raises UserError when there is none of that name."""
    if name == ADVICE:
        return {language: words(language)["train_advice_about"] for language in LANGUAGES}
    return preset_of(name).about()


def menus_of(
    studio: Studio, dataset: str | None, eval_on: str | None, general: str | None, request: gr.Request
) -> tuple[gr.Dropdown, ...]:
    """The menus of what is learned, evaluated on and mixed in, and of base models, as the workspace is now."""
    return (
        dataset_menu(studio, dataset),
        other_dataset_menu(studio, eval_on, say("train_eval_dataset_none", request)),
        other_dataset_menu(studio, general, say("train_general_dataset_none", request)),
        gr.Dropdown(choices=base_model_choices(studio)),
    )


def shares_of(eval_on: str | None, general: str | None) -> tuple[gr.Number, gr.Number]:
    """Which shares show: of the own examples when no other data set evaluates, of general ones when there are any."""
    return gr.Number(visible=not eval_on), gr.Number(visible=bool(general))


def next_stage(studio: Studio, request: gr.Request) -> dict[str, Any] | None:
    """Spec values for the stage after the job that the address names, None when it names none. Raises UserError."""
    job, objective = request.query_params.get("from", ""), request.query_params.get("next", "")
    if not job:
        return None
    view = studio.store.view(job)
    if objective not in next_objectives(view.objective, view.tuner):
        raise UserError(f"{view.name} is not followed by {objective[:40]!r}.", "Choose the objective on the page.")
    return stage_values(training_like(view, studio.workspace), job, objective)


def _job(values: dict[str, Any] | None, key: str) -> str | None:
    """The job that an option names in the next stage; None when there is no next stage."""
    group, _, name = key.rpartition(".")
    return None if values is None else str((values[group] if group else values).get(name, ""))
