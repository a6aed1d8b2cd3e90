"""Why something cannot be, in the reader's language: the sentences of the layers below are English."""

import re
from functools import cache

import yaml

from studio.errors import UserError
from studio.ui.i18n import FOLDER, Language, words

VALUE = "{}"
NAMED = ("objective.", "tuner.")  # words that a refusal puts in for a method


def told_error(error: UserError, language: Language) -> str:
    """Message and hint as one text."""
    return f"{told_refusal(error.message, language)} {told_refusal(error.hint, language)}".strip()


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
    for pattern, chinese in _patterns():
        found = pattern.fullmatch(sentence)
        if found:
            return chinese.format(*(_value(value) for value in found.groups()))
    return ""


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
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The most particular sentence first: what has more words of its own."""
    table = sorted(refusals().items(), key=lambda pair: -len(pair[0].replace(VALUE, "")))
    return tuple((re.compile(re.escape(english).replace(re.escape(VALUE), "(.+?)"), re.DOTALL), chinese)
                 for english, chinese in table)  # fmt: skip
