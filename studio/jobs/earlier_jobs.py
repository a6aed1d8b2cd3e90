"""What a job takes from earlier ones: what it continues from, and the reward model that marks its answers.

It continues from the result of a job, from one of its checkpoints (JOB@STEP), or from an imported adapter.

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
from studio.jobs.imported_start import check_tokenizer, imported_options
from studio.jobs.merge_sources import read_source, tuner_options_of
from studio.jobs.spec import TrainSpec, read_job_spec
from studio.methods.objectives import OBJECTIVES
from studio.methods.tuners import TUNERS
from studio.workspace import Workspace

LEARNED_BY = ("lora_dropout", "loraplus_lr_ratio")  # how it was learned is in no merge and no imported adapter
# Whose saved weights are all that is needed to learn on: the others keep less than they learn by, or other shapes.
CONTINUED = ("lora", "ia3", "bottleneck", "full", "partial")


def result_of(job: str, workspace: Workspace) -> tuple[Path, dict[str, Any]]:
    """(folder of an earlier job's adapter or model, what it says of its origin). Raises UserError."""
    for kind in (names.ADAPTER, names.MODEL):
        folder = workspace.job(job) / kind
        if folder.is_dir():
            return folder, json.loads((folder / names.ORIGIN).read_text(encoding="utf-8"))
    raise UserError(f"The job {job} has no result.", "Let it finish, or choose another.")


def start_of(name: str, workspace: Workspace) -> tuple[Path, dict[str, Any]]:
    """(folder of what a job may continue from, what is known of its origin): of a job, JOB@STEP or an imported adapter.

    Raises UserError when there is none.
    """
    if "@" not in name and not is_imported(name, workspace):
        return result_of(name, workspace)
    source = read_source(name, workspace)
    return source.folder, source.origin


def is_imported(name: str, workspace: Workspace) -> bool:
    """Whether an imported adapter has that name. Raises UserError when it cannot be the name of an adapter."""
    return workspace.adapter_folder(name).is_relative_to(workspace.adapters)


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
    folder, _ = start_of(spec.start_from, workspace)
    return folder if folder.name == names.MODEL else None


def starting_adapter(spec: TrainSpec, workspace: Workspace) -> Path | None:
    """The adapter that a job continues from, None when it continues from a whole model or from nothing."""
    if not spec.start_from:
        return None
    folder, _ = start_of(spec.start_from, workspace)
    return folder if folder.name != names.MODEL else None


def check_start_from(spec: TrainSpec, workspace: Workspace, base: Path) -> None:
    """Raise UserError when what the job continues from cannot be learned on as this job wants to."""
    name = spec.start_from
    folder, origin = start_of(name, workspace)
    _check_tuner(name, folder, spec)
    if folder.name != names.MODEL and _differences(name, spec, workspace):
        raise UserError(
            f"The adapter of {name} has another shape: it was trained with {_differences(name, spec, workspace)}.",
            "Set the tuner's options as they were there.",
        )
    if folder.name != names.MODEL and origin["base_fingerprint"] != fingerprint(base):
        raise UserError(
            f"The adapter of {name} was trained on another base model ({origin['base_model']}).",
            f"Choose {origin['base_model']} as the base model.",
        )
    if origin["chat_template"] != spec.chat_template:
        raise UserError(
            f"{name} was trained with the chat template {origin['chat_template']}.", "Use the same chat template."
        )
    if is_imported(name, workspace):
        check_tokenizer(name, folder, base)
    kinds = [OBJECTIVES[objective].task_type for objective in (origin["objective"], spec.objective.name)]
    if kinds[0] == "SEQ_CLS" != kinds[1]:
        raise UserError(f"The job {name} made a reward model, which cannot learn to write.", "Choose another job.")


def _check_tuner(name: str, folder: Path, spec: TrainSpec) -> None:
    """Raise UserError when the job's tuner cannot learn on what lies in a folder."""
    tuner = TUNERS[spec.tuner.name]
    if (folder.name == names.MODEL) != tuner.whole_model:
        if folder.name == names.MODEL:
            raise UserError(f"The job {name} made a whole model.", f"Choose it as the base model instead: {folder}")
        raise UserError(
            f"{name} is an adapter, and {tuner.title} trains a whole model.", "Choose the tuner that made it."
        )
    if spec.tuner.name not in CONTINUED or tuner.changes_base(spec.tuner):
        raise UserError(
            f"What {tuner.title} saves with these options is not enough to learn on.",
            "Continue from LoRA, (IA)³, a bottleneck adapter, or full fine-tuning.",
        )


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


def learnable_options(name: str, workspace: Workspace) -> dict[str, Any]:
    """The tuner's options that a job must have to learn on what it continues from. Raises UserError.

    A merge is learned on as a plain adapter: of its options only what gives it its shape is noted. An imported one
    says as much itself.
    """
    _, origin = start_of(name, workspace)
    if is_imported(name, workspace):
        return imported_options(read_source(name, workspace), workspace)
    known = tuner_options_of(_spec_of(name, workspace), origin)
    if known is None:
        raise UserError(f"Nobody knows with which options {name} can be learned on.", "Continue from another job.")
    return TUNERS[known["name"]].options(**known).model_dump()


def _spec_of(name: str, workspace: Workspace) -> Any:
    """The spec of the job that left it; None for an imported adapter."""
    imported = is_imported(name, workspace)
    return None if imported else read_job_spec(workspace.job(name.partition("@")[0]) / names.SPEC)


def _differences(name: str, spec: TrainSpec, workspace: Workspace) -> str:
    """In which of its options the tuner of a job is another than an adapter's."""
    old, new = learnable_options(name, workspace), spec.tuner.model_dump()
    trained = isinstance(_spec_of(name, workspace), TrainSpec)
    told = {option: value for option, value in old.items() if new.get(option) != value}
    return ", ".join(f"{option}={value}" for option, value in told.items() if trained or option not in LEARNED_BY)
