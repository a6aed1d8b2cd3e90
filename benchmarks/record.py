"""Results in a file and in a table: what was measured, when, and on what."""

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.contract import Figure
from benchmarks.peers import LLAMA_FACTORY
from studio import __version__, hardware
from studio.workspace import write_json

PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "gradio", "plotly", "pydantic", "fastapi")


def machine() -> dict[str, Any]:
    """What the numbers depend on. No name of the machine and no path of it."""
    cpu = hardware.cpu()
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "cpu": cpu.name,
        "cores": cpu.cores,
        "bf16": cpu.bf16,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"studio": __version__, **versions},
    }


def add_result(file: Path, name: str, title: str, figures: list[Figure]) -> dict[str, Any]:
    """Write one benchmark's figures into `file` and return all of it; figures of another machine go."""
    here = machine()
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if record.get("machine") != here:
        record = {"machine": here, "peer": asdict(LLAMA_FACTORY), "benchmarks": {}}
    record["benchmarks"][name] = {
        "title": title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": [figure.to_dict() for figure in figures],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, record)
    return record


def table(record: dict[str, Any]) -> str:
    """The figures for people: one line each, a heading for each benchmark."""
    rows = []
    for entry in record["benchmarks"].values():
        rows.append(("", entry["title"], "", "", "", ""))
        rows += [(*_cells(figure), figure["note"]) for figure in entry["figures"]]
    head = ("met", "figure", "value", "goal", "peer", "note")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(5)]
    lines = []
    for row in [head, *rows]:
        start = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines.append(f"{start}  {row[5]}".rstrip())
    cpu = record["machine"]
    about = f"{cpu['cores']} cores of {cpu['cpu']}, Python {cpu['python']}; peer: {record['peer']['name']}"
    return "\n".join([about, "", *lines])


def _cells(figure: dict[str, Any]) -> tuple[str, str, str, str, str]:
    met = {True: "yes", False: "NO", None: ""}[figure["met"]]
    goal = "" if figure["goal"] is None else f"at {figure['at']} {figure['goal']:g}"
    value = f"{figure['value']:,.{_digits(figure['value'])}f} {figure['unit']}"
    peer = "" if figure["peer"] is None else f"{figure['peer']:g}"
    return met, f"  {figure['name']}", value, goal, peer


def _digits(value: float) -> int:
    return 0 if value == int(value) or abs(value) >= 1000 else 2
