"""`studio data …`"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.base_models import model_folder
from studio.cli.output import AsJson, show
from studio.data.dataset import Verdict, read_examples
from studio.data.isolation import import_file, render_examples
from studio.errors import UserError
from studio.settings import read_settings
from studio.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Look at data files.")


@app.callback()
def group() -> None:
    """Look at data files."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="JSON, JSONL, CSV or TSV.")],
    examples: Annotated[str, typer.Option(help="How many converted examples to print: a number or all.")] = "3",
    format_name: Annotated[str, typer.Option("--format", help="Take this format instead of recognising it.")] = "",
    drop_bad_rows: Annotated[bool, typer.Option(help="Leave out rows that cannot be used.")] = False,
    model: Annotated[str, typer.Option(help="Also render the examples as this base model sees them.")] = "",
    max_length: Annotated[int, typer.Option(min=0, help="Cut rendered examples to so many tokens; 0: not.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Recognise a file, convert and check its rows. Exit code 0: usable, 2: not, with the reasons."""
    require_file(file)
    limit = None if examples == "all" else _number(examples)
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace(Path(scratch)).prepare()
        try:
            verdict = import_file(file, workspace, format_name=format_name, drop_bad_rows=drop_bad_rows)
        except UserError as error:
            verdict = Verdict(record=None, errors=[_file_error(error)])
        shown: list[Any] = []
        if verdict.record is not None:
            shown = list(read_examples(workspace.dataset(verdict.record.id), limit=limit))
    report = as_report(verdict, shown)
    if model and shown:
        report["rendered"] = _render(shown, model, max_length)
    show(report, as_json, lambda: _words(file, report))
    if report["verdict"] == "error":
        raise typer.Exit(2)


def require_file(file: Path) -> None:
    """Raise UserError when there is no such file."""
    if not file.is_file():
        raise UserError(f"There is no file {file}.", "Check the path.")


def as_report(verdict: Verdict, examples: list[Any]) -> dict[str, Any]:
    """The verdict with the keys that scripts rely on."""
    record = verdict.record
    return {
        "verdict": "ok" if record else "error",
        "format": record.format if record else None,
        "reason": record.reason if record else None,
        "dataset_type": record.dataset_type if record else None,
        "rows": record.rows if record else 0,
        "errors": verdict.errors,
        "warnings": record.warnings if record else [],
        "dropped_rows": record.dropped_rows if record else [],
        "examples": examples,
        "statistics": record.statistics if record else {},
    }


def problem_words(problem: dict[str, Any]) -> str:
    """One line for one problem, place first."""
    place = [f"{name} {problem[name]}" for name in ("row", "line", "column") if problem[name]]
    return f"{', '.join(place)}: {problem['message']} {problem['hint']}".removeprefix(": ").strip()


def _words(file: Path, report: dict[str, Any]) -> str:
    if report["verdict"] == "error":
        lines = [f"{file.name} cannot be used:", *(f"  {problem_words(problem)}" for problem in report["errors"])]
        return "\n".join(lines)
    lines = [
        f"{file.name}: {report['rows']} rows, {report['format']} ({report['reason']}), {report['dataset_type']}",
        *(f"  {name.replace('_', ' ')}: {value}" for name, value in report["statistics"].items()),
        *(f"  Note: {problem_words(problem)}" for problem in report["warnings"]),
    ]
    for example in report["examples"]:
        lines.append("")
        lines += [f"  {key}: {value}" for key, value in example.items()]
    for sequences in report.get("rendered", []):
        for sequence in sequences:
            marked = "".join(typer.style(text, fg="green") if learned else text for text, learned in sequence["tokens"])
            lines += ["", f"{sequence['total']} tokens, {sequence['learned']} learned (green):", marked]
    return "\n".join(lines)


def _render(examples: list[Any], model: str, max_length: int) -> list[list[dict[str, Any]]]:
    workspace = Workspace(read_settings().workspace).prepare()
    folder = model_folder(model, workspace.models)
    if folder is None:
        raise UserError(f"{model} is not on this machine.", "Train with it once, or name a folder.")
    return render_examples(examples, folder, max_length=max_length)


def _file_error(error: UserError) -> dict[str, str | int]:
    return {"row": 0, "line": 0, "column": "", "message": error.message, "hint": error.hint}


def _number(text: str) -> int:
    if not text.isdigit():
        raise UserError(f"--examples {text} is not a number.", "Write a number, or all.")
    return int(text)
