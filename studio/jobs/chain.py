"""Which job goes on from which: SFT → reward model → a policy that is rewarded, or SFT → preferences."""

from typing import Any

from studio.jobs.earlier_jobs import CONTINUED, is_imported, learnable_options, start_of
from studio.jobs.presets import PLACEHOLDER_DATASET, read_presets
from studio.jobs.spec import MergeSpec, TrainSpec, build_spec
from studio.jobs.store import JobStore, JobView
from studio.methods.objectives import OBJECTIVES
from studio.workspace import Workspace

FINISHED = ("completed", "stopped")
REWARD = "reward"
# The preset's rule stands in for a reward model where there is none.
NO_RULES = {"reward_words": 0, "reward_contains": "", "reward_format": "", "reward_answer": "off", "reward_json": False}


def next_objectives(objective: str, tuner: str) -> tuple[str, ...]:
    """What may follow on a finished job of an objective and a tuner, in the order of the menus."""
    if tuner not in CONTINUED:
        return ()
    if objective == REWARD:
        return tuple(name for name, one in OBJECTIVES.items() if "reward_model" in one.options.model_fields)
    if objective == "sft":
        return tuple(name for name in OBJECTIVES if name != objective)
    return ()


def candidates(store: JobStore, option: str) -> list[JobView]:
    """Jobs with a result that `start_from` or `reward_model` may name, the newest first."""
    wants_reward = option == "reward_model"
    ended = [view for view in store.views() if view.status in FINISHED and store.workspace.has_result(view.id)]
    return [view for view in ended if (view.objective == REWARD) == wants_reward]


def preset_for(objective: str) -> str:
    """The first preset with an objective; empty when there is none."""
    fitting = (name for name, preset in read_presets().items() if preset.spec["objective"]["name"] == objective)
    return next(fitting, "")


def training_like(view: JobView, workspace: Workspace) -> TrainSpec:
    """The spec of a job; for a merge, that of a job whose result could be learned on in the same way."""
    if not isinstance(view.spec, MergeSpec):
        return view.spec
    merge = view.spec
    known = {"base_model": merge.base_model, "chat_template": merge.chat_template, "objective": view.objective}
    return _like(known, learnable_options(view.id, workspace))


def _like(origin: dict[str, Any], tuner: dict[str, Any]) -> TrainSpec:
    return build_spec(
        {
            "dataset": PLACEHOLDER_DATASET,
            "base_model": origin["base_model"],
            "chat_template": origin["chat_template"],
            "objective": {"name": origin["objective"]},
            "tuner": tuner,
        }
    )


def training_from(name: str, store: JobStore) -> TrainSpec:
    """The spec of a job that could have left what `name` means: a job, JOB@STEP or an imported adapter."""
    workspace = store.workspace
    if not is_imported(name, workspace):
        return training_like(store.view(name.partition("@")[0]), workspace)
    _, origin = start_of(name, workspace)
    return _like(origin, learnable_options(name, workspace))


def stage_values(earlier: TrainSpec, job: str, objective: str) -> dict[str, Any]:
    """Spec values for the stage after a job: what must be the same is, the rest is as a preset of the objective has it.

    After a reward model, the job that it went on from is gone on from again, rewarded by it.
    """
    name = preset_for(objective)
    values = read_presets()[name].values() if name else build_spec({"dataset": PLACEHOLDER_DATASET}).model_dump()
    same = ("base_model", "tuner", "quantization", "chat_template", "dtype", "max_length", "start_from")
    values |= {name: getattr(earlier, name) for name in same} | {"tuner": earlier.tuner.model_dump()}
    if not name:
        values["objective"] = {"name": objective}
    if earlier.objective.name == REWARD:
        values["objective"] = {**values["objective"], **NO_RULES, "reward_model": job}
    else:
        values["start_from"] = job
    return build_spec(values).model_dump()
