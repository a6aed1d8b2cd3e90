"""What the user decided about findings: recorded beside the data set, applied in order, each taken back at will."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from studio.data.audit.answers import trimmed
from studio.data.audit.contract import Finding, Remedy, row_numbers
from studio.data.examples import Example
from studio.errors import UserError
from studio.workspace import read_json, write_json

STEPS = "steps.json"

Change = Callable[[str], str]


class Step(BaseModel):
    """One decision: what is done about a finding in some rows (spans such as "3-5,9"; empty: the data set as a whole).

    drop leaves the rows out, trim changes their texts as TRIMS says with `parameters`, keep changes nothing and
    records that the finding was seen. `when` is in UTC, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: str
    remedy: Remedy
    rows: str = ""
    parameters: dict[str, Any] = {}
    when: str


def step_for(finding: Finding, remedy: Remedy, rows: str | None = None) -> Step:
    """The step that applies a remedy to all rows of a finding, or to `rows` of it. Raises UserError."""
    if remedy not in finding.remedies:
        raise UserError(f"{remedy} is no remedy for {finding.code}.", f"Choose one of: {', '.join(finding.remedies)}.")
    chosen = finding.rows if rows is None else rows
    if not set(row_numbers(chosen)) <= set(finding.row_numbers()):
        raise UserError(f"Not all of these rows have the finding {finding.code}.", "Look for the finding again.")
    trims_tokens = remedy == "trim" and "tokens" in finding.figures
    parameters = {"tokens": sorted(finding.figures["tokens"])} if trims_tokens else {}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Step(finding=finding.code, remedy=remedy, rows=chosen, parameters=parameters, when=when)


def read_steps(folder: Path) -> list[Step]:
    """The steps of a data set, in the order in which they apply."""
    return [Step(**step) for step in read_json(folder / STEPS) or []]


def write_steps(folder: Path, steps: list[Step]) -> None:
    """Keep the steps in a data set's folder; nothing else of it changes."""
    write_json(folder / STEPS, [step.model_dump() for step in steps])


def add_step(folder: Path, step: Step) -> list[Step]:
    """Put a step after the others, and return all."""
    steps = [*read_steps(folder), step]
    write_steps(folder, steps)
    return steps


def remove_step(folder: Path, position: int = -1) -> list[Step]:
    """Take a step back (the last, or the one at `position` from 0), and return the rest. Raises UserError."""
    steps = read_steps(folder)
    if not -len(steps) <= position < len(steps):
        raise UserError("There is no such step.", "Look at the list of steps again.")
    del steps[position]
    write_steps(folder, steps)
    return steps


def apply_steps(examples: Iterable[tuple[int, Example]], steps: Iterable[Step]) -> Iterator[tuple[int, Example]]:
    """The examples as the steps leave them, each with the row number that it had; what no step names is untouched."""
    changes = [(set(row_numbers(step.rows)), step.remedy, _change(step)) for step in steps if step.remedy != "keep"]
    for row, example in examples:
        after: Example | None = example
        for rows, remedy, change in changes:
            if after is not None and row in rows:
                after = None if remedy == "drop" else change(after)
        if after is not None:
            yield row, after


def is_accepted(finding: Finding, steps: Iterable[Step]) -> bool:
    """Whether the user has seen a finding and keeps all its rows as they are."""
    seen: set[int] = set()
    told = False
    for step in steps:
        if step.remedy == "keep" and step.finding == finding.code:
            told = True
            seen.update(row_numbers(step.rows))
    return told and seen.issuperset(finding.row_numbers())


def without_whitespace(example: Example) -> Example:
    """Whitespace around each text goes, a tool's answers aside; a text of whitespace alone stays."""
    return _changed(example, trimmed, everywhere=False)


def without_tokens(example: Example, tokens: list[str]) -> Example:
    """Every one of `tokens` goes from all texts, also those that come together when one between them goes."""
    return _changed(example, lambda text: _taken_out(text, tokens), everywhere=True)


TRIMS: dict[str, Callable[..., Example]] = {
    "surrounding_whitespace": without_whitespace,
    "special_tokens": without_tokens,
    "template_marks": without_tokens,
}


def _change(step: Step) -> Callable[[Example], Example]:
    if step.remedy == "drop":
        return lambda example: example
    trim = TRIMS.get(step.finding)
    if trim is None:
        raise UserError(f"{step.finding} cannot be trimmed.", "Take that step back.")
    return lambda example: trim(example, **step.parameters)


def _taken_out(text: str, tokens: list[str]) -> str:
    """`text` without any of the tokens, in one pass from left to right."""
    if not any(token in text for token in tokens):
        return text
    ending: dict[str, list[list[str]]] = {}
    for token in sorted(tokens, key=len, reverse=True):
        ending.setdefault(token[-1], []).append(list(token))
    kept: list[str] = []
    for character in text:
        kept.append(character)
        for letters in ending.get(character, ()):
            if kept[-len(letters) :] == letters:
                del kept[-len(letters) :]
                break
    return "".join(kept)


def _changed(example: Example, change: Change, *, everywhere: bool) -> Example:
    """The example with its texts changed; `everywhere` also a tool's answers, reasoning and arguments of calls."""
    result: dict[str, Any] = {}
    for name, value in example.items():
        if name == "text":
            result[name] = change(cast(str, value))
        elif name in ("messages", "prompt", "completion", "chosen", "rejected"):
            messages = cast(list[dict[str, Any]], value)
            result[name] = [_changed_message(message, change, everywhere=everywhere) for message in messages]
        else:
            result[name] = value
    return cast(Example, result)


def _changed_message(message: dict[str, Any], change: Change, *, everywhere: bool) -> dict[str, Any]:
    if not everywhere:
        return message if message["role"] == "tool" else {**message, "content": change(message["content"])}
    return {
        key: _changed_value(value, change) if key in ("content", "reasoning_content", "tool_calls") else value
        for key, value in message.items()
    }


def _changed_value(value: Any, change: Change) -> Any:
    """A JSON value with its texts changed; in a call only what its arguments hold."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed_call(item, change) for item in value]
    return value


def _changed_call(call: dict[str, Any], change: Change) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": _changed_texts(function["arguments"], change)}}


def _changed_texts(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _changed_texts(item, change) for key, item in value.items()}
    return value
