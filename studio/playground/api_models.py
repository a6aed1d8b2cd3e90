"""What the API can be asked for by name: base models that are here, what jobs left, adapters from elsewhere."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from studio import workspace as names
from studio.base_models import HUB_ID, STARTER, model_folder
from studio.errors import UserError
from studio.jobs.store import JobView
from studio.jobs.studio import Studio
from studio.methods.objectives import OBJECTIVES
from studio.playground.client import BASE, Target, chat_target
from studio.playground.remote import REMOTE, adapters_of, remote_server
from studio.starter_model import HUB_ID as STARTER_HUB_ID
from studio.workspace import ID_PATTERN, read_json

log = logging.getLogger(__name__)
Kind = Literal["base", "adapter", "model", "imported", "remote"]
RECORD = "record.json"  # what an adapter from elsewhere says of itself
ADAPTER_CONFIG = "adapter_config.json"  # PEFT's
SPEAKS = "CAUSAL_LM"
LISTED = "GET /v1/models lists what is here."


class NoSuchModel(UserError):
    """Nothing that answers has that name."""


@dataclass(frozen=True, kw_only=True)
class ApiModel:
    """`id`: what a menu, and a request, calls it; `created`: seconds since 1970; `base_model` by the studio's name."""

    id: str
    kind: Kind
    name: str
    base_model: str
    created: int

    def to_dict(self) -> dict[str, Any]:
        """As OpenAI's list of models has it, with our own words under `studio`."""
        own = {"kind": self.kind, "name": self.name, "base_model": self.base_model}
        return {"id": self.id, "object": "model", "created": self.created, "owned_by": "studio", "studio": own}


def api_models(studio: Studio) -> list[ApiModel]:
    """Everything that can answer now: bases whose weights are here, and what was taught to them (no reward models)."""
    views = [view for view in studio.store.views() if studio.workspace.has_result(view.id)]
    taught = [_of_job(studio, view) for view in views if OBJECTIVES[view.objective].task_type == SPEAKS]
    taught += imported_adapters(studio)
    used = dict.fromkeys(["starter", *(view.spec.base_model for view in views), *(one.base_model for one in taught)])
    here = {name: folder for name in used if (folder := _folder(studio, name)) is not None}
    bases = [
        ApiModel(id=f"{BASE}:{name}", kind="base", name=_called(name), base_model=name, created=_changed(folder))
        for name, folder in here.items()
    ]
    return bases + [one for one in taught if one.kind == "model" or one.base_model in here]


def remote_models(studio: Studio) -> list[ApiModel]:
    """What the remote server answers as, and the workspace's adapters that it would load.

    None while it is silent: what is on this machine can be used all the same, and the log says why they are missing.
    """
    server = remote_server(studio.settings)
    if server is None:
        return []
    try:
        found = [*server.models(), *server.loadable(adapters_of(studio.workspace))]
    except UserError as error:
        log.warning("the models of the remote server are not in the menus: %s", error)
        return []
    return [
        ApiModel(id=f"{REMOTE}{one.name}", kind="remote", name=one.name, base_model=one.base, created=0)
        for one in found
    ]


def imported_adapters(studio: Studio) -> list[ApiModel]:
    """The adapters in the workspace's `adapters/` that say what they belong to and speak."""
    found = []
    for folder in sorted(studio.workspace.adapters.iterdir()):
        if not ID_PATTERN.fullmatch(folder.name) or not (folder / names.ADAPTER).is_dir():
            continue
        origin = read_json(folder / names.ADAPTER / names.ORIGIN) or {}
        told = {**origin, **(read_json(folder / RECORD) or {})}
        if told.get("base_model") and _speaks(told.get("objective")):
            name = str(told.get("name") or folder.name)
            created, base = _changed(folder), str(told["base_model"])
            found.append(ApiModel(id=folder.name, kind="imported", name=name, base_model=base, created=created))
    return found


def api_target(studio: Studio, model: str) -> Target:
    """What a request's `model` means: an id of `api_models`, JOB@STEP, or the name of a base model.

    Raises NoSuchModel when nothing here has that name, UserError when it has not finished.
    """
    if HUB_ID.fullmatch(model) or model in ("starter", STARTER):
        model = f"{BASE}:{model}"
    if model.startswith(f"{BASE}:"):
        name = model.removeprefix(f"{BASE}:")
        if name == STARTER or (name == STARTER_HUB_ID and _folder(studio, name) is None):
            name = "starter"  # one name for one model: servers are told apart by it
        if _folder(studio, name) is None:
            raise NoSuchModel(f"The base model {name[:100]!r} is not on this machine.", LISTED)
        return Target(name, BASE)
    imported = {one.id: one for one in imported_adapters(studio)}
    return Target(imported[model].base_model, model) if model in imported else _job_target(studio, model)


def _job_target(studio: Studio, model: str) -> Target:
    job_id, at, _ = model.partition("@")
    if not ID_PATTERN.fullmatch(job_id) or not (studio.workspace.job(job_id) / names.SPEC).is_file():
        raise NoSuchModel(f"There is no model {model[:100]!r}.", LISTED)
    view = studio.store.view(job_id)
    if OBJECTIVES[view.objective].task_type != SPEAKS:
        raise NoSuchModel(f"{view.name} is a reward model: it gives marks and does not speak.", "Choose another.")
    if not at:
        return chat_target(studio.store, studio.workspace, model)
    if not (studio.workspace.adapter_folder(model) / ADAPTER_CONFIG).is_file():
        raise NoSuchModel(f"{view.name} has no adapter {model[:100]!r}.", "Choose one of its checkpoints.")
    return Target(view.spec.base_model, model)


def _of_job(studio: Studio, view: JobView) -> ApiModel:
    whole = (studio.workspace.job(view.id) / names.MODEL).is_dir()
    created = int(datetime.fromisoformat(view.created).timestamp())
    kind: Kind = "model" if whole else "adapter"
    return ApiModel(id=view.id, kind=kind, name=view.name, base_model=view.spec.base_model, created=created)


def _speaks(objective: object) -> bool:
    known = OBJECTIVES.get(str(objective))
    return known is None or known.task_type == SPEAKS


def _folder(studio: Studio, name: str) -> Path | None:
    """Where a base model lies that may be used; None when it does not, or may not."""
    try:
        folder = model_folder(name, studio.workspace.models, studio.model_roots)
    except UserError:
        return None
    return folder if folder is not None and (folder / "config.json").is_file() else None


def _called(name: str) -> str:
    return STARTER if name == "starter" else name


def _changed(folder: Path) -> int:
    return int(folder.stat().st_mtime)
