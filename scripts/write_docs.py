"""Writes the pages of docs/ that are made of the code: `python scripts/write_docs.py`. A test compares them.

docs/settings.md from settings.SETTINGS, docs/command-line.md from the commands, docs/methods.md from the
objectives, tuners and presets, docs/methods-matrix.md from what the tests of the matrix noted.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402 - the line above makes `studio` importable from anywhere
from pydantic.fields import FieldInfo  # noqa: E402

from studio.cli.main import app  # noqa: E402
from studio.errors import UserError  # noqa: E402
from studio.jobs.preflight import WORDS, check_combination  # noqa: E402
from studio.jobs.presets import read_presets  # noqa: E402
from studio.jobs.spec import IDENTITY_FIELDS, TrainSpec, build_spec  # noqa: E402
from studio.methods.merging import MERGE_METHODS  # noqa: E402
from studio.methods.objectives import OBJECTIVES  # noqa: E402
from studio.methods.tuners import TUNERS  # noqa: E402
from studio.settings import SETTINGS  # noqa: E402

NOTE = "<!-- Written by scripts/write_docs.py from {source}. Change that, then run the script again. -->"
MATRIX = ROOT / "tests" / "worker" / "matrix.json"  # written by the tests of the matrix
QUANTIZATIONS = TrainSpec.model_fields["quantization"].annotation
LIMITS = (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))


def settings_page() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        NOTE.format(source="studio/settings.py"),
        "",
        "The studio is set up by environment variables; `studio/settings.py` is the only file that reads them. An "
        "empty variable counts as unset. `make run HOST=… PORT=…` and `python -m studio serve --host … --port …` win "
        "over `STUDIO_HOST` and `STUDIO_PORT`.",
    ]
    for name, default, words in SETTINGS:
        lines += ["", f"## {name}", "", f"{words} Default: {code(default) if default else 'none'}."]
    return "\n".join(lines) + "\n"


def command_page() -> str:
    """docs/command-line.md."""
    lines = [
        "# The command line",
        "",
        NOTE.format(source="studio/cli/"),
        "",
        "The page's work from a shell, in the same workspace (`STUDIO_WORKSPACE`): a job started here shows up in an "
        "open page, and the other way round. Run the commands with the environment's Python: "
        "`.venv/bin/python -m studio …`, or `source .venv/bin/activate` once and leave the path away.",
        "",
        "Exit codes: 0 done; 2 something that you can fix, told in a sentence; 1 a bug, with a traceback. With "
        '`--json` the result is JSON on standard output, and an error is `{"error": {"message": …, "hint": …}}`.',
    ]
    for path, command in commands(typer.main.get_command(app)):
        shown = [param for param in command.params if not param.hidden]
        arguments = "".join(f" {param.name.upper()}" for param in shown if not is_option(param))
        required = "".join(f" {param.opts[0]} …" for param in shown if is_option(param) and param.required)
        usage = f"python -m studio {path}{arguments}{required}"
        lines += ["", f"## {path}", "", command.help or "", "", "```sh", usage, "```"]
        if shown:
            lines += ["", "| | default | |", "|---|---|---|", *(parameter_row(param) for param in shown)]
    return "\n".join(lines) + "\n"


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(words behind `studio`, command) for every command."""
    for name, command in group.commands.items():
        full = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, full)
        else:
            yield full, command


def is_option(param: Any) -> bool:
    """Whether a parameter is an option, not an argument."""
    return bool(param.opts[0].startswith("-"))


def parameter_row(param: Any) -> str:
    """One line of a command's table."""
    names = ", ".join(code(name) for name in (*param.opts, *param.secondary_opts)) if is_option(param) else ""
    default = "required" if param.required else "" if param.default in (None, "", False) else code(str(param.default))
    limits = [
        f"{word} {number(value)}"
        for value, word in ((param.min, "at least"), (param.max, "at most"))
        if value is not None
    ]
    words = " ".join(text for text in (param.help or "", f"({', '.join(limits)})" if limits else "") if text)
    return f"| {names or code(param.name.upper())} | {default} | {cell(words)} |"


