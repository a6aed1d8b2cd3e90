"""`studio train …` and `studio jobs …`"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.cli.data import problem_words, require_file
from studio.cli.merge_words import merge_words
from studio.cli.output import AsJson, duration, facts, show, table
from studio.data.dataset import DatasetRecord
from studio.data.isolation import import_file
from studio.data.snapshots import read_current
from studio.data.sources.contract import printable
from studio.errors import UserError
from studio.jobs.events import Failed
from studio.jobs.preflight import check_combination
from studio.jobs.presets import PLACEHOLDER_DATASET, preset_spec
from studio.jobs.probe import probe as try_out
from studio.jobs.spec import MergeSpec, build_spec
from studio.jobs.state import ACTIVE
from studio.jobs.store import JobView
from studio.jobs.studio import Studio, keep_studio, open_studio
from studio.jobs.training_data import refer_to
from studio.settings import read_settings
from studio.workspace import WorkspaceInUse

app = typer.Typer(no_args_is_help=True, help="Jobs: list, show, stop, resume, delete.")
LOOK_EVERY = 0.5  # seconds
EvalData = Annotated[Path | None, typer.Option(help="A file to evaluate on, instead of a share of the examples.")]
MixData = Annotated[
    Path | None, typer.Option(help="A file of general examples to mix in: general_share of the training examples.")
]
JobId = Annotated[str, typer.Argument(help="The job's id: see `jobs list`.")]


def train(
    preset: Annotated[str, typer.Option(help="lora, qlora, full, dpo, another name in presets/, or a file.")],
    data: Annotated[Path, typer.Option(help="The file to learn from.")],
    eval_data: EvalData = None,
    mix_data: MixData = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value: see `studio options`.")] = None,
    model: Annotated[str, typer.Option(help="Base model: starter, a Hub id or a folder.")] = "starter",
    name: Annotated[str, typer.Option(help="What the job is called.")] = "",
    as_json: AsJson = False,
) -> None:
    """Train and wait for the end. Ctrl-C stops the job and keeps what it learned."""
    changes = {"base_model": model, "name": name, **pairs(settings or [])}
    files = data_files(data, eval_data, mix_data, set(changes))
    check_combination(preset_spec(preset, PLACEHOLDER_DATASET, changes))  # before anything is read
    with keeper() as studio:
        with imported(files, studio) as used:
            spec = preset_spec(preset, used.pop("dataset"), changes)
            job_id = studio.start_job(build_spec({**spec.model_dump(), **used}))
        finish(studio, job_id, as_json=as_json)


def data_files(data: Path, eval_data: Path | None, mix_data: Path | None, given: set[str]) -> dict[str, Path]:
    """{part of the spec: its file}; `given`: the options that were said. Raises UserError for a missing file."""
    if "general_share" in given and mix_data is None:
        raise UserError("general_share says how much to mix in, and nothing says what.", "Add --mix-data FILE.")
    if "eval_share" in given and eval_data is not None:
        raise UserError("Either a share of the examples evaluates, or --eval-data.", "Leave one of them out.")
    files = {"dataset": data, "eval_dataset": eval_data, "general_dataset": mix_data}
    found = {key: file for key, file in files.items() if file is not None}
    for file in found.values():
        require_file(file)
    return found


@contextmanager
def imported(files: dict[str, Path], studio: Studio) -> Iterator[dict[str, dict[str, str]]]:
    """References to the data sets that files become; the new ones are gone again when a refusal ends the context.

    A file whose examples are a data set already is not kept a second time. Raises UserError when one cannot be used.
    """
    made: list[str] = []
    try:
        used = {}
        for key, file in files.items():
            verdict = import_file(file, studio.workspace)
            if verdict.record is None:
                raise UserError(
                    f"{printable(file.name)} cannot be used. " + " ".join(map(problem_words, verdict.errors[:5]))
                )
            made.append(verdict.record.id)
            twin = _twin(verdict.record, studio)
            if twin is not None:
                studio.workspace.discard(studio.workspace.dataset(made.pop()))
            used[key] = refer_to(twin or verdict.record.id, studio.workspace).model_dump()
        yield used
    except UserError:
        for dataset_id in made:
            studio.workspace.discard(studio.workspace.dataset(dataset_id))
        raise


def _twin(record: DatasetRecord, studio: Studio) -> str | None:
    """An older data set of the same file and the same examples, with no decisions taken in it."""
    wanted = (record.source_name, record.sha256)
    older = [one for one in studio.datasets() if one.id != record.id and (one.source_name, one.sha256) == wanted]
    untouched = [one for one in older if read_current(studio.workspace.dataset(one.id))["sha256"] == one.sha256]
    return untouched[0].id if untouched else None


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """All jobs, the newest first."""
    store = open_studio(read_settings()).store
    rows = [view.to_dict() for view in store.views()]
    rows += [{"id": job_id, "status": "unreadable", "message": why} for job_id, why in store.unreadable.items()]
    empty = "No jobs yet. Start one: python -m studio train --preset lora --data samples/lighthouse-keeper.jsonl"
    show(
        rows,
        as_json,
        lambda: table(rows, ("id", "kind", "status", "step", "max_steps", "loss", "name")) if rows else empty,
    )


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


@app.command("unload-chat")
def unload_chat(job_id: JobId) -> None:
    """Unload the chats that a job in line waits for, and start it. An answer that is being written is cut off."""
    open_studio(read_settings()).store.make_room(job_id)
    typer.echo(f"The chats are unloaded for {job_id}; it starts when their memory is free.")


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
    with ExitStack() as stack:
        kept = studio.supervisor is not None
        while True:
            view = studio.store.view(job_id)
            if view.status not in (*ACTIVE, "queued"):
                return view
            line = _progress(view)
            if tell and line != told:
                typer.echo(line)
                told = line
            if not kept:
                # Who kept the queue may end before our turn comes: then it is ours to keep.
                with suppress(WorkspaceInUse):
                    stack.enter_context(keep_studio(studio.settings))
                    kept = True
            time.sleep(LOOK_EVERY)


def _progress(view: JobView) -> str:
    state = view.state
    if view.status != "running" or state.share is not None:
        left = f"  left {duration(state.seconds_left)}" if state.seconds_left is not None else ""
        return f"{view.id}: {view.status}{f' ({state.phase})' if state.phase else ''}{left}"
    figures = [
        f"{name} {value:.4g}"
        for name in ("loss", "eval_loss", "rewards/accuracies")
        if (value := state.value(name)) is not None
    ]
    return f"{view.id}: step {state.step}/{state.max_steps}  {'  '.join(figures)}  left {duration(state.seconds_left)}"


def _words(view: JobView) -> str:
    if isinstance(view.spec, MergeSpec):
        return merge_words(view, view.spec)
    rows: list[tuple[str, Any]] = [
        ("id", view.id),
        ("status", view.status),
        ("base model", view.spec.base_model),
        ("method", f"{view.objective}, {view.tuner}, quantization {view.quantization}"),
        ("step", f"{view.state.step} of {view.state.max_steps}"),
        ("loss", view.state.value("loss")),
        ("evaluation loss", view.state.value("eval_loss")),
        ("message", view.message),
    ]
    return facts(rows)


def pairs(settings: list[str]) -> dict[str, str]:
    """{key: value} of `--set key=value`. Raises UserError when one is not of that form."""
    found = {}
    for text in settings:
        key, mark, value = text.partition("=")
        if not mark:
            raise UserError(f"--set {text} is not of the form key=value.", "Write for example --set r=16.")
        found[key.strip()] = value.strip()
    return found


@app.command()
def probe(job_id: JobId, as_json: AsJson = False) -> None:
    """Try two steps of a job's longest batch on this machine's card: what it takes, and whether it fits."""
    record = try_out(open_studio(read_settings()).workspace, job_id)
    verb = "ran out of memory after" if record["out_of_memory"] else "took"
    told = f"{record['card']}: the longest batch {verb} {record['allocated'] / 1024**3:.2f} GiB"
    predicted = f"; predicted {record['predicted'] / 1024**3:.2f} GiB" if record["predicted"] else ""
    show(record, as_json, lambda: told + predicted)
