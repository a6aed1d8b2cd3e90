"""The catalogue of cards, and the cards of this box with what is free now."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from studio import hardware
from studio.errors import UserError

GIB = 1024**3
DATA = Path(__file__).with_name("gpus.yaml")


@dataclass(frozen=True, kw_only=True)
class Card:
    """`usable`: bytes that a program can have; `flops`: dense 16-bit a second; `bandwidth`: bytes a second.
    `free`: bytes that are free now, on cards of this box."""

    name: str
    usable: float
    flops: float
    bandwidth: float
    kind: str
    free: float | None = None


@cache
def catalogue() -> dict[str, Card]:
    """Every known card by name, in the order of the menu."""
    rows = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return {
        name: Card(name=name, usable=gib * GIB, flops=tflops * 1e12, bandwidth=gbs * 1e9, kind=kind)
        for name, gib, tflops, gbs, kind in rows
    }


def find(name: str) -> Card:
    """The card of this name, whose memory need not be said; else the one whose name holds the words of `name`; or one
    of so many GiB ("24 GiB"). Raises UserError when none is, or several of different memory."""
    wanted = _words(name)
    if len(wanted) == 2 and wanted[1] in ("gib", "gb") and wanted[0].replace(".", "", 1).isdigit():
        usable = float(wanted[0]) * (GIB if wanted[1] == "gib" else 1e9)
        return Card(name=name, usable=usable, flops=0.0, bandwidth=0.0, kind="size")
    cards = catalogue()
    exact = [card for card in cards.values() if wanted in (_words(card.name), _model(card.name))]
    holding = [card for card in cards.values() if wanted and set(wanted) <= set(_words(card.name))]
    found = exact or holding
    if not found:
        raise UserError(f"There is no card {name!r} in the catalogue.", f"One of: {', '.join(cards)}; or 24 GiB.")
    if len({card.usable for card in found}) > 1:
        names = ", ".join(card.name for card in found)
        raise UserError(f"{name!r} may be several cards: {names}.", "Write the whole name.")
    return min(found, key=lambda card: len(card.name))


def of_this_box() -> list[Card]:
    """The cards of this machine as its driver tells; speed as the catalogue has it, 0 where it is not known."""
    return [_known(gpu) for gpu in hardware.gpus()]


VARIANTS = {"ti", "super", "laptop", "max", "mobile", "d", "ada", "nvl"}
"""Words that make another card of the same number."""


def _known(gpu: hardware.Gpu) -> Card:
    best = _alike(gpu)
    return Card(
        name=gpu.name,
        usable=float(gpu.total_bytes),
        flops=best.flops if best else 0.0,
        bandwidth=best.bandwidth if best else 0.0,
        kind="this box",
        free=float(gpu.total_bytes - gpu.used_bytes),
    )


def _alike(gpu: hardware.Gpu) -> Card | None:
    """The card of the catalogue whose every word the driver's name has, the variant included: of most words, then of
    nearest memory."""
    words = set(_words(gpu.name.replace("-", " ")))
    alike = [
        card
        for card in catalogue().values()
        if set(_model(card.name)) <= words and words & VARIANTS == set(_model(card.name)) & VARIANTS
    ]
    return min(alike, key=lambda card: (-len(_model(card.name)), abs(card.usable - gpu.total_bytes)), default=None)


def _model(name: str) -> list[str]:
    """The words of a card's name without the size of its memory and what stands in brackets."""
    words = _words(name.partition("(")[0])
    sizes = {place for place, word in enumerate(words) if word == "gb" for place in (place - 1, place)}
    return [word for place, word in enumerate(words) if place not in sizes]


def _words(name: str) -> list[str]:
    """Lower-case words; a vendor's name says nothing, and 24GB is 24 GB."""
    spaced = name.lower().replace("(", " ").replace(")", " ")
    parts = [part for part in spaced.split() if part not in ("nvidia", "geforce", "amd", "apple", "tesla")]
    split: list[str] = []
    for part in parts:
        unit = next((unit for unit in ("gib", "gb") if part.endswith(unit) and part[: -len(unit)].isdigit()), "")
        split += [part[: -len(unit)], unit] if unit else [part]
    return split
