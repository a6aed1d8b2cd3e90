"""The document's figures as data: what it says, what the formula says, what was measured; never blended."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from studio.memory import models
from studio.memory.answer import answer
from studio.memory.setup import Setup
from studio.memory.shapes import read_shape

DATA = Path(__file__).with_name("document.yaml")
VERDICTS = ("agrees", "conditional", "contradicts")


@cache
def figures() -> list[dict[str, Any]]:
    """Every figure as it stands in document.yaml."""
    found: list[dict[str, Any]] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return found


def setup_of(figure: dict[str, Any]) -> Setup | None:
    """The configuration that reproduces a figure; None where it is plain arithmetic."""
    return Setup(**figure["setup"]) if "setup" in figure else None


def estimated(figure: dict[str, Any]) -> float:
    """Our number beside the document's, in its unit: GB (10⁹ bytes) or weights."""
    if "arithmetic_value" in figure:
        return float(figure["arithmetic_value"])
    shape = read_shape(models.find(figure["model"]))
    setup = setup_of(figure)
    if setup is None:
        return float(shape.parameters * figure["arithmetic"] / 1e9)
    number = float(answer(setup, shape)[figure["reads"]])
    return number if figure.get("unit") == "weights" else number / 1e9


def _whole(figure: dict[str, Any]) -> dict[str, Any] | None:
    """Every field of the configuration, so that whoever takes it over leaves none as it was."""
    setup = setup_of(figure)
    return None if setup is None else {**asdict(setup), "options": dict(setup.options)}


@cache
def beside() -> list[dict[str, Any]]:
    """The figures in three columns: document, estimate, measured: the nearest published measurement in its own unit,
    with what it measured and its source; None where there is none."""
    columns = ("id", "section", "quote", "document", "verdict", "en", "zh", "model")
    return [
        {
            **{name: figure.get(name) for name in columns},
            "setup": _whole(figure),
            "unit": figure.get("unit", "GB"),
            "estimate": estimated(figure),
            "measured": figure.get("measured"),
        }
        for figure in figures()
    ]


def table() -> list[str]:
    """The figures as lines of a Markdown table, for docs/memory.md."""
    lines = [
        "| § | figure | document | estimate | measured by others | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for one in beside():
        told = one["measured"]
        unit = "" if one["unit"] == "weights" else f" {one['unit']}"
        measured = f"{_plain(told['value'])} {told['unit']}: {told['what']} ({told['source']})" if told else "–"
        said = f"{_plain(one['document'])}{unit} | {_plain(one['estimate'])}{unit}"
        quote = one["quote"].replace("|", "\\|")
        lines.append(f"| {one['section']} | {quote} | {said} | {measured} | {one['verdict']} |")
    return lines


def _plain(number: float) -> str:
    """A count whole, a size with one digit, or as many as it was printed with."""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}" if number != round(number, 1) else f"{number:.1f}"
