"""The memory of the job that the Train tab plans: one line, from what this machine knows of the model."""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from studio.base_models import STARTER, model_folder, read_config
from studio.data.audit.lengths import Lengths
from studio.data.auditing import AUDITS, audit_key
from studio.data.chat_template import ChatTokenizer
from studio.data.dataset import read_record
from studio.errors import UserError
from studio.jobs.duration import duration
from studio.jobs.memory_plan import box_of, read_measured, settled, setup_of
from studio.jobs.spec import TrainSpec
from studio.jobs.studio import Studio
from studio.memory import gpus, models
from studio.memory.calibration import speed_factor
from studio.memory.estimate import estimate
from studio.memory.gpus import Card
from studio.memory.setup import Setup
from studio.memory.shapes import Config, Shape, read_shape
from studio.memory.speed import tokens_per_second
from studio.ui.memory_requests import MemoryWish


def memory_of_job(studio: Studio, spec: TrainSpec, planned: Card | None = None) -> dict[str, Any] | None:
    """Bytes that the job needs on a card, and whether the card has them: the one that is `planned` for, else this
    machine's first. None: nobody knows here.

    The model's config is looked for on this machine and among the well-known ones, never on the Hub.
    """
    shape = shape_here(studio, spec.base_model)
    if shape is None:
        return None
    card = planned or next(iter(gpus.of_this_box()), None)
    box = box_of(studio.workspace, card)
    usable = card.usable if card else float("inf")
    known = audited(studio, spec)
    try:
        setup = settled(spec, setup_of(spec, known.longest, known.learned), shape, usable, box)
        found = estimate(setup, shape, box)
    except UserError:
        return None
    return {
        "needed": round(found.needed),
        "card": card.name if card else None,
        "fits": found.fits(usable) if card else None,
        "phase": found.phase,
        "longest": known.longest,
        "wish": {"model": spec.base_model, "card": card.name if card else "", **wish_of(setup)},
    }


def wish_of(setup: Setup) -> dict[str, Any]:
    """What the Memory tab's form says of a configuration."""
    fields = MemoryWish.model_fields
    return {name: value for name, value in asdict(setup).items() if name in fields} | {"options": dict(setup.options)}


def time_of_job(studio: Studio, spec: TrainSpec, steps: int, planned: Card | None = None) -> dict[str, Any] | None:
    """How long the job will take; None: nothing tells. Of a card that is `planned` for, this machine's jobs do not."""
    shape = shape_here(studio, spec.base_model)
    card = planned or next(iter(gpus.of_this_box()), None)
    known = audited(studio, spec)
    speed = None
    if shape and card:
        factor, _ = speed_factor(read_measured(studio.workspace), card.name)
        setup = settled(spec, setup_of(spec, known.longest, known.learned), shape, card.usable)
        speed = tokens_per_second(setup, shape, card, factor)
    found = duration(spec, steps, [] if planned else studio.store.views(), known.tokens, speed)
    return asdict(found) if found else None


def shape_here(studio: Studio, model: str) -> Shape | None:
    """The shape of a base model that needs no network; None when its config or its architecture is not known."""
    try:
        return read_shape(_config(studio, model))
    except UserError:
        return None


def _config(studio: Studio, model: str) -> Config:
    try:
        return models.find(model)
    except UserError:
        folder = model_folder(model, studio.workspace.models, studio.model_roots)
    if folder is None:
        raise UserError(f"{model} is not on this machine.")
    return read_config(folder)


class Audited(NamedTuple):
    """Of a data set after truncation: tokens of the longest sequence, share of tokens that is learned, tokens of a
    row on average, rows. None: it was not audited with this model and template."""

    longest: int | None = None
    learned: float = 1.0
    tokens: float | None = None
    rows: int | None = None


def audited(studio: Studio, spec: TrainSpec) -> Audited:
    """What the audit knows of a job's data set: nothing with a model that is not here."""
    try:
        return audited_with(studio, spec.dataset.id, spec.base_model, spec.chat_template, spec.max_length)
    except UserError:
        return Audited()


def audited_with(studio: Studio, dataset: str, base_model: str, template: str, max_length: int) -> Audited:
    """What the audit of a data set with one model knows of it at a `max_length`, 0: as it is."""
    folder = studio.workspace.dataset(dataset)
    model = model_folder(base_model, studio.workspace.models, studio.model_roots)
    if model is None or not (folder / AUDITS).is_dir():
        return Audited()
    kept = (folder / AUDITS / audit_key(folder, _tokenizer(model, template))).with_suffix(".npz")
    if not kept.is_file():
        return Audited()
    lengths = Lengths.read(kept)
    total = lengths.kept(max_length)
    if not len(total) or not total.sum():
        return Audited()
    share = float(lengths.learned(max_length).sum() / total.sum())
    rows = len(set(lengths.rows.tolist()))
    return Audited(int(total.max()), min(1.0, max(share, 0.001)), float(total.sum() / rows), rows)


def lengths_of(studio: Studio, dataset: str, base_model: str, most: int) -> dict[str, Any]:
    """What the Memory tab takes from a data set: by the model's own audit, else by the starter's, whose tokens are
    nearly as many; `by` says whose. Raises UserError when neither was made."""
    read_record(studio.workspace.dataset(dataset))
    for name in dict.fromkeys((base_model, STARTER)):
        try:
            found = audited_with(studio, dataset, name, "model", most)
        except UserError:  # a model that is not on this machine, or has no template
            continue
        if found.longest is not None:
            return {**found._asdict(), "by": name, "own": name == base_model}
    raise UserError(
        "The lengths of this data set are not known yet.", "Choose it in the Data tab and check it there once."
    )


@lru_cache(maxsize=4)
def _tokenizer(model: Path, template: str) -> ChatTokenizer:
    return ChatTokenizer(model, template)
