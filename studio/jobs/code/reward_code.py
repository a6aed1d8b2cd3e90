"""Rules that reward answers, as plain functions of Python."""

from collections.abc import Iterator
from typing import Any

from studio.methods.rewards import Answer, Contains, Format, Json, Length, Rule

HEAD = """# What rewards an answer, each from 0 to 1"""
LENGTH = """def length(completions, **unused):
    return [max(0.0, 1 - abs(len(text.split()) - {words}) / {words}) for text in completions]"""
CONTAINS = """def contains(completions, **unused):
    phrases = {phrases!r}
    return [sum(one.casefold() in text.casefold() for one in phrases) / len(phrases) for text in completions]"""
FORMAT = """def format_(completions, **unused):
    return [float(re.fullmatch({pattern!r}, text.strip(), re.DOTALL) is not None) for text in completions]"""
ANSWER = """def last_number(text):
    found = re.findall(r"-?\\d[\\d,]*\\.?\\d*", text)
    return float(found[-1].replace(",", "").rstrip(".")) if found else None


def agrees(written, wanted):
    if not wanted:
        return False
    {agrees}


def answer_(completions, answer, **unused):
    pairs = zip(completions, answer, strict=True)
    return [float(agrees(text.strip().casefold(), wanted.strip().casefold())) for text, wanted in pairs]"""
AGREES = {
    "equals": "return written == wanted",
    "contains": "return wanted in written",
    "number": "return last_number(written) is not None and last_number(written) == last_number(wanted)",
}
JSON = """def is_json(text):
    fenced = re.match(r"^```[a-z]*\\n(.*?)\\n?```$", text.strip(), re.DOTALL)
    try:
        json.loads(fenced.group(1) if fenced else text)
    except (ValueError, RecursionError):
        return False
    return True


def json_(completions, **unused):
    return [float(is_json(text)) for text in completions]"""


def reward_code(options: Any) -> tuple[str, list[str]]:
    """(the functions, the names of those that TRL calls) of an objective's rules."""
    said = list(_said(options.rules()))
    return "\n\n\n".join([HEAD, *(text for text, _ in said)]), [name for _, name in said]


def _said(rules: Iterator[Rule]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        if isinstance(rule, Length):
            yield LENGTH.format(words=rule.words), "length"
        elif isinstance(rule, Contains):
            yield CONTAINS.format(phrases=rule.phrases), "contains"
        elif isinstance(rule, Format):
            yield FORMAT.format(pattern=rule.pattern), "format_"
        elif isinstance(rule, Answer):
            yield ANSWER.replace("{agrees}", AGREES[rule.how]), "answer_"
        elif isinstance(rule, Json):
            yield JSON, "json_"
        else:
            raise NotImplementedError(f"The rule {rule.name} has no code.")