def method_page() -> str:
    """docs/methods.md."""
    lines = [
        "# Methods and their options",
        "",
        NOTE.format(source="studio/methods/, studio/jobs/spec.py and presets/"),
        "",
        "A job has one objective (what is taught), one tuner (how much of the model learns) and the options below. A "
        "preset is a named start; `--set key=value` and the form change single options. Names are the libraries' own.",
        "",
        "## Objectives",
    ]
    for objective in OBJECTIVES.values():
        needs = " or ".join(WORDS[kind] for kind in objective.dataset_types)
        lines += ["", f"### {objective.name}: {objective.title}", "", f"{objective.summary} Learns from {needs}."]
        lines += option_table(objective.options.model_fields, "objective.")
    lines += ["", "## Tuners"]
    for tuner in TUNERS.values():
        quantized = "cannot" if tuner.refuses(tuner.options(name=tuner.name), "nf4") else "can"
        lines += ["", f"### {tuner.name}: {tuner.title}", ""]
        lines += [f"{tuner.summary} The base model {quantized} be kept in 4 or 8 bits (`quantization=nf4`, `int8`)."]
        lines += option_table(tuner.options.model_fields, "tuner.")
    lines += ["", "## Merging", "", "How several adapters become one: [merging.md](merging.md)."]
    for method in MERGE_METHODS.values():
        lines += ["", f"### {method.name}: {method.title}", "", method.summary]
        lines += option_table(method.options.model_fields, "method.")
    lines += ["", "## Presets"]
    for name, preset in read_presets().items():
        lines += ["", f"### {name}", "", f"{preset.summary} (`presets/{name}.yaml`)"]
    common = {name: field for name, field in TrainSpec.model_fields.items() if name not in IDENTITY_FIELDS}
    lines += ["", "## Options of every job", *option_table(common, "")]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Cell:
    """One way to train: what is taught, how much of the model learns, how the frozen weights are kept."""

    objective: str
    tuner: str
    quantization: str


def cells() -> Iterator[tuple[Cell, str]]:
    """(cell, why the form refuses it, empty when it trains) of every objective, tuner and quantization."""
    for objective, tuner, quantization in product(OBJECTIVES, TUNERS, get_args(QUANTIZATIONS)):
        yield Cell(objective, tuner, quantization), refusal(objective, {"name": tuner}, quantization)


def refusal(objective: str, tuner: dict[str, Any], quantization: str) -> str:
    """Why the form refuses an objective with its defaults and a tuner with these options; empty when it does not."""
    reward = {"reward_words": 10} if OBJECTIVES[objective].rewarded else {}
    values = {"objective": {"name": objective, **reward}, "tuner": tuner, "quantization": quantization}
    try:
        check_combination(build_spec({"dataset": {"id": "any", "sha256": ""}, **values}))
    except UserError as error:
        return error.message
    return ""


def noted() -> dict[Cell, int]:
    """Cell → how many weights learned, of every cell that a test has trained."""
    return {Cell(*key.split(" × ")): trained for key, trained in json.loads(MATRIX.read_text(encoding="utf-8")).items()}


