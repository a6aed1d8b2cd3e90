"""`studio data …`"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.base_models import model_folder
from studio.cli.output import AsJson, show
from studio.data.audit.contract import row_numbers
from studio.data.audit.report import AuditReport
from studio.data.audit.words import describe
from studio.data.dataset import Verdict, read_examples
from studio.data.desk import context_of
from studio.data.examples import LEARNS_FROM, Problem
from studio.data.isolation import import_file, render_examples, run_isolated
from studio.data.mapping import ColumnMapping
from studio.data.rows import RowsFile
from studio.data.sources.contract import printable
from studio.errors import UserError
from studio.settings import read_settings
from studio.workspace import Workspace

RENDERED = 20  # examples that are shown token by token
REFUSED = "refused_by_template"
ROWS_SHOWN = 80  # characters of the spans of a finding's rows
app = typer.Typer(no_args_is_help=True, help="Look at data files.")


@app.callback()
def group() -> None:
    """Look at data files."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="JSON, JSONL, CSV, TSV, Parquet, XLSX, TXT, Markdown; also gz and zip.")],
    objective: Annotated[str, typer.Option(help=f"What it is for: {', '.join(LEARNS_FROM)}.")] = "",
    examples: Annotated[str, typer.Option(help="How many converted examples to print: a number or all.")] = "3",
    format_name: Annotated[str, typer.Option("--format", help="Take this format instead of recognising it.")] = "",
    column: Annotated[list[str] | None, typer.Option(help="part=column, with --format: which column is what.")] = None,
    encoding: Annotated[str, typer.Option(help="The file's encoding when it is not UTF-8, for example gb18030.")] = "",
    drop_bad_rows: Annotated[bool, typer.Option(help="Leave out rows that cannot be used.")] = False,
    model: Annotated[str, typer.Option(help="Also look at the tokens that this base model sees.")] = "",
    max_length: Annotated[int, typer.Option(min=0, help="Cut examples to so many tokens; 0: not.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Recognise a file, convert, check and audit its rows. Exit code 0: usable, 2: not, with the reasons."""
    with _refusal_as_report(as_json), tempfile.TemporaryDirectory() as scratch:
        require_file(file)
        _check_objective(objective)
        limit = None if examples == "all" else _number(examples)
        mapping = _mapping(format_name, column or [])
        folder = _model_folder(model) if model else None
        workspace = Workspace(Path(scratch)).prepare()
        verdict = import_file(
            file,
            workspace,
            format_name="" if mapping else format_name,
            drop_bad_rows=drop_bad_rows,
            encoding=encoding,
            mapping=mapping,
        )
        report = as_report(verdict, objective)
        if verdict.record is not None:
            kept = workspace.dataset(verdict.record.id)
            report["examples"] = list(read_examples(kept, limit=limit))
            add_audit(report, _audit(kept, folder, max_length))
            if folder is not None and report["examples"]:
                report["rendered"] = _rendered(report, kept, folder, max_length)
    show(report, as_json, lambda: _words(file, report))
    if report["verdict"] == "error":
        raise typer.Exit(2)


@contextmanager
def _refusal_as_report(as_json: bool) -> Iterator[None]:
    """With --json a refusal has the keys of a report as well; scripts rely on them whatever the reason is."""
    try:
        yield
    except UserError as error:
        if not as_json:
            raise
        problem = Problem(message=error.message, hint=error.hint).to_dict()
        told = {"error": {"message": error.message, "hint": error.hint}}
        show({**as_report(Verdict(record=None, errors=[problem])), **told}, as_json, str)
        typer.secho(str(error), fg="red", err=True)
        raise typer.Exit(2) from None


def require_file(file: Path) -> None:
    """Raise UserError when there is no such file."""
    if os.path.isdir(file):  # of Path's methods some raise for a folder that may not be entered
        raise UserError(f"{printable(str(file))} is a folder.", "Name a file in it.")
    if os.path.exists(file) and not os.path.isfile(file):
        raise UserError(f"{printable(str(file))} is a device or a pipe, not a file.", "Name a file.")
    if not os.path.isfile(file):
        raise UserError(f"There is no file {printable(str(file))}.", "Check the path.")


def as_report(verdict: Verdict, objective: str = "") -> dict[str, Any]:
    """The verdict with the keys that scripts rely on, for one of the objectives when it is named."""
    record = verdict.record
    errors = list(verdict.errors)
    if record and objective and record.dataset_type not in LEARNS_FROM[objective]:
        wanted = " or ".join(kind.replace("_", " ") for kind in LEARNS_FROM[objective])
        message = f"{objective} learns from {wanted}; this is {record.dataset_type.replace('_', ' ')}."
        fitting = ", ".join(name for name, kinds in LEARNS_FROM.items() if record.dataset_type in kinds)
        errors.append(Problem(message=message, hint=f"It suits {fitting}.").to_dict())
    return {
        "verdict": "error" if errors or record is None else "ok",
        "format": record.format if record else None,
        "reason": record.reason if record else None,
        "dataset_type": record.dataset_type if record else None,
        "rows": record.rows if record else 0,
        "errors": errors,
        "warnings": record.warnings if record else [],
        "dropped_rows": record.dropped_rows if record else [],
        "encodings": [name for name, _ in verdict.encodings],
        "suggestion": verdict.suggestion.model_dump() if verdict.suggestion else None,
        "examples": [],
        "statistics": dict(record.statistics) if record else {},
        "findings": [],
    }


def add_audit(report: dict[str, Any], audit: AuditReport) -> None:
    """Put an audit into a report: its findings, each also as a warning about its first row; figures as statistics.

    Rows that the model's chat template refuses cannot be trained at all: they are errors.
    """
    report["findings"] = [finding.model_dump() for finding in audit.findings]
    for finding in audit.findings:
        what, why = describe(finding)
        rows = finding.row_numbers()
        where = f" Rows {finding.rows[:ROWS_SHOWN]}{'…' if len(finding.rows) > ROWS_SHOWN else ''}." if rows else ""
        reasons = finding.figures["reasons"] if finding.code == REFUSED else ()
        problem = Problem(message=" ".join([what, *reasons]) + where, hint=why, row=rows[0] if rows else 0)
        report["errors" if finding.code == REFUSED else "warnings"].append(problem.to_dict())
    if report["errors"]:
        report["verdict"] = "error"
    report["statistics"] |= {"scripts": audit.scripts}
    if audit.tokens is not None:
        report["statistics"] |= {"tokens": audit.tokens.model_dump(exclude={"histogram"})}


def _audit(folder: Path, model: Path | None, max_length: int) -> AuditReport:
    context = context_of(model) if model else 0
    answer = run_isolated(
        "audit",
        folder=str(folder),
        model_folder=str(model) if model else "",
        chat_template="model",
        max_length=max_length,
        context_length=context,
    )
    return AuditReport(**answer)


def _rendered(report: dict[str, Any], folder: Path, model: Path, max_length: int) -> list[list[dict[str, Any]]]:
    """The sequences of each of the first examples; none for one that the model's chat template refuses."""
    refused = {row for one in report["findings"] if one["code"] == REFUSED for row in row_numbers(one["rows"])}
    examples = report["examples"][:RENDERED]
    taken = [int(number) not in refused for number in RowsFile.open(folder).numbers[: len(examples)]]
    sequences = iter(render_examples(list(compress(examples, taken)), model, max_length=max_length))
    return [next(sequences) if one else [] for one in taken]


def problem_words(problem: dict[str, Any]) -> str:
    """One line for one problem, place first."""
    place = [f"{name} {problem[name]}" for name in ("row", "line", "column") if problem[name]]
    return f"{', '.join(place)}: {problem['message']} {problem['hint']}".removeprefix(": ").strip()


def _words(file: Path, report: dict[str, Any]) -> str:
    name = printable(file.name)
    if report["verdict"] == "error":
        lines = [
            f"{name} cannot be used:",
            *(f"  {problem_words(problem)}" for problem in report["errors"]),
        ]
        return "\n".join(lines)
    lines = [
        f"{name}: {report['rows']} rows, {report['format']} ({report['reason']}), {report['dataset_type']}",
        *_figures(report["statistics"]),
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


def _figures(statistics: dict[str, Any]) -> list[str]:
    tokens = statistics.get("tokens")
    plain = {name: value for name, value in statistics.items() if name not in ("scripts", "tokens")}
    lines = [f"  {name.replace('_', ' ')}: {value:,}" for name, value in plain.items()]
    scripts = ", ".join(f"{name} {share:.1%}" for name, share in statistics.get("scripts", {}).items())
    lines += [f"  scripts: {scripts}"] if scripts else []
    if tokens:
        lines += [
            f"  tokens: {tokens['total']:,}, {tokens['learned']:,} learned; "
            f"{tokens['kept']:,} and {tokens['kept_learned']:,} at max_length {tokens['max_length'] or 'none'}",
            f"  suggested max_length: {tokens['suggested_max_length']} ({tokens['suggestion_reason']})",
        ]
    return lines


def _model_folder(model: str) -> Path:
    workspace = Workspace(read_settings().workspace).prepare()
    folder = model_folder(model, workspace.models)
    if folder is None:
        raise UserError(f"{model} is not on this machine.", "Train with it once, or name a folder.")
    return folder


def _mapping(format_name: str, columns: list[str]) -> ColumnMapping | None:
    if not columns:
        return None
    pairs = dict(text.partition("=")[::2] for text in columns)
    return ColumnMapping(format=format_name or "prompt_completion", columns=pairs)


def _check_objective(objective: str) -> None:
    if objective and objective not in LEARNS_FROM:
        raise UserError(f"There is no objective {objective!r}.", f"Choose one of: {', '.join(LEARNS_FROM)}.")


def _number(text: str) -> int:
    if not text.isdigit():
        raise UserError(f"--examples {text} is not a number.", "Write a number, or all.")
    return int(text)
