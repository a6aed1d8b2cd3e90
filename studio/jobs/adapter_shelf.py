"""Every adapter of a workspace under the name that leads to it: results of jobs, their checkpoints, imported ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from studio import workspace as names
from studio.adapters.bundle import WEIGHTS
from studio.adapters.fitting import BaseShapes
from studio.adapters.inspection import BaseNorms, Tell, look_into
from studio.adapters.opened import open_adapter
from studio.adapters.record import ImportedAdapters
from studio.base_models import STARTER, fingerprint, model_folder
from studio.errors import UserError
from studio.methods.objectives import OBJECTIVES
from studio.workspace import Workspace

CHECKPOINT = "checkpoint-"
Kind = Literal["job", "merge", "checkpoint", "imported"]
Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ShelfEntry:
    """`name` leads to its folder (`Workspace.adapter_folder`); `speaks`: not a reward model, which only gives marks."""

    name: str
    title: str
    kind: Kind
    tuner: str
    objective: str
    base_model: str
    bytes: int
    created: str
    job: str = ""
    step: int | None = None
    source: str = ""
    speaks: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def shelf(workspace: Workspace, *, checkpoints: bool = True) -> list[ShelfEntry]:
    """All adapters that are there, the newest first; the checkpoints of a job stand behind its result."""
    found = [entry for job_id, values in job_specs(workspace).items() for entry in _of_job(workspace, job_id, values)]
    found += [
        ShelfEntry(
            name=record.id,
            title=record.name,
            kind="imported",
            tuner=record.tuner,
            objective="sft",
            base_model=record.base_model,
            bytes=_bytes(workspace.adapter(record.id) / names.ADAPTER),
            created=record.created,
            source=f"{record.source.kind}: {record.source.name}",
        )
        for record in ImportedAdapters(workspace).records()
    ]
    kept = [entry for entry in found if checkpoints or entry.kind != "checkpoint"]
    return sorted(kept, key=lambda entry: entry.created, reverse=True)


def find(workspace: Workspace, name: str) -> ShelfEntry:
    """One of them. Raises UserError when there is none of that name."""
    workspace.adapter_folder(name)  # a name that cannot be one is told as that
    for entry in shelf(workspace):
        if entry.name == name:
            return entry
    raise UserError(f"There is no adapter {name!r}.", "Choose one from the list.")


def job_specs(workspace: Workspace) -> dict[str, Values]:
    """Job → what its spec.yaml says, of whatever kind it is; {} where that cannot be read."""
    found = {}
    for folder in sorted(workspace.jobs.iterdir()):
        if folder.name[0] != "." and (folder / names.SPEC).is_file():
            try:
                values = yaml.safe_load((folder / names.SPEC).read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError):
                values = None  # the list of jobs says what is wrong with it
            found[folder.name] = values if isinstance(values, dict) else {}
    return found


def named(value: Any) -> str:
    """The name of an objective or a tuner, which a spec has alone or with its options."""
    return str(value.get("name", "")) if isinstance(value, dict) else str(value or "")


def bases_here(workspace: Workspace, roots: tuple[Path, ...] | None, also: str = "") -> dict[str, Path]:
    """The base models on this machine that are known: the starter, what jobs and adapters name, and `also`."""
    used = [str(values.get("base_model", "")) for values in job_specs(workspace).values()]
    used += [record.base_model for record in ImportedAdapters(workspace).records()] + [also]
    found = {}
    for name in dict.fromkeys(["starter", *used]):
        folder = base_folder(workspace, "starter" if name == STARTER else name, roots)
        if folder is not None:
            found["starter" if name == STARTER else name] = folder
    return found


def base_folder(workspace: Workspace, name: str, roots: tuple[Path, ...] | None) -> Path | None:
    """Where a base model lies; None when it is not on this machine, or not where it may be read."""
    try:
        return model_folder(name, workspace.models, roots) if name else None
    except UserError:
        return None


def inspect(workspace: Workspace, wanted: Sequence[str], roots: tuple[Path, ...] | None, tell: Tell) -> dict[str, Any]:
    """Look into adapters of one base model: `inspection.look_into` with their entries. Raises UserError."""
    entries = [find(workspace, name) for name in dict.fromkeys(wanted)]
    folders = {name: base_folder(workspace, name, roots) for name in {entry.base_model for entry in entries}}
    prints = {name: fingerprint(folder) if folder else name for name, folder in folders.items()}
    if len(set(prints.values())) > 1:
        raise UserError(
            f"These adapters are for different base models: {', '.join(sorted(folders))}.",
            "Choose adapters of one base model; the changes of different ones cannot be compared.",
        )
    base = norms = None
    for name, folder in folders.items():
        if folder is not None:
            base, norms = BaseShapes(folder, name), BaseNorms(workspace.base_norms(prints[name]))
    opened = [open_adapter(workspace.adapter_folder(entry.name), base) for entry in entries]
    report = look_into(opened, norms, tell)
    told = [{**entry.to_dict(), **found} for entry, found in zip(entries, report["adapters"], strict=True)]
    return {**report, "adapters": told, "base_here": base is not None}


def _of_job(workspace: Workspace, job_id: str, values: Values) -> list[ShelfEntry]:
    folder = workspace.job(job_id)
    title, objective = str(values.get("name") or job_id), named(values.get("objective"))
    kind: Kind = "merge" if "sources" in values else "job"
    steps = sorted(
        (step for step in map(_step, (folder / names.CHECKPOINTS).glob(f"{CHECKPOINT}*")) if step), reverse=True
    )
    places: list[tuple[Path, int | None]] = [(folder / names.ADAPTER, None)]
    places += [(folder / names.CHECKPOINTS / f"{CHECKPOINT}{step}", step) for step in steps]
    return [
        ShelfEntry(
            name=job_id if step is None else f"{job_id}@{step}",
            title=title,
            kind=kind if step is None else "checkpoint",
            tuner=named(values.get("tuner")),
            objective=objective,
            base_model=str(values.get("base_model", "")),
            bytes=_bytes(place),
            created=_time(place),
            job=job_id,
            step=step,
            speaks=objective not in OBJECTIVES or OBJECTIVES[objective].task_type == "CAUSAL_LM",
        )
        for place, step in places
        if (place / WEIGHTS).is_file() and (place / names.MANIFEST).is_file()
    ]


def _step(folder: Path) -> int:
    digits = folder.name[len(CHECKPOINT) :]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _bytes(folder: Path) -> int:
    file = folder / WEIGHTS
    return file.stat().st_size if file.is_file() else 0


def _time(folder: Path) -> str:
    return datetime.fromtimestamp((folder / names.MANIFEST).stat().st_mtime, UTC).isoformat(timespec="seconds")
