"""What a job takes from earlier ones: the result that it continues from, and the reward model that marks its answers.

A job that continues from an adapter begins with a copy of it; where the objective measures against the model at the
start, a second copy, which never learns, is that model. So the new adapter is for the same base model and includes
what the first one had learned. A job that continues from a whole model takes that model for its base.
"""

import json
from pathlib import Path
from typing import Any

from studio import workspace as names
from studio.base_models import fingerprint
from studio.errors import UserError
from studio.jobs.spec import JobSpec, MergeSpec, TrainSpec, read_job_spec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.workspace import Workspace

LEARNED_BY = ("lora_dropout", "loraplus_lr_ratio")  # how a merge was learned is not in it
# Whose saved weights are all that is needed to learn on: the others keep less than they learn by, or other shapes.
CONTINUED = ("lora", "ia3", "bottleneck", "full", "partial")


def result_of(job: str, workspace: Workspace) -> tuple[Path, dict[str, Any]]:
    """(folder of an earlier job's adapter or model, what it says of its origin). Raises UserError."""
    for kind in (names.ADAPTER, names.MODEL):
        folder = workspace.job(job) / kind
        if folder.is_dir():
            return folder, json.loads((folder / names.ORIGIN).read_text(encoding="utf-8"))
    raise UserError(f"The job {job} has no result.", "Let it finish, or choose another.")


def check_earlier_jobs(spec: TrainSpec, workspace: Workspace, base: Path) -> None:
    """Raise UserError when what the job takes from earlier ones does not fit it, or is not there."""
    if spec.start_from:
        base = starting_model(spec, workspace) or base
        check_start_from(spec, workspace, base)
    if getattr(spec.objective, "reward_model", ""):
        find_reward_model(spec, workspace, base)


def starting_model(spec: TrainSpec, workspace: Workspace) -> Path | None:
    """The whole model that a job continues from, None when it continues from an adapter or from nothing."""
    if not spec.start_from:
        return None
    folder, _ = result_of(spec.start_from, workspace)
    return folder if folder.name == names.MODEL else None


def starting_adapter(spec: TrainSpec, workspace: Workspace) -> Path | None:
    """The adapter that a job continues from, None when it continues from a whole model or from nothing."""
    if not spec.start_from:
        return None
    folder, _ = result_of(spec.start_from, workspace)
    return folder if folder.name == names.ADAPTER else None


def check_start_from(spec: TrainSpec, workspace: Workspace, base: Path) -> None:
    """Raise UserError when the earlier job's result cannot be learned on as this job wants to."""
    job = spec.start_from
    folder, origin = result_of(job, workspace)
    if TUNERS[origin["tuner"]].whole_model != TUNERS[spec.tuner.name].whole_model:
        if folder.name == names.MODEL:
            raise UserError(f"The job {job} made a whole model.", f"Choose it as the base model instead: {folder}")
        raise UserError(
            f"The job {job} made an adapter, and {TUNERS[spec.tuner.name].title} trains a whole model.",
            "Choose the tuner of that job.",
        )
    tuner = TUNERS[spec.tuner.name]
    if spec.tuner.name not in CONTINUED or tuner.changes_base(spec.tuner):
        raise UserError(
            f"What {tuner.title} saves with these options is not enough to learn on.",
            "Continue from LoRA, (IA)³, a bottleneck adapter, or full fine-tuning.",
        )
    if not tuner.whole_model and _differences(job, spec, workspace):
        raise UserError(
            f"The adapter of {job} has another shape: it was trained with {_differences(job, spec, workspace)}.",
            "Set the tuner's options as they were there.",
        )
    if folder.name == names.ADAPTER and origin["base_fingerprint"] != fingerprint(base):
        raise UserError(
            f"The adapter of {job} was trained on another base model ({origin['base_model']}).",
            f"Choose {origin['base_model']} as the base model.",
        )
    if origin["chat_template"] != spec.chat_template:
        raise UserError(
            f"{job} was trained with the chat template {origin['chat_template']}.", "Use the same chat template."
        )
    kinds = [OBJECTIVES[name].task_type for name in (origin["objective"], spec.objective.name)]
    if kinds[0] == "SEQ_CLS" != kinds[1]:
        raise UserError(f"The job {job} made a reward model, which cannot learn to write.", "Choose another job.")


def find_reward_model(spec: TrainSpec, workspace: Workspace, base: Path) -> Path:
    """The folder of the reward model that a job names. Raises UserError when it is none or reads other tokens."""
    job = getattr(spec.objective, "reward_model", "")
    folder, origin = result_of(job, workspace)
    if origin["objective"] != "reward":
        raise UserError(f"The job {job} made no reward model.", "Choose a finished job of the kind Reward model.")
    if origin["chat_template"] != spec.chat_template:
        raise UserError(
            f"The reward model {job} was trained with the chat template {origin['chat_template']}.",
            "Use the same chat template.",
        )
    if folder.name == names.ADAPTER and origin["base_fingerprint"] != fingerprint(base):
        raise UserError(
            f"The reward model {job} is an adapter of another base model ({origin['base_model']}).",
            f"Choose {origin['base_model']} as the base model, or train a reward model on this one.",
        )
    if _vocabulary(folder) != _vocabulary(base):
        raise UserError(
            f"The reward model {job} reads other tokens than {base.name} writes.",
            "Train the reward model on the same base model.",
        )
    return folder


def _vocabulary(folder: Path) -> Any:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]


def tuner_options_of(spec: JobSpec | None, origin: dict[str, Any]) -> dict[str, Any] | None:
    """The tuner's options that an adapter has: its job's, or noted with it (a merge's); None where nobody knows."""
    if isinstance(spec, TrainSpec):
        return spec.tuner.model_dump()
    known = origin.get("tuner_options")
    return dict(known) if isinstance(known, dict) else None


def learnable_options(job: str, workspace: Workspace) -> dict[str, Any]:
    """The tuner's options that a job must have to learn on the result of an earlier one. Raises UserError.

    A merge is learned on as a plain adapter: of its options only what gives it its shape is noted.
    """
    spec = read_job_spec(workspace.job(job) / names.SPEC)
    _, origin = result_of(job, workspace)
    known = tuner_options_of(spec, origin)
    if known is None:
        raise UserError(f"Nobody knows with which options {job} can be learned on.", "Continue from another job.")
    return TUNERS[known["name"]].options(**known).model_dump()


def _differences(job: str, spec: TrainSpec, workspace: Workspace) -> str:
    """In which of its options the tuner of a job is another than an adapter's."""
    old, new = learnable_options(job, workspace), spec.tuner.model_dump()
    merged = isinstance(read_job_spec(workspace.job(job) / names.SPEC), MergeSpec)
    told = {name: value for name, value in old.items() if new.get(name) != value}
    return ", ".join(f"{name}={value}" for name, value in told.items() if not merged or name not in LEARNED_BY)
