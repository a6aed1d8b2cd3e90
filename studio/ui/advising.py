"""The five answers, and what is known about the data set, the model and the machine → advice in the reader's words."""

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from studio import hardware
from studio.base_models import BaseModelFacts, model_folder, read_facts
from studio.data.auditing import AUDITS, audit_key, kept_report
from studio.data.chat_template import ChatTokenizer
from studio.data.dataset import read_record
from studio.data.snapshots import read_current
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.memory.estimate import estimate
from studio.memory.gpus import Card
from studio.memory.setup import Setup
from studio.methods.advice import RANKS, TASKS, Facts, Recommendation, Task, advise
from studio.ui.i18n import Language, words
from studio.ui.memory_plan import shape_here
from studio.ui.refusals import told_error

if TYPE_CHECKING:
    from studio.ui.training_wish import Wish

HERE = "here"
USABLE = 0.98  # share of a card's memory that a program can have
CARDS = ("8", "12", "16", "24", "48", "80")  # GB, to plan for another machine
BILLIONS = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d+)?)\s?([BbMm])(?![A-Za-z])")


def facts_of(studio: Studio, wish: "Wish") -> Facts:
    """What the advice is made of. Raises UserError when an answer is none, or the data set is gone."""
    if not wish.dataset:
        raise UserError("No data set is chosen.", "Go to Data and drop a file, or take a sample.")
    if wish.task not in TASKS or wish.card not in (HERE, *CARDS):
        raise UserError("That is not one of the answers.", "Choose one of the list.")
    facts = _known_facts(studio, wish, wish.task)
    return replace(facts, estimated=estimated(studio, wish, facts)) if facts.has_card else facts


def card_of(gigabytes: str) -> Card:
    """A card of that size, to plan for another machine; what driver and display take is left out."""
    usable = USABLE * int(gigabytes) * 2**30
    return Card(name=f"{gigabytes} GB", usable=usable, flops=0.0, bandwidth=0.0, kind="size")


def planned_card(wish: "Wish") -> Card | None:
    """The card that a simple form plans for, None for this machine's."""
    return card_of(wish.card) if wish.mode == "simple" and wish.card in CARDS else None


def estimated(studio: Studio, wish: "Wish", facts: Facts) -> dict[str, float]:
    """{full, lora, nf4}: bytes that a card must have for the batch and length of the advice; {} for unknown models."""
    shape = shape_here(studio, (wish.base_model or "").strip())
    if shape is None:
        return {}
    values = advise(facts).values()
    same = {
        "objective": values["objective"]["name"],
        "batch": values["per_device_train_batch_size"],
        "length": values["max_length"],
        "padded": True,
    }
    rank = {"r": RANKS[facts.task]}
    setups = {
        "full": Setup(tuner="full", dtype="float32", **same),
        "lora": Setup(options=rank, **same),
        "nf4": Setup(options=rank, quantization="nf4", **same),
    }
    return {name: estimate(setup, shape).needed for name, setup in setups.items()}


def _known_facts(studio: Studio, wish: "Wish", task: Task) -> Facts:
    folder = studio.workspace.dataset(wish.dataset or "")
    record, rows = read_record(folder), read_current(folder)["rows"]
    model = known_model(studio, (wish.base_model or "").strip())
    cards = hardware.gpus() if wish.card == HERE else []
    memory = max((card.total_bytes for card in cards), default=psutil.virtual_memory().total)
    return Facts(
        rows=rows,
        dataset_type=record.dataset_type,
        task=task,
        hurry=wish.hurry == "yes",
        tokens=measured_tokens(folder, model.folder, "model" if model.has_chat_template else "plain") if model else {},
        parameters=model.parameters if model else parameters_by_name(wish.base_model or ""),
        max_position_embeddings=model.max_position_embeddings if model else 0,
        has_chat_template=model.has_chat_template if model else True,
        has_card=bool(cards) or wish.card != HERE,
        memory_bytes=memory if wish.card == HERE else round(card_of(wish.card).usable),
    )


def advised(studio: Studio, wish: "Wish") -> dict[str, Any]:
    """Spec values that the answers lead to. Raises UserError."""
    return advise(facts_of(studio, wish)).values()


def told_advice(studio: Studio, wish: "Wish", language: Language) -> dict[str, Any]:
    """The advice for the page: {"choices": [{key, title, value, reason, note, section}]}, or the {"problem"}."""
    if not wish.dataset:
        return {}
    try:
        return {"choices": told_choices(advise(facts_of(studio, wish)), language)}
    except UserError as error:
        return {"problem": told_error(error, language)}


def told_choices(recommendation: Recommendation, language: Language) -> list[dict[str, Any]]:
    """Each choice in words, its value as the menus show it."""
    table = words(language)
    told = []
    for choice in recommendation.choices:
        group, _, field = choice.key.rpartition(".")
        titled = table.get(f"advice_{group}") if field == "name" else table.get(f"field.{choice.key}.title")
        value = choice.value
        if field == "name":
            value = table[f"{group}.{value}"]
        elif f"choice.{choice.key}.{value}" in table:
            value = table[f"choice.{choice.key}.{value}"]
        told.append({"key": choice.key, "title": titled or "", "value": value, **choice.explain(language)})
    return told


def known_model(studio: Studio, name: str) -> BaseModelFacts | None:
    """The facts of a base model that is on this machine and in order; None otherwise."""
    try:
        folder = model_folder(name, studio.workspace.models, studio.model_roots)
        return read_facts(name, folder) if folder else None
    except UserError:  # what is wrong with it, the plan tells
        return None


def parameters_by_name(name: str) -> int:
    """The size that a model's name tells (Llama-2-7b: 7 billion), 0 when it tells none."""
    found = BILLIONS.search(name.rpartition("/")[2].replace("-", " ").replace("_", " "))
    return int(float(found[1]) * (1e9 if found[2] in "Bb" else 1e6)) if found else 0


def measured_tokens(folder: Path, model: Path, template: str) -> dict[str, int]:
    """Quantiles of the examples' lengths where the Data tab has measured them with this model, else nothing."""
    if not (folder / AUDITS).is_dir():
        return {}
    try:
        place = folder / AUDITS / audit_key(folder, _tokenizer(model, template))
        report = kept_report(place, 0, 0)
    except UserError:  # no tokenizer to measure with; the plan tells
        return {}
    tokens = report["tokens"] if report else None
    return dict(tokens["quantiles"]) if tokens else {}


@lru_cache(maxsize=4)
def _tokenizer(model: Path, template: str) -> ChatTokenizer:
    return ChatTokenizer(model, template)
