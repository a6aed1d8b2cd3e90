"""Bringing an adapter in: the child process that checks it, and the folder that is there whole or not at all."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from studio.adapters.record import AdapterRecord, ImportSource, checked_name
from studio.base_models import HUB_ID
from studio.data.isolation import Told, run_isolated
from studio.errors import UserError
from studio.workspace import Workspace, new_id

CHILD = "studio.adapters"


def bring_in(
    paths: Sequence[Path],
    workspace: Workspace,
    *,
    source: ImportSource,
    bases: Mapping[str, Path],
    base_model: str = "",
    name: str = "",
    limit: int,
    told: Told | None = None,
    cancelled: threading.Event | None = None,
) -> AdapterRecord:
    """Check the adapter in some files, a folder or a zip, and keep it. Raises UserError; then nothing is left.

    `bases`: the base models on this machine by name; `base_model` one of them, "" for the one that the adapter
    names. `limit`: bytes that it may have.
    """
    title = checked_name(name or _title(source.name))
    if base_model and base_model not in bases:
        raise UserError(f"The base model {base_model[:80]!r} is not on this machine.", "Choose it from the list.")
    adapter_id = new_id(title)
    staging = workspace.adapters / f".staging-{adapter_id}" / adapter_id
    staging.mkdir(parents=True, mode=0o700)
    try:
        answer = run_isolated(
            "adapter",
            module=CHILD,
            told=told,
            cancelled=cancelled,
            paths=[str(path.absolute()) for path in paths],
            folder=str(staging),
            id=adapter_id,
            name=title,
            source=source.model_dump(),
            base_model=base_model,
            bases={known: str(folder) for known, folder in bases.items()},
            limit=limit,
        )
        staging.rename(workspace.adapter(adapter_id))
        return AdapterRecord(**answer)
    finally:
        shutil.rmtree(staging.parent, ignore_errors=True)


def fetch(
    hub_id: str, folder: Path, *, limit: int, told: Told | None = None, cancelled: threading.Event | None = None
) -> None:
    """Fetch an adapter of the Hub into `folder`. Raises UserError: no such id, pickles, too large, no network."""
    run_isolated(
        "adapter_of_hub",
        module=CHILD,
        told=told,
        cancelled=cancelled,
        online=True,
        hub_id=checked_hub_id(hub_id),
        folder=str(folder),
        limit=limit,
    )


def checked_hub_id(hub_id: str) -> str:
    """`hub_id` when it may be one. Raises UserError."""
    if not HUB_ID.fullmatch(hub_id):
        raise UserError(f"{hub_id[:80]!r} is not the id of an adapter.", "Write organisation/adapter.")
    return hub_id


def _title(source_name: str) -> str:
    stem = source_name.rstrip("/").rpartition("/")[2]
    shown = "".join(one for one in stem.removesuffix(".zip") if one.isprintable())
    return "adapter" if shown.startswith("adapter_") else shown[:80].strip() or "adapter"
