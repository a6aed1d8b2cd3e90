"""`studio train …` and `studio jobs …`"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.cli.data import problem_words, require_file
from studio.cli.output import AsJson, duration, show, table
from studio.data.isolation import import_file
from studio.errors import UserError
from studio.jobs.events import Failed
from studio.jobs.presets import preset_spec
from studio.jobs.state import ACTIVE
from studio.jobs.store import JobView
from studio.jobs.studio import Studio, keep_studio, open_studio
from studio.settings import read_settings
from studio.workspace import WorkspaceInUse

app = typer.Typer(no_args_is_help=True, help="Jobs: list, show, stop, resume, delete.")
LOOK_EVERY = 0.5  # seconds
JobId = Annotated[str, typer.Argument(help="The job's id: see `jobs list`.")]


def train(
    preset: Annotated[str, typer.Option(help="lora, qlora, full, dpo, or another name in presets/.")],
    data: Annotated[Path, typer.Option(help="The file to learn from.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value: see `studio options`.")] = None,
    model: Annotated[str, typer.Option(help="Base model: starter, a Hub id or a folder.")] = "starter",
    name: Annotated[str, typer.Option(help="What the job is called.")] = "",
    as_json: AsJson = False,
) -> None:
    """Train and wait for the end. Ctrl-C stops the job and keeps what it learned."""
    require_file(data)
    changes = {"base_model": model, "name": name, **_pairs(settings or [])}
    with keeper() as studio:
        verdict = import_file(data, studio.workspace)
        if verdict.record is None:
            raise UserError(f"{data.name} cannot be used. " + " ".join(map(problem_words, verdict.errors[:5])))
        dataset = {"id": verdict.record.id, "sha256": verdict.record.sha256}
        job_id = studio.start_job(preset_spec(preset, dataset, changes))
        finish(studio, job_id, as_json=as_json)


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """All jobs, the newest first."""
    store = open_studio(read_settings()).store
    rows = [view.to_dict() for view in store.views()]
    rows += [{"id": job_id, "status": "unreadable", "message": why} for job_id, why in store.unreadable.items()]
    empty = "No jobs yet. Start one: python -m studio train --preset lora --data samples/lighthouse-keeper.jsonl"
    show(rows, as_json, lambda: table(rows, ("id", "status", "step", "max_steps", "loss", "name")) if rows else empty)


@app.command("show")
def show_job(job_id: JobId, as_json: AsJson = False) -> None:
    """One job: how far it is, how it ended, its figures."""
    studio = open_studio(read_settings())
    view = studio.store.view(job_id)
    value = {**view.to_dict(), "spec": view.spec.model_dump(), "points": view.state.points}
    show(value, as_json, lambda: _words(view))


@app.command()
def stop(job_id: JobId, as_json: AsJson = False) -> None:
    """Stop a job; what it learned so far is saved."""
    with keeper() as studio:
        studio.store.request_stop(job_id)
        while studio.store.view(job_id).status in ACTIVE:
            time.sleep(LOOK_EVERY)
        view = studio.store.view(job_id)
        show(view.to_dict(), as_json, lambda: _words(view))


@app.command()
def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Go on from the newest checkpoint, and wait for the end."""
    with keeper() as studio:
        studio.store.resume(job_id)
        finish(studio, job_id, as_json=as_json)


@app.command()
def delete(job_id: JobId) -> None:
    """Delete a job and what it learned."""
    open_studio(read_settings()).store.delete(job_id)
    typer.echo(f"{job_id} is deleted.")


@contextmanager
def keeper() -> Iterator[Studio]:
    """A studio whose queue is kept: by this process, or by the one that has the workspace already."""
    settings = read_settings()
    try:
        with keep_studio(settings) as studio:
            yield studio
    except WorkspaceInUse:
        yield open_studio(settings)


def finish(studio: Studio, job_id: str, *, as_json: bool) -> None:
    """Wait for the end of a job, telling its progress; exits with 2 or 1 when it failed."""
    try:
        view = _follow(studio, job_id, tell=not as_json)
    except KeyboardInterrupt:
        typer.echo("\nStopping; what was learned is being saved …", err=True)
        studio.store.request_stop(job_id)
        view = _follow(studio, job_id, tell=False)
    folder = studio.workspace.job(job_id)
    value = {**view.to_dict(), "folder": str(folder), "end": view.state.end.model_dump() if view.state.end else None}
    show(value, as_json, lambda: _words(view))
    if isinstance(view.state.end, Failed):
        raise typer.Exit(2 if view.state.end.cause == "user" else 1)
    if view.status == "interrupted":
        raise typer.Exit(1)


def _follow(studio: Studio, job_id: str, *, tell: bool) -> JobView:
    told = ""
    while True:
        view = studio.store.view(job_id)
        if view.status not in (*ACTIVE, "queued"):
            return view
        line = _progress(view)
        if tell and line != told:
            typer.echo(line)
            told = line
        time.sleep(LOOK_EVERY)


def _progress(view: JobView) -> str:
    state = view.state
    if view.status != "running":
        return f"{view.id}: {view.status}{f' ({state.phase})' if state.phase else ''}"
    figures = [
        f"{name} {value:.4g}"
        for name in ("loss", "eval_loss", "rewards/accuracies")
        if (value := state.value(name)) is not None
    ]
    return f"{view.id}: step {state.step}/{state.max_steps}  {'  '.join(figures)}  left {duration(state.seconds_left)}"


def _words(view: JobView) -> str:
    rows: list[tuple[str, Any]] = [
        ("id", view.id),
        ("status", view.status),
        ("base model", view.spec.base_model),
        ("method", f"{view.spec.objective.name}, {view.spec.tuner.name}, quantization {view.spec.quantization}"),
        ("step", f"{view.state.step} of {view.state.max_steps}"),
        ("loss", view.state.value("loss")),
        ("evaluation loss", view.state.value("eval_loss")),
        ("message", view.message),
    ]
    return "\n".join(f"{name:16} {value}" for name, value in rows if value not in (None, ""))


def _pairs(settings: list[str]) -> dict[str, str]:
    pairs = {}
    for text in settings:
        key, mark, value = text.partition("=")
        if not mark:
            raise UserError(f"--set {text} is not of the form key=value.", "Write for example --set r=16.")
        pairs[key.strip()] = value.strip()
    return pairs
