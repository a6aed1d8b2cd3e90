"""Why something cannot be, in the reader's language: the sentences of the layers below are English."""

from functools import cache
from typing import Any

import yaml

from studio.errors import UserError
from studio.ui.i18n import FOLDER, Language, words

VALUE = "{}"
NAMED = ("objective.", "tuner.")  # words that a refusal puts in for a method


def told_error(error: UserError, language: Language) -> str:
    """Message and hint as one text."""
    return f"{told_refusal(error.message, language)} {told_refusal(error.hint, language)}".strip()


def told_view(view: dict[str, Any], language: Language) -> dict[str, Any]:
    """The view of a task; the error of one that failed in the language."""
    error = view["error"]
    return view if error is None else {**view, "error": {key: told_refusal(error[key], language) for key in error}}


def told_refusal(sentence: str, language: Language) -> str:
    """A sentence in the language, as it is where nobody has translated it."""
    if language == "en" or not sentence:
        return sentence
    return _translated(sentence) or sentence


@cache
def refusals() -> dict[str, str]:
    """English with {} for values → Chinese with {0}, {1} …"""
    table: dict[str, str] = yaml.safe_load((FOLDER / "refusals.yaml").read_text(encoding="utf-8"))
    return table


def _translated(sentence: str) -> str:
    for parts, chinese in _patterns():
        values = _values(sentence, parts)
        if values is not None:
            return chinese.format(*map(_value, values))
    return ""


def _values(sentence: str, parts: tuple[str, ...]) -> list[str] | None:
    """What stands between the parts of a sentence, None when they are not those of this one.

    By hand, since a file or a template may put words into a sentence that a regular expression takes hours for.
    """
    if len(parts) == 1 or not sentence.startswith(parts[0]):
        return [] if sentence == parts[0] else None
    values, place = [], len(parts[0])
    for part in parts[1:-1]:
        found = sentence.find(part, place + 1)
        if found < 0:
            return None
        values.append(sentence[place:found])
        place = found + len(part)
    end = len(sentence) - len(parts[-1])
    return [*values, sentence[place:end]] if place < end and sentence.endswith(parts[-1]) else None


def _value(text: str) -> str:
    """What stands in a sentence: a method, a kind of data, several of them joined by "or", or the user's own word."""
    methods = _methods()
    if text in methods:
        return methods[text]
    if text in refusals():
        return refusals()[text]
    parts = text.split(" or ")
    return "或".join(map(_value, parts)) if len(parts) > 1 else text


@cache
def _methods() -> dict[str, str]:
    english, chinese = words("en"), words("zh")
    return {english[key]: chinese[key] for key in english if key.startswith(NAMED)}


@cache
def _patterns() -> tuple[tuple[tuple[str, ...], str], ...]:
    """The most particular sentence first: what has more words of its own."""
    table = sorted(refusals().items(), key=lambda pair: -len(pair[0].replace(VALUE, "")))
    return tuple((tuple(english.split(VALUE)), chinese) for english, chinese in table)
