"""The memory of the job that the Train tab plans: one line, from what this machine knows of the model."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from studio.base_models import model_folder, read_config
from studio.data.audit.lengths import Lengths
from studio.data.auditing import AUDITS, audit_key
from studio.data.chat_template import ChatTokenizer
from studio.errors import UserError
from studio.jobs.memory_plan import box_of, settled, setup_of
from studio.jobs.spec import TrainSpec
from studio.jobs.studio import Studio
from studio.memory import gpus, models
from studio.memory.estimate import estimate
from studio.memory.gpus import Card
from studio.memory.shapes import Config, Shape, read_shape


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
    longest, learned = audited(studio, spec)
    try:
        found = estimate(settled(spec, setup_of(spec, longest, learned), shape, usable, box), shape, box)
    except UserError:
        return None
    return {
        "needed": round(found.needed),
        "card": card.name if card else None,
        "fits": found.fits(usable) if card else None,
        "phase": found.phase,
        "longest": longest,
    }


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


def audited(studio: Studio, spec: TrainSpec) -> tuple[int | None, float]:
    """(tokens of the longest example after truncation, share that is learned) where the data set was audited with
    this model and template; (None, 1.0) before that."""
    folder = studio.workspace.dataset(spec.dataset.id)
    model = model_folder(spec.base_model, studio.workspace.models, studio.model_roots)
    if model is None or not (folder / AUDITS).is_dir():
        return None, 1.0
    kept = (folder / AUDITS / audit_key(folder, _tokenizer(model, spec.chat_template))).with_suffix(".npz")
    if not kept.is_file():
        return None, 1.0
    lengths = Lengths.read(kept)
    total = lengths.kept(spec.max_length)
    if not len(total) or not total.sum():
        return None, 1.0
    share = float(lengths.learned(spec.max_length).sum() / total.sum())
    return int(total.max()), min(1.0, max(share, 0.001))


@lru_cache(maxsize=4)
def _tokenizer(model: Path, template: str) -> ChatTokenizer:
    return ChatTokenizer(model, template)
