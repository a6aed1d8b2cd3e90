"""`studio adapters …`"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.adapters.bringing import bring_in, fetch
from studio.adapters.opened import REASONS
from studio.adapters.record import ImportedAdapters, ImportSource
from studio.base_models import HUB_ID
from studio.cli.output import AsJson, show, table
from studio.errors import UserError
from studio.jobs.adapter_shelf import bases_here, inspect, shelf
from studio.jobs.studio import Studio, open_studio
from studio.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Adapters: list, import, rename, remove, inspect.")
AdapterId = Annotated[str, typer.Argument(help="The adapter's id: see `adapters list`.")]


@app.command("list")
def list_adapters(as_json: AsJson = False) -> None:
    """All adapters: results of jobs, their checkpoints, imported ones."""
    workspace = open_studio(read_settings()).workspace
    rows = [entry.to_dict() for entry in shelf(workspace)]
    for adapter_id, why in ImportedAdapters(workspace).unreadable().items():
        rows.append({"name": adapter_id, "kind": "unreadable", "title": why})
    empty = "No adapters yet. Train one, or bring one in: python -m studio adapters import FOLDER"
    show(rows, as_json, lambda: table(rows, ("name", "kind", "tuner", "base_model", "title")) if rows else empty)


@app.command("import")
def import_adapter(
    path: Annotated[str, typer.Argument(help="A folder or a zip with adapter_config.json, or a Hub id.")],
    base: Annotated[
        str, typer.Option(help="Its base model: starter, a Hub id or a folder. Empty: the one it names.")
    ] = "",
    name: Annotated[str, typer.Option(help="What it is called.")] = "",
    as_json: AsJson = False,
) -> None:
    """Bring in an adapter that was trained elsewhere, after checking that it is harmless and fits its base model."""
    studio = open_studio(read_settings())
    with _brought(path, studio) as (folder, source):
        record = bring_in(
            [folder],
            studio.workspace,
            source=source,
            bases=bases_here(studio.workspace, studio.model_roots, base),
            base_model=base,
            name=name,
            limit=studio.settings.upload_limit_mb * 1024**2,
        )
    told = f"{record.id} is here: {record.tuner}, for {record.base_model}."
    left = f"\nLeft out: {', '.join(record.left_out)}." if record.left_out else ""
    show(record.model_dump(), as_json, lambda: told + left)


@app.command()
def rename(adapter_id: AdapterId, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Call an imported adapter something else; its id stays."""
    record = ImportedAdapters(open_studio(read_settings()).workspace).rename(adapter_id, name)
    typer.echo(f"{record.id} is called {record.name}.")


@app.command()
def remove(adapter_id: AdapterId) -> None:
    """Delete an imported adapter. The adapter of a job goes with its job."""
    ImportedAdapters(open_studio(read_settings()).workspace).remove(adapter_id)
    typer.echo(f"{adapter_id} is deleted.")


@app.command("inspect")
def inspect_adapters(
    adapter_ids: Annotated[list[str], typer.Argument(help="One adapter, or several of one base model to compare.")],
    as_json: AsJson = False,
) -> None:
    """How much each layer was changed, in how many directions, and how alike several adapters are."""
    studio = open_studio(read_settings())
    report = inspect(studio.workspace, adapter_ids, studio.model_roots, lambda share, known: None)
    show(report, as_json, lambda: _words(report))


@contextmanager
def _brought(path: str, studio: Studio) -> Iterator[tuple[Path, ImportSource]]:
    """Where the files lie; what came from the Hub is gone again afterwards."""
    if Path(path).exists():
        yield Path(path), ImportSource(kind="folder", name=Path(path).absolute().name)
        return
    if not HUB_ID.fullmatch(path):
        raise UserError(f"There is no folder or zip {path!r}.", "Check the path, or write organisation/adapter.")
    folder = studio.workspace.new_upload("adapter")
    folder.mkdir()
    try:
        fetch(path, folder, limit=studio.settings.upload_limit_mb * 1024**2)
        yield folder, ImportSource(kind="hub", name=path)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _words(report: dict[str, Any]) -> str:
    lines = []
    for one in report["adapters"]:
        lines.append(f"{one['name']}: {one['tuner']}, for {one['base_model']}")
        if one["reason"]:
            lines += [f"  {REASONS[one['reason']]}", ""]
            continue
        share = f", {one['relative']:.3%} of the changed weights' own" if one["relative"] is not None else ""
        lines += [f"  norm of the change {one['norm']:.4g}{share}", ""]
        lines += [table(one["layers"], ("module", "norm", "relative", "rank", "effective_rank")), ""]
    if len(report["adapters"]) > 1:
        names = [one["name"] for one in report["adapters"]]
        rows = [
            {"cosine": mine, **dict(zip(names, row, strict=True))}
            for mine, row in zip(names, report["cosine"], strict=True)
        ]
        lines.append(table(rows, ("cosine", *names)))
    return "\n".join(lines)
