"""`studio sweep …`: several values of some options, each tried by a job, compared in a table."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.cli.jobs import EvalData, MixData, data_files, imported, keeper, pairs
from studio.cli.output import AsJson, duration, show, table
from studio.jobs.presets import preset_spec
from studio.jobs.spec import build_spec
from studio.jobs.state import ACTIVE
from studio.jobs.studio import Studio
from studio.jobs.sweep import Trial, describe, parse_grid, start_sweep, trials

LOOK_EVERY = 0.5  # seconds


def sweep(
    preset: Annotated[str, typer.Option(help="A name in presets/, or the path of a preset's file.")],
    data: Annotated[Path, typer.Option(help="The file to learn from.")],
    grid: Annotated[list[str], typer.Option(help="option=value,value: every combination is a job.")],
    eval_data: EvalData = None,
    mix_data: MixData = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value: see `studio options`.")] = None,
    model: Annotated[str, typer.Option(help="Base model: starter, a Hub id or a folder.")] = "starter",
    name: Annotated[str, typer.Option(help="What the jobs are called.")] = "",
    as_json: AsJson = False,
) -> None:
    """Try several values of some options, one job each, and compare them."""
    changes = {"base_model": model, "name": name, **pairs(settings or [])}
    wanted = parse_grid(grid)
    files = data_files(data, eval_data, mix_data, {*changes, *wanted})
    with keeper() as studio:
        with imported(files, studio) as used:
            spec = preset_spec(preset, used.pop("dataset"), changes)
            sweep_id, _ = start_sweep(studio, build_spec({**spec.model_dump(), **used}), wanted)
        _wait(studio, sweep_id, tell=not as_json)
        found = trials(studio, sweep_id)
        show({"sweep": sweep_id, "jobs": [vars(trial) for trial in found]}, as_json, lambda: _table(found))
        if any(trial.status not in ("completed", "stopped") for trial in found):
            raise typer.Exit(2)


def _wait(studio: Studio, sweep_id: str, *, tell: bool) -> None:
    told = ""
    while True:
        found = trials(studio, sweep_id)
        left = [trial for trial in found if trial.status in (*ACTIVE, "queued")]
        line = f"{len(found) - len(left)} of {len(found)} jobs are done" + (f", now {left[0].name}" if left else "")
        if tell and line != told:
            typer.echo(line)
            told = line
        if not left:
            return
        time.sleep(LOOK_EVERY)


def _table(found: list[Trial]) -> str:
    rows = [_row(trial) for trial in found]
    return table(rows, tuple(rows[0]))


def _row(trial: Trial) -> dict[str, Any]:
    size = trial.result_bytes
    return {
        "": "best" if trial.best else "",
        "values": describe(trial.values),
        f"{trial.metric} ({'higher' if trial.higher_is_better else 'lower'} is better)": trial.score,
        "trained": "" if trial.trainable_parameters is None else f"{trial.trainable_parameters:,}",
        "time": duration(trial.seconds),
        "size": "" if size is None else f"{size / 1e6:.1f} MB",
        "status": trial.status,
        "job": trial.job,
    }
