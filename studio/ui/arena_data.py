"""Votes → a data set with a note of its origin, and the training job that may follow. No Gradio in here."""

import math
from datetime import UTC, datetime
from typing import Any

from studio import workspace as names
from studio.data.isolation import import_file
from studio.errors import UserError
from studio.jobs.chain import preset_for, stage_values, training_from
from studio.jobs.earlier_jobs import CONTINUED, is_imported, learnable_options
from studio.jobs.presets import read_presets
from studio.jobs.spec import build_spec
from studio.jobs.studio import Studio
from studio.jobs.training_data import expect, planned_steps, refer_to
from studio.methods.objectives import OBJECTIVES as METHODS
from studio.playground.client import BASE
from studio.playground.contenders import base_title
from studio.playground.feedback_data import OBJECTIVES, Kind, Made, make_rows
from studio.playground.votes import Contender, VoteStore, counting
from studio.workspace import write_json

STEPS = 40  # optimizer steps that a small set of votes is read for
MOST_EPOCHS = 20  # after so many times there is nothing new in it
FORMATS: dict[Kind, str] = {"preference": "preference", "kto": "unpaired_preference"}


def make_dataset(studio: Studio, store: VoteStore, kind: Kind, name: str) -> dict[str, Any]:
    """Import the votes as a data set; its id, what was left out, and what a job may start from. Raises UserError."""
    made = make_rows(kind, store.read())
    file = studio.workspace.new_upload(f"arena-{kind}.jsonl")
    file.write_bytes(made.jsonl())
    verdict = import_file(file, studio.workspace, name=name, format_name=FORMATS[kind])
    if verdict.record is None:
        first = verdict.errors[0]
        raise UserError(f"The votes could not be made a data set: {first['message']}", str(first["hint"]))
    origin = {
        "made_from": "arena",
        "kind": kind,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **made.told(),
        "rounds": made.rounds,
    }
    write_json(studio.workspace.dataset(verdict.record.id) / names.ORIGIN, origin)
    return {"dataset": verdict.record.id, "name": verdict.record.name, "kind": kind, **made.told(),
            "starts": starts(studio, store, made), "only_answer": only_answer(studio, store, made)}  # fmt: skip


def starts(studio: Studio, store: VoteStore, made: Made) -> list[dict[str, Any]]:
    """What a job may begin with: trained contenders whose adapter can be learned on, the most often preferred first,
    then the base models."""
    people = _people(store)
    jobs = [one for one in people.values() if can_continue(studio, one.choice)]
    jobs.sort(key=lambda one: -made.preferred[one.choice])
    found = [{"start": one.choice, "name": one.name, "preferred": made.preferred[one.choice]} for one in jobs]
    bases = dict.fromkeys(one.base_model for one in people.values())
    return [
        *found,
        *(
            {"start": f"{BASE}:{base}", "name": base_title(base), "preferred": made.preferred[f"{BASE}:{base}"]}
            for base in bases
        ),
    ]


def only_answer(studio: Studio, store: VoteStore, made: Made) -> list[str]:
    """The names of those who were preferred and cannot be started from: gone, or of a kind that only answers."""
    adapters = [one for one in _people(store).values() if not one.choice.startswith(f"{BASE}:")]
    return [one.name for one in adapters if made.preferred[one.choice] and not can_continue(studio, one.choice)]


def _people(store: VoteStore) -> dict[str, Contender]:
    """Everybody who answered, by choice."""
    counted = store.read()
    shown = [one for ballot in counting(counted) for one in (ballot.vote.left, ballot.vote.right)]
    shown += [thumb.shown for thumb in counted.thumbs.values()]
    return {one.contender.choice: one.contender for one in shown}


def can_continue(studio: Studio, choice: str) -> bool:
    """Whether a choice is a job, a checkpoint or an imported adapter that is there and that a job may learn on."""
    if choice.startswith(f"{BASE}:"):
        return False
    try:
        if "@" in choice or is_imported(choice, studio.workspace):
            learnable_options(choice, studio.workspace)
        elif not studio.workspace.has_result(choice):
            return False
        earlier = training_from(choice, studio.store)
    except UserError:  # it is gone, or of a kind that only answers
        return False
    return earlier.tuner.name in CONTINUED and METHODS[earlier.objective.name].task_type == "CAUSAL_LM"


def training_values(studio: Studio, kind: str, start: str, dataset: str) -> dict[str, Any]:
    """Spec values for DPO (or KTO) from a job's adapter, or with a new one on "base:NAME"; as many epochs as a small
    `dataset` needs. Raises UserError."""
    if kind not in OBJECTIVES:
        raise UserError(f"There is no kind {kind[:40]!r}.", "Make the data set again.")
    objective = OBJECTIVES[kind]
    if start.startswith(f"{BASE}:"):
        values = {**read_presets()[preset_for(objective)].values(), "base_model": start.removeprefix(f"{BASE}:")}
    elif can_continue(studio, start):
        values = stage_values(training_from(start, studio.store), start, objective)
    else:
        raise UserError(f"{start[:80]!r} cannot be learned on.", "Choose another one to start from.")
    return values | {"num_train_epochs": _epochs(studio, values, dataset)}


def _epochs(studio: Studio, values: dict[str, Any], dataset: str) -> float:
    """The preset's epochs, or more where a data set is so small that they come to fewer than STEPS steps."""
    reference = refer_to(dataset, studio.workspace).model_dump()
    once = build_spec({**values, "dataset": reference, "num_train_epochs": 1})
    steps = planned_steps(once, expect(once, studio.workspace).train)
    own = build_spec(values).num_train_epochs
    return max(own, min(MOST_EPOCHS, math.ceil(STEPS / steps)))
