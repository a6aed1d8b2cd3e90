"""Who can answer: bases, what jobs left, their checkpoints, imported adapters; and which server that means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.state import RESUMABLE
from studio.jobs.store import JobStore, JobView
from studio.jobs.studio import Studio
from studio.methods.objectives import OBJECTIVES
from studio.playground.remote import REMOTE
from studio.workspace import Workspace, read_json

BASE = "base"
ADAPTER_RECORD, ADAPTER_CONFIG, MODEL_CONFIG = "record.json", "adapter_config.json", "config.json"
CHECKPOINT_PREFIX = "checkpoint-"
Kind = Literal["base", "job", "checkpoint", "imported"]


@dataclass(frozen=True)
class Target:
    """`base_model`: what the server must hold; `model`: the name it knows the adapter by."""

    base_model: str
    model: str


@dataclass(frozen=True)
class Speaker:
    """One entry of the menus. `choice` is what `chat_target` takes; `detail` is a word or two behind the name."""

    choice: str
    kind: Kind
    name: str
    detail: str = ""


def chat_target(store: JobStore, workspace: Workspace, choice: str) -> Target:
    """What "base:NAME", a job's id, "JOB@STEP", an imported adapter's id or "remote:NAME" means.

    Raises UserError when it is none of these, or left nothing to talk to.
    """
    if choice.startswith(REMOTE):
        return Target(choice, choice.removeprefix(REMOTE))
    if choice.startswith(f"{BASE}:"):
        return Target(choice.removeprefix(f"{BASE}:"), BASE)
    job_id, at, _ = choice.partition("@")
    if at:
        return _checkpoint(store.view(job_id), workspace.adapter_folder(choice), choice)
    if workspace.adapter(choice).is_dir():
        return _imported(workspace, choice)
    view = store.view(choice)
    folder = workspace.job(choice)
    if (folder / names.MODEL).is_dir():
        return Target(str((folder / names.MODEL).absolute()), BASE)
    if (folder / names.ADAPTER).is_dir():
        return Target(view.spec.base_model, choice)
    hint = "Resume it first." if view.status in RESUMABLE else "Wait until it is finished."
    raise UserError(f"{view.name} has no adapter yet (it is {view.status}).", hint)


def _checkpoint(view: JobView, folder: Path, choice: str) -> Target:
    step = folder.name.removeprefix(CHECKPOINT_PREFIX)
    if not (folder / names.MANIFEST).is_file():
        raise UserError(f"{view.name} keeps no checkpoint of step {step}.", "Choose one from the list.")
    if (folder / ADAPTER_CONFIG).is_file():
        return Target(view.spec.base_model, f"{view.id}@{int(step)}")
    if (folder / MODEL_CONFIG).is_file():
        return Target(str(folder.absolute()), BASE)
    raise UserError(f"The checkpoint of step {step} of {view.name} holds nothing that speaks.", "Choose another.")


def _imported(workspace: Workspace, adapter_id: str) -> Target:
    record = read_json(workspace.adapter(adapter_id) / ADAPTER_RECORD)
    if not isinstance(record, dict) or not (workspace.adapter(adapter_id) / names.ADAPTER).is_dir():
        raise UserError(f"The adapter {adapter_id!r} is not complete.", "Import it again.")
    return Target(str(record["base_model"]), adapter_id)


def speakers(studio: Studio, *, checkpoints: bool = False) -> list[Speaker]:
    """Everything that can answer: the starter, what jobs left (no reward models), imported adapters, other bases.

    With `checkpoints`, the ones that a job kept follow it, the newest first.
    """
    speaking = [view for view in studio.store.views() if OBJECTIVES[view.objective].task_type == "CAUSAL_LM"]
    finished = [view for view in studio.store.views() if studio.workspace.has_result(view.id)]
    imported = _imported_records(studio.workspace)
    used = [view.spec.base_model for view in finished] + [str(record["base_model"]) for record in imported]
    bases = [Speaker(f"{BASE}:{name}", "base", name) for name in dict.fromkeys(["starter", *used])]
    middle: list[Speaker] = []
    for view in speaking:
        detail = view.made_by
        if studio.workspace.has_result(view.id):
            middle.append(Speaker(view.id, "job", view.name, detail))
        if checkpoints:
            middle += [
                Speaker(f"{view.id}@{step}", "checkpoint", view.name, str(step))
                for step in kept_steps(studio.workspace.job(view.id) / names.CHECKPOINTS)
            ]
    middle += [Speaker(record["id"], "imported", str(record.get("name") or record["id"])) for record in imported]
    return [bases[0], *middle, *bases[1:]]


def kept_steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a job's folder that are whole, the newest first."""
    if not folder.is_dir():
        return []
    endings = [path.name.removeprefix(CHECKPOINT_PREFIX) for path in folder.glob(f"{CHECKPOINT_PREFIX}*/")]
    steps = [int(ending) for ending in endings if ending.isascii() and ending.isdigit()]
    whole = [step for step in steps if (folder / f"{CHECKPOINT_PREFIX}{step}" / names.MANIFEST).is_file()]
    return sorted(whole, reverse=True)


def _imported_records(workspace: Workspace) -> list[dict[str, Any]]:
    found = []
    for folder in sorted(workspace.adapters.iterdir()):
        record = read_json(folder / ADAPTER_RECORD) if folder.is_dir() else None
        if isinstance(record, dict) and record.get("id") == folder.name and "base_model" in record:
            found.append(record)
    return found
