"""Several values of some options, each tried by a job of its own; the jobs share the name of a sweep."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from studio.methods.objectives import OBJECTIVES
from studio.methods.objectives.contract import LOSSES, Measure
from studio.workspace import new_id, read_json, write_json

MOST_JOBS = 64
ENDED = ("completed", "stopped")
LAST = 5  # steps: the reward or the loss of one batch says little
Grid = dict[str, list[Any]]


class SweepNote(BaseModel):
    """sweep.json in a job's folder: the sweep it belongs to, and the values that it tries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    values: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One job of a sweep. `metric` is what the jobs are compared by, `score` what this one has come to in it.

    Bytes and seconds are of the result and the training, None before the end; `points`: (step, value of the metric).
    """

    job: str
    name: str
    status: str
    values: dict[str, Any]
    metric: str
    higher_is_better: bool
    score: float | None
    loss: float | None
    eval_loss: float | None
    trainable_parameters: int | None
    seconds: float | None
    result_bytes: int | None
    points: list[tuple[int, float]]
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
    jobs = [(view, note.values) for view, note in noted if note is not None and note.id == sweep]
    if not jobs:
        raise UserError(f"There is no sweep {sweep[:80]!r}.", "Choose a job of one.")
    measure = measure_of([view for view, _ in jobs], list(jobs[0][1]))
    found = [_trial(view, values, measure) for view, values in jobs]
    found.sort(key=lambda trial: [(isinstance(value, str), value) for value in trial.values.values()])
    ended = [trial for trial in found if trial.status in ENDED and trial.score is not None]
    best = min(ended, key=_rank, default=None)
    return [replace(trial, best=trial is best) for trial in found]


def measure_of(jobs: Sequence[JobView], keys: Sequence[str]) -> Measure:
    """What jobs are compared by when the options `keys` are tried: the first measure of theirs that can be.

    Rewards and shares of pairs are of one scale whatever the objective's options are; losses are not.
    """
    objectives = [OBJECTIVES[view.objective] for view in jobs]
    shared = [one for one in objectives[0].measures if all(one in other.measures for other in objectives)]
    specs = [view.spec for view in jobs if isinstance(view.spec, TrainSpec)]
    evaluates = any(spec.eval_dataset or spec.eval_share for spec in specs)
    known = [one for one in shared or LOSSES if evaluates or not one.evaluates]
    tries_objective = any(key.startswith("objective.") for key in keys)
    known = [one for one in known if not (tries_objective and one.scaled)] or known
    measured = [one for one in known if any(_points(view, one.metric) for view in jobs)]
    # The loss of training comes before the first evaluation: until a job has ended, the evaluation is waited for.
    over = any(view.status in ENDED for view in jobs)
    return measured[0] if measured and (over or known[0] in measured) else known[0]


def describe(values: Mapping[str, Any]) -> str:
    """r 8, learning_rate 0.0002"""
    return ", ".join(f"{key.rpartition('.')[2]} {_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rank(trial: Trial) -> tuple[float, int]:
    """The best first; of two that are as good the smaller one."""
    score = trial.score or 0.0
    return (-score if trial.higher_is_better else score), trial.trainable_parameters or 0


def _points(view: JobView, metric: str) -> list[tuple[int, float]]:
    return [(step, found[metric]) for step, found in view.state.points if metric in found]


def _score(points: list[tuple[int, float]], measure: Measure) -> float | None:
    """The best evaluation; of what is measured on a batch at a time, the mean of the last few."""
    values = [value for _, value in points]
    if not values:
        return None
    if measure.evaluates:
        return max(values) if measure.higher else min(values)
    last = values[-LAST:]
    return sum(last) / len(last)


def _keep_alpha(changed: dict[str, Any], spec: TrainSpec, values: Mapping[str, Any]) -> None:
    """Ranks are compared at one scale: alpha grows with r, unless it is tried itself."""
    options: Any = spec.tuner
    tried = {key.rpartition(".")[2] for key in values}
    if options.name == "lora" and "r" in tried and "lora_alpha" not in tried:
        changed["tuner"]["lora_alpha"] = max(1, round(changed["tuner"]["r"] * options.lora_alpha / options.r))


def _trial(view: JobView, values: dict[str, Any], measure: Measure) -> Trial:
    state, points = view.state, _points(view, measure.metric)
    ended = state.end if isinstance(state.end, Finished | Stopped) else None
    return Trial(
        job=view.id,
        name=view.name,
        status=view.status,
        values=values,
        metric=measure.metric,
        higher_is_better=measure.higher,
        score=_score(points, measure),
        loss=state.value("loss"),
        eval_loss=state.value("eval_loss"),
        trainable_parameters=state.started.trainable_parameters if state.started else None,
        seconds=ended.seconds if isinstance(ended, Finished) else None,
        result_bytes=ended.result_bytes if isinstance(ended, Finished) else None,
        points=points,
    )
