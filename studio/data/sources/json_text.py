"""One JSON value: read strictly, and when it is faulty, why and in which column."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from studio.data.sources.contract import DEEPEST_ROW, clipped

WHITESPACE = " \t\r\n"
_TOKEN = re.compile(r'"((?:[^"\\]++|\\(?:.|\Z))*+)("|\Z)|[{}\[\]:,]', re.DOTALL)
_SURROGATE = re.compile(r"\\[uU][dD][89a-fA-F]")
DIGITS = 4_300  # Python turns no longer number into text again


@dataclass(frozen=True)
class Fault:
    """Why a value cannot be used; `cut_off` when its end is missing."""

    message: str
    hint: str
    column: str = ""
    cut_off: bool = False


def read_value(text: str, start: int = 0) -> tuple[Any, int]:
    """(value, where it ends). Raises ValueError or RecursionError: `explain` says what was wrong."""
    return DECODER.raw_decode(text, start)


def needs_check(text: str, row: dict[str, Any]) -> bool:
    """Whether a row may hold what the parser accepts and we do not: half characters, deep nesting. Cheap."""
    if "\\u" in text and _SURROGATE.search(text) is not None:
        return True
    for value in row.values():
        if value.__class__ is list or value.__class__ is dict:
            return text.count("{") + text.count("[") > DEEPEST_ROW
    return False


def check_row(row: dict[str, Any]) -> Fault | None:
    """The first value that is nested too deeply or holds half of a surrogate pair, without recursion."""
    for column, value in row.items():
        waiting = [(column, 1), (value, 1)]
        while waiting:
            item, depth = waiting.pop()
            if isinstance(item, str):
                if (found := half_character(item)) is not None:
                    return Fault(found, "Replace that character: it belongs to no language.", column)
            elif isinstance(item, dict | list):
                if depth >= DEEPEST_ROW:
                    return _too_deep(column)
                children = [*item.keys(), *item.values()] if isinstance(item, dict) else item
                waiting.extend((child, depth + 1) for child in children)
    return None


def half_character(text: str) -> str | None:
    """A sentence about the first half of a surrogate pair in a text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"Character {error.start + 1} is half of a pair (\\u{ord(text[error.start]):04x})."
    return None


def explain(text: str, start: int, error: ValueError | RecursionError) -> Fault:
    """The fault of the value that begins at `start` and could not be read."""
    if isinstance(error, RecursionError):
        return _too_deep(column_at(text, start, len(text)))
    if not isinstance(error, json.JSONDecodeError):
        return _refused_value(text, start, str(error))
    position, column = error.pos, column_at(text, start, error.pos)
    message, hint = _syntax(text, start, position, error.msg)
    cut_off = not text[position:].strip(WHITESPACE) or error.msg.startswith("Unterminated string")
    if cut_off and text[start : start + 2] != "{'":
        return Fault("The row is cut off.", "Complete it, or delete it.", column, cut_off=True)
    return Fault(message, hint, column)


def column_at(text: str, start: int, position: int) -> str:
    """The key of the row's object in whose value `position` lies; "" when there is none."""
    depth, name, key = 0, "", ""
    for token in _TOKEN.finditer(text, start, position):
        mark = token.group()
        if mark in ("{", "["):
            depth += 1
            if depth > DEEPEST_ROW:
                break
        elif mark in ("}", "]"):
            depth -= 1
        elif depth == 1 and mark == ":":
            name = key
        elif depth == 1 and mark == ",":
            name = ""
        elif mark.startswith('"'):
            key = _plain(mark)
    return name


def _plain(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted.strip('"')


def _syntax(text: str, start: int, position: int, said: str) -> tuple[str, str]:
    """(message, hint) for what stands at `position`, in the words of the mistake that people make there."""
    rest, before = text[position : position + 12], text[start:position].rstrip(WHITESPACE)[-1:]
    place = f"character {position - text.rfind(chr(10), 0, position)}"
    if text[start : start + 2] == "{'" or rest.startswith("'"):
        return "This is written as Python writes it, not JSON: texts need double quotes.", "Write it with json.dumps."
    if word := next((word for word in ("True", "False", "None") if rest.startswith(word)), ""):
        right = {"True": "true", "False": "false", "None": "null"}[word]
        return f"{word} is Python's word, JSON writes {right} ({place}).", "Write it with json.dumps."
    if rest.startswith(("//", "/*", "#")):
        return f"A comment stands at {place}; JSON has none.", "Delete the comment."
    if rest.startswith(("“", "”", "„", "‘", "’")):
        return f"A typographic quotation mark stands at {place}.", 'Write straight quotation marks: ".'
    if before == "," and rest.startswith(("}", "]")):
        return f"A comma stands before {rest[0]!r} ({place}).", "Delete that comma."
    if said.startswith("Invalid control character"):
        shown = f"U+{ord(rest[0]):04X}" if rest else "the end"
        return f"A text holds a raw control character, {shown} ({place}).", "Write it escaped, as \\n or \\u0000."
    if rest.startswith("\ufeff"):
        return "A byte order mark stands here: files were joined.", "Delete the mark."
    return f"This is not valid JSON: {said[:1].lower()}{said[1:]} ({place}).", "Correct that place, or delete the row."


def _too_deep(column: str) -> Fault:
    return Fault(f"The JSON is nested more than {DEEPEST_ROW} deep.", "Write it flatter, or delete the row.", column)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _refused_value(text: str, start: int, said: str) -> Fault:
    """Read once more with faults as values, to learn in which column the fault is."""
    try:
        value, _ = _DIAGNOSING.raw_decode(text, start)
        found = _fault_in(value)
    except (ValueError, RecursionError):
        found = None
    return found or Fault(f"This is not valid JSON: {said}.", "Correct the row, or delete it.")


def _diagnosed_object(pairs: list[tuple[str, Any]]) -> Any:
    names: set[str] = set()
    for name, value in pairs:
        if name in names:
            return Fault(f"The key {clipped(name)} stands twice in one object.", "Keep one of them.", name)
        names.add(name)
        if found := _fault_in(value):
            return Fault(found.message, found.hint, name)
    return dict(pairs)


def _diagnosed_float(text: str) -> Any:
    if math.isinf(float(text)):
        return Fault(f"The number {text[:20]} is too large.", "Write it as text, in quotes.")
    return float(text)


def _diagnosed_int(text: str) -> Any:
    if len(text) > DIGITS:
        return Fault(f"A number has {len(text):,} digits.", "Write it as text, in quotes.")
    return int(text)


def _fault_in(value: Any) -> Fault | None:
    if isinstance(value, list):
        return next((found for item in value if (found := _fault_in(item))), None)
    return value if isinstance(value, Fault) else None


_DIAGNOSING = json.JSONDecoder(
    object_pairs_hook=_diagnosed_object,
    parse_constant=lambda name: Fault(f"{name} is not a JSON value.", "Write a number, null, or delete the row."),
    parse_float=_diagnosed_float,
    parse_int=_diagnosed_int,
)
