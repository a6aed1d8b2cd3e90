"""What would happen if the job were started now, or why it could not."""

from pathlib import Path
from typing import Any

from studio.base_models import model_folder, read_config, read_facts
from studio.data.dataset import read_record
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
from studio.jobs.spec import TrainSpec
from studio.jobs.state import ACTIVE
from studio.jobs.studio import Studio
from studio.jobs.training_data import expect, planned_steps, teaches_little
from studio.memory import models
from studio.memory.gpus import Card
from studio.methods.learning_rates import gentle_limit
from studio.methods.objectives import OBJECTIVES
from studio.methods.parameters import parameters, trainable_parameters
from studio.methods.tuners import TUNERS
from studio.ui.advising import planned_card
from studio.ui.i18n import Language
from studio.ui.impossible import impossible, told_reasons
from studio.ui.memory_plan import memory_of_job, time_of_job
from studio.ui.option_form import Option
from studio.ui.refusals import told_error
from studio.ui.training_wish import Wish, spec_of

AHEAD = ("queued", *ACTIVE)  # one job runs at a time


def plan_of(
    studio: Studio, options: list[Option], wish: Wish, values: tuple[Any, ...], language: Language = "en"
) -> dict[str, Any]:
    """What would happen: examples, steps, what is trained, who waits before it; or the {"problem"}."""
    if not wish.dataset:
        return {"empty": True}
    try:
        record = read_record(studio.workspace.dataset(wish.dataset))
    except UserError as error:
        return {"problem": told_error(error, language)}
    folder = known_folder(studio, wish.base_model or "")
    config = read_config(folder) if folder else known_config(wish.base_model or "")
    try:
        spec = spec_of(studio, options, wish, values)
    except UserError as error:
        grey = told_reasons(impossible(record, wish, None, config), language)
        return {"problem": told_error(error, language), "impossible": grey}
    told = {"impossible": told_reasons(impossible(record, wish, spec, config), language)}
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
        return told | {"problem": told_error(error, language)}


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
        "few_steps": teaches_little(spec, steps),
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
