"""The audit of one data set with one model: made once, kept beside the data set, counted again at any max_length."""

from pathlib import Path
from typing import Any

from studio.data.audit.contract import AuditSettings
from studio.data.audit.lengths import Lengths
from studio.data.audit.report import AuditReport, audit, cache_key
from studio.data.chat_template import ChatTokenizer
from studio.data.conversion import Tell
from studio.data.dataset import read_record
from studio.data.examples import Example
from studio.data.rows import RowsFile
from studio.data.snapshots import read_current
from studio.data.steps import apply_steps, read_steps
from studio.errors import UserError
from studio.workspace import read_json, write_json

AUDITS = "audits"
Numbered = tuple[int, Example]


def audit_dataset(
    folder: Path,
    model_folder: Path | None,
    *,
    chat_template: str = "model",
    max_length: int = 0,
    context_length: int = 0,
    tell: Tell = lambda share, known: None,
) -> dict[str, Any]:
    """The report as plain data; taken from what is kept when nothing changed since. Raises UserError."""
    tokenizer = ChatTokenizer(model_folder, chat_template) if model_folder else None
    place = folder / AUDITS / audit_key(folder, tokenizer)
    kept = kept_report(place, max_length, context_length)
    if kept is not None:
        return kept
    record, rows = read_record(folder), read_current(folder)["rows"]
    examples = apply_steps(RowsFile.open(folder).numbered_examples(), read_steps(folder))
    report, lengths = audit(
        examples,
        tokenizer,
        AuditSettings(dataset_type=record.dataset_type),
        progress=lambda done: tell(done / max(1, rows), {"rows": done}),
        max_length=max_length,
        context_length=context_length,
    )
    place.parent.mkdir(exist_ok=True)
    if lengths is not None:
        lengths.write(place.with_suffix(".npz"))
    write_json(place.with_suffix(".json"), report.model_dump())
    return report.model_dump()


def audit_key(folder: Path, tokenizer: ChatTokenizer | None) -> str:
    """The name of the audit of a data set as it is now."""
    return cache_key(read_current(folder)["sha256"], tokenizer)


def kept_report(place: Path, max_length: int, context_length: int) -> dict[str, Any] | None:
    """The report that is kept there, counted at `max_length`; None when there is none."""
    found = read_json(place.with_suffix(".json"))
    if found is None:
        return None
    report = AuditReport(**found)
    if report.tokens is None:
        return report.model_dump()
    lengths = Lengths.read(place.with_suffix(".npz"))
    return report.at(lengths, max_length, context_length=context_length).model_dump()


def recount_dataset(
    folder: Path, model_folder: Path, *, chat_template: str, max_length: int, context_length: int = 0
) -> dict[str, Any]:
    """The kept report at another `max_length`, at once. Raises UserError when there is no audit yet."""
    place = folder / AUDITS / audit_key(folder, ChatTokenizer(model_folder, chat_template))
    found = kept_report(place, max_length, context_length)
    if found is None:
        raise UserError("There is no audit for this model and template yet.", "Start it first.")
    return found
