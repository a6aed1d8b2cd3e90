"""What would happen if the job were started now, and which choices of the menus are not possible, each with why."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from studio.base_models import model_folder, read_config, read_facts
from studio.data.dataset import DatasetRecord, read_record
from studio.errors import UserError
from studio.jobs.earlier_jobs import check_earlier_jobs
from studio.jobs.preflight import (
    check_combination,
    check_data,
    check_forgetting,
    check_hardware,
    check_model,
    check_other_data,
)
from studio.jobs.presets import PLACEHOLDER_DATASET, read_presets
from studio.jobs.spec import TrainSpec, build_spec
from studio.jobs.state import ACTIVE
from studio.jobs.studio import Studio
from studio.jobs.training_data import expect, planned_steps
from studio.memory import models
from studio.memory.gpus import Card
from studio.methods.learning_rates import gentle_limit
from studio.methods.objectives import OBJECTIVES
from studio.methods.parameters import parameters, trainable_parameters
from studio.methods.tuners import TUNERS
from studio.ui.advising import planned_card
from studio.ui.forms import literal_choices
from studio.ui.memory_plan import memory_of_job, time_of_job
from studio.ui.option_form import Option
from studio.ui.training_wish import ADVICE, Wish, spec_of

QUANTIZATIONS = literal_choices(TrainSpec.model_fields["quantization"].annotation)
ROOM = {"per_device_train_batch_size": 8}  # a batch size that is too small is the plan's to tell, not the menu's
AHEAD = ("queued", *ACTIVE)  # one job runs at a time
Reasons = dict[str, dict[str, str]]  # menu → {place in the menu: why that choice is not possible}


def plan_of(studio: Studio, options: list[Option], wish: Wish, values: tuple[Any, ...]) -> dict[str, Any]:
    """What would happen: examples, steps, what is trained, who waits before it; or the {"problem"}."""
    if not wish.dataset:
        return {"empty": True}
    try:
        record = read_record(studio.workspace.dataset(wish.dataset))
    except UserError as error:
        return {"problem": str(error)}
    folder = known_folder(studio, wish.base_model or "")
    config = read_config(folder) if folder else known_config(wish.base_model or "")
    try:
        spec = spec_of(studio, options, wish, values)
    except UserError as error:
        return {"problem": str(error), "impossible": impossible(record, wish, None, config)}
    told = {"impossible": impossible(record, wish, spec, config)}
    try:
        check_data(spec, record, record.rows)
        check_other_data(spec, record, studio.workspace)
        check_combination(spec)
        OBJECTIVES[spec.objective.name].check(spec)
        check_forgetting(spec)
        check_hardware(spec)
        if folder:
            check_model(spec, read_facts(spec.base_model, folder))
            TUNERS[spec.tuner.name].check(spec.tuner, config)
            check_earlier_jobs(spec, studio.workspace, folder)
        return told | _figures(studio, spec, config, planned_card(wish))
    except UserError as error:
        return told | {"problem": str(error)}


def _figures(studio: Studio, spec: TrainSpec, config: dict[str, Any], card: Card | None) -> dict[str, Any]:
    expected = expect(spec, studio.workspace)
    scores = OBJECTIVES[spec.objective.name].task_type == "SEQ_CLS"
    trained = trainable_parameters(spec.tuner, config, scores=scores) if config else None
    total = parameters(config) if config else None
    steps = planned_steps(spec, expected.train)
    limit = gentle_limit(spec.objective.name, spec.tuner.name)
    return {
        "high_rate": limit if spec.learning_rate > limit else None,
        "examples": expected.train,
        "general_examples": expected.general,
        "general_wanted": expected.general_wanted,
        "eval_examples": expected.evaluation,
        "steps": steps,
        "tuner": spec.tuner.name,
        "quantization": spec.quantization,
        "objective": spec.objective.name,
        "trained": trained,
        "parameters": total + (0 if TUNERS[spec.tuner.name].whole_model else trained) if total and trained else None,
        "memory": memory_of_job(studio, spec, card),
        "time": time_of_job(studio, spec, steps, card),
        "ahead": sum(view.status in AHEAD for view in studio.store.views()),
    }


def known_config(name: str) -> dict[str, Any]:
    """What is known of a model that is not on this machine; {} for most."""
    try:
        return models.find(name.strip()) if name.strip() else {}
    except UserError:
        return {}


def known_folder(studio: Studio, name: str) -> Path | None:
    """Where a base model lies that is on this machine and has a readable config.json; None otherwise."""
    try:
        folder = model_folder(name.strip(), studio.workspace.models, studio.model_roots)
        if folder is not None:
            read_config(folder)
    except UserError:  # starting says what is wrong with it
        return None
    return folder


def impossible(record: DatasetRecord, wish: Wish, spec: TrainSpec | None, config: dict[str, Any]) -> Reasons:
    """What cannot be chosen now: objectives, tuners, quantizations and presets, by their places in the menus.

    `spec` is what the form says, None while it says nothing valid: then its methods' defaults are looked at.
    """
    given = spec.model_dump() if spec is not None else _defaults(wish.objective, wish.tuner)
    menus: dict[str, list[dict[str, Any]]] = {
        "objective": [{"objective": _options(given, "objective", name), **ROOM} for name in OBJECTIVES],
        "tuner": [{"tuner": _options(given, "tuner", name)} for name in TUNERS],
        "option-quantization": [{"quantization": name} for name in QUANTIZATIONS],
    }
    found: Reasons = {}
    for menu, changes in menus.items():
        reasons = (_reason(record, {**given, **change}, config, with_data=menu == "objective") for change in changes)
        found[menu] = {str(place): reason for place, reason in enumerate(reasons) if reason}
    presets = enumerate(_preset_reasons(record, config), 1)  # the first of the menu is the advice
    found["preset"] = {str(place): reason for place, reason in presets if reason}
    return found


def _options(given: dict[str, Any], group: str, name: str) -> dict[str, Any]:
    """The form's options where the method is the chosen one, else that method's defaults.

    What only its options lack, such as a reward, does not make a method impossible.
    """
    if group == "objective" and OBJECTIVES[name].rewarded:
        return {"name": name, "reward_json": True}
    return given[group] if given[group]["name"] == name else {"name": name}


def _preset_reasons(record: DatasetRecord, config: dict[str, Any]) -> Iterator[str]:
    for values in preset_values().values():
        yield _reason(record, values, config, with_data=True)


@cache
def preset_values() -> dict[str, dict[str, Any]]:
    """Every preset's values, in the order of the menu."""
    return {name: preset.values() for name, preset in read_presets().items() if name != ADVICE}


def _defaults(objective: str, tuner: str) -> dict[str, Any]:
    wanted = {
        "objective": {"name": objective if objective in OBJECTIVES else "sft"},
        "tuner": {"name": tuner if tuner in TUNERS else "lora"},
    }
    return build_spec({**wanted, "dataset": PLACEHOLDER_DATASET}).model_dump()


def _reason(record: DatasetRecord, values: dict[str, Any], config: dict[str, Any], *, with_data: bool) -> str:
    """Why a job with these values cannot be; empty when it can."""
    try:
        spec = build_spec(values)
        if with_data:
            check_data(spec, record, max(2, record.rows))
        check_combination(spec)
        if config:
            TUNERS[spec.tuner.name].check(spec.tuner, config)
    except UserError as error:
        return error.message
    return ""