def matrix_page() -> str:
    """docs/methods-matrix.md."""
    refused, trained = dict(cells()), noted()
    reasons = list(dict.fromkeys(reason for reason in refused.values() if reason))
    lines = [
        "# Every objective with every tuner",
        "",
        NOTE.format(
            source="tests/worker/matrix.json, which the tests of the matrix write, and studio/jobs/preflight.py"
        ),
        "",
        "✓: a test trains two steps on a tiny model, of which so many weights learn; it sees that the loss is finite "
        "and that nothing else has moved, saves, and compares the answer with that of a new process that loads what is "
        "there (`tests/worker/matrix.py`). A letter: the form refuses it, for the reason below. Options are the "
        "defaults; some options narrow it, and the form says so.",
    ]
    for quantization in get_args(QUANTIZATIONS):
        lines += ["", f"## quantization={quantization}", "", f"| | {' | '.join(OBJECTIVES)} |"]
        lines += [f"|---|{'---|' * len(OBJECTIVES)}"]
        for tuner in TUNERS:
            row = [Cell(objective, tuner, quantization) for objective in OBJECTIVES]
            marks = [matrix_mark(reasons, refused[one], trained.get(one)) for one in row]
            lines += [f"| {tuner} | {' | '.join(marks)} |"]
    lines += ["", "## What is refused, and why", ""]
    lines += [f"- **{letter(number)}** {reason}" for number, reason in enumerate(reasons)]
    lines += ["", "## Options that narrow it", ""]
    lines += [f"- {code(option)} with {with_what}: {reason}" for option, with_what, reason in narrowed()]
    return "\n".join(lines) + "\n"


def narrowed() -> Iterator[tuple[str, str, str]]:
    """(a tuner's option, what it does not go with, why) of every choice that the defaults would have allowed."""
    refused = dict(cells())
    for name, tuner in TUNERS.items():
        for option, field in tuner.options.model_fields.items():
            choices = (True, False) if field.annotation is bool else get_args(field.annotation)
            for value, objective, quantization in product(choices, ("sft", "dpo"), get_args(QUANTIZATIONS)):
                if option == "name" or value == field.default or refused[Cell(objective, name, quantization)]:
                    continue
                reason = refusal(objective, {"name": name, option: value}, quantization)
                if reason and (objective == "dpo") == (not refusal("sft", {"name": name, option: value}, quantization)):
                    with_what = f"{OBJECTIVES[objective].title} and its like" if objective == "dpo" else quantization
                    yield f"{name}: {option}={value}", with_what, reason


def matrix_mark(reasons: list[str], reason: str, trained: int | None) -> str:
    """One cell of the matrix; "?" when it is neither refused nor tested."""
    if reason:
        return letter(reasons.index(reason))
    return "?" if trained is None else f"✓ {trained:,}"


def letter(number: int) -> str:
    """0 → a."""
    return chr(ord("a") + number)


def option_table(fields: dict[str, FieldInfo], prefix: str) -> list[str]:
    """The options of one model as a table; empty when it has none."""
    rows = [
        f"| `{prefix}{name}` | {code(str(field.default)) if field.default != '' else ''} | {cell(allowed(field))} "
        f"| {cell(field.description or '')} |"
        for name, field in fields.items()
        if name != "name" or not prefix
    ]
    return ["", "| option | default | allowed | |", "|---|---|---|---|", *rows] if rows else []


def allowed(field: FieldInfo) -> str:
    """What values an option takes, in words."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(code(str(choice)) for choice in get_args(field.annotation))
    limits = [
        f"{word} {number(getattr(rule, key))}" for rule in field.metadata for key, word in LIMITS if hasattr(rule, key)
    ]
    return ", ".join([kind_of(field.annotation), *limits])


def kind_of(annotation: Any) -> str:
    """A Python type in plain words."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(kind_of(one) for one in get_args(annotation))
    words = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "nothing"}
    return words.get(annotation, str(annotation))


def number(value: float) -> str:
    """A limit as a person writes it."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def code(text: str) -> str:
    """Text in code type."""
    return f"`{text}`"


def cell(text: str) -> str:
    """Text for a table's cell."""
    return text.replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "docs/settings.md": settings_page,
    "docs/command-line.md": command_page,
    "docs/methods.md": method_page,
    "docs/methods-matrix.md": matrix_page,
}


if __name__ == "__main__":
    for page, write in PAGES.items():
        (ROOT / page).write_text(write(), encoding="utf-8")
        print(f"{page} is written.")
