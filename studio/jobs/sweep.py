"""Several values of some options, each tried by a job of its own; the jobs share the name of a sweep."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from studio import workspace as names
from studio.errors import UserError
from studio.jobs.events import Finished, Stopped
from studio.jobs.preflight import check_start
from studio.jobs.presets import parse_value
from studio.jobs.spec import TrainSpec, build_spec, set_option
from studio.jobs.store import JobView
from studio.jobs.studio import Studio
from studio.workspace import new_id, read_json, write_json

MOST_JOBS = 64
Grid = dict[str, list[Any]]


class SweepNote(BaseModel):
    """sweep.json in a job's folder: the sweep it belongs to, and the values that it tries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One job of a sweep. `eval_loss` is the last one measured, `best_eval_loss` the lowest; bytes and seconds are of
    the result and the training, None before the end."""

    job: str
    name: str
    status: str
    values: dict[str, Any]
    loss: float | None
    eval_loss: float | None
    best_eval_loss: float | None
    trainable_parameters: int | None
    seconds: float | None
    result_bytes: int | None
    points: list[tuple[int, float]]  # (step, evaluation loss; training loss where nothing evaluates)
    best: bool = False


def parse_grid(texts: Sequence[str]) -> Grid:
    """`tuner.r=4,8,16` and the like → {key: values}. Raises UserError when one is not of that form."""
    grid: Grid = {}
    for text in texts:
        key, mark, values = text.partition("=")
        listed = [parse_value(value.strip()) for value in values.split(",") if value.strip()]
        if not mark or not key.strip() or not listed:
            raise UserError(f"{text!r} is not of the form option=value,value.", "Write for example tuner.r=4,8,16.")
        if key.strip() in grid:
            raise UserError(f"{key.strip()} stands in the grid twice.", "Put all its values into one list.")
        grid[key.strip()] = list(dict.fromkeys(listed))
    return grid


def plan_sweep(spec: TrainSpec, grid: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], TrainSpec]]:
    """(values, spec) for every combination. Raises UserError when a value is out of place, or they are too many."""
    combinations = [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]
    if not grid or len(combinations) < 2:
        raise UserError("A sweep compares at least two jobs.", "Give several values, such as tuner.r=4,8,16.")
    if len(combinations) > MOST_JOBS:
        raise UserError(
            f"That would be {len(combinations)} jobs; a sweep has at most {MOST_JOBS}.", "Try fewer values."
        )
    planned = []
    for values in combinations:
        changed = spec.model_dump()
        for key, value in values.items():
            set_option(changed, key, value)
        _keep_alpha(changed, spec, values)
        changed["name"] = f"{describe(values)} · {spec.name or 'sweep'}"[:80]
        planned.append((values, build_spec(changed)))
    return planned


def start_sweep(studio: Studio, spec: TrainSpec, grid: Mapping[str, Sequence[Any]]) -> tuple[str, list[str]]:
    """Check every job, then put all of them into the line. (the sweep's id, the jobs' ids). Raises UserError."""
    planned = plan_sweep(spec, grid)
    for _, one in planned:
        check_start(one, studio.workspace, studio.settings)
    sweep = new_id(f"sweep-{'-'.join(key.rpartition('.')[2] for key in grid)}")
    jobs = []
    for values, one in planned:
        job = studio.store.create(one)
        write_json(studio.workspace.job(job) / names.SWEEP, SweepNote(id=sweep, values=values).model_dump())
        jobs.append(job)
    for job in jobs:
        studio.catalog.enqueue(job)
    return sweep, jobs


def sweep_of(studio: Studio, job: str) -> SweepNote | None:
    """The sweep that a job belongs to, None for a job of its own."""
    found = read_json(studio.workspace.job(job) / names.SWEEP)
    return SweepNote(**found) if found else None


def trials(studio: Studio, sweep: str) -> list[Trial]:
    """The jobs of a sweep in the order of their values, the best of those that ended marked. Raises UserError."""
    noted = [(view, sweep_of(studio, view.id)) for view in studio.store.views()]
    found = [_trial(view, note.values) for view, note in noted if note is not None and note.id == sweep]
    if not found:
        raise UserError(f"There is no sweep {sweep[:80]!r}.", "Choose a job of one.")
    found.sort(key=lambda trial: [(isinstance(value, str), value) for value in trial.values.values()])
    ended = [trial for trial in found if trial.status in ("completed", "stopped") and _measure(trial) is not None]
    best = min(ended, key=lambda trial: (_measure(trial), trial.trainable_parameters or 0), default=None)
    return [trial if trial is not best else Trial(**{**vars(trial), "best": True}) for trial in found]


def describe(values: Mapping[str, Any]) -> str:
    """r 8, learning_rate 0.0002"""
    return ", ".join(f"{key.rpartition('.')[2]} {_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measure(trial: Trial) -> float | None:
    """What trials are compared by: the lowest evaluation loss; the last training loss where nothing evaluates."""
    return trial.best_eval_loss if trial.best_eval_loss is not None else trial.loss


def _keep_alpha(changed: dict[str, Any], spec: TrainSpec, values: Mapping[str, Any]) -> None:
    """Ranks are compared at one scale: alpha grows with r, unless it is tried itself."""
    options: Any = spec.tuner
    tried = {key.rpartition(".")[2] for key in values}
    if options.name == "lora" and "r" in tried and "lora_alpha" not in tried:
        changed["tuner"]["lora_alpha"] = max(1, round(changed["tuner"]["r"] * options.lora_alpha / options.r))


def _trial(view: JobView, values: dict[str, Any]) -> Trial:
    state = view.state
    evaluated = [(step, found["eval_loss"]) for step, found in state.points if "eval_loss" in found]
    trained = [(step, found["loss"]) for step, found in state.points if "loss" in found]
    ended = state.end if isinstance(state.end, Finished | Stopped) else None
    return Trial(
        job=view.id,
        name=view.name,
        status=view.status,
        values=values,
        loss=state.value("loss"),
        eval_loss=state.value("eval_loss"),
        best_eval_loss=min((loss for _, loss in evaluated), default=None),
        trainable_parameters=state.started.trainable_parameters if state.started else None,
        seconds=ended.seconds if isinstance(ended, Finished) else None,
        result_bytes=ended.result_bytes if isinstance(ended, Finished) else None,
        points=evaluated or trained,
    )
