"""Findings and steps as the page tells them: in the user's language, and with a few rows instead of all."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from studio.data.audit.contract import Finding
from studio.data.steps import Step, is_accepted
from studio.ui.i18n import Language, words

ROWS_NAMED = 12  # of a finding
# The reasons that recognition.py, mapping.py and conversion.py give.
REASONS = {
    "reason_row_unused": re.compile("the first row has (?P<columns>.*); not used: (?P<unused>.*)", re.DOTALL),
    "reason_row": re.compile("the first row has (?P<columns>.*)", re.DOTALL),
    "reason_mapped": re.compile("mapped by hand: (?P<columns>.*)", re.DOTALL),
    "reason_chosen": re.compile("chosen by hand"),
}
# English sentences of audit/words.py are written for several rows.
ONE = (
    (re.compile(r"^1 ((?:training )?row|pair)s (\w+)"), lambda found: f"1 {found[1]} {third_person(found[2])}"),
    (re.compile(r"\band lose "), lambda found: "and loses "),
    (re.compile(r"\b1 answers lose their"), lambda found: "1 answer loses its"),
    (re.compile(r"(?<=: )their prompt"), lambda found: "its prompt"),
    (re.compile(r"\b(in|with) their "), lambda found: f"{found[1]} its "),
    (re.compile(r"they (are|do) "), lambda found: f"it {third_person(found[1])} "),
)


def told_report(report: Mapping[str, Any], steps: Sequence[Step], language: Language) -> dict[str, Any]:
    """A report for the page: each finding in words, with its first rows, and whether the user has accepted it."""
    findings = [Finding(**entry) for entry in report["findings"]]
    return {**report, "findings": [told_finding(finding, steps, language) for finding in findings]}


def told_finding(finding: Finding, steps: Sequence[Step], language: Language) -> dict[str, Any]:
    """One finding for the page."""
    table = words(language)
    figures = dict(finding.figures)
    if "main" in figures:
        figures["main"] = table[f"script.{figures['main']}"]
    what = table[f"audit.{finding.code}.what"].format(count=finding.count, **figures)
    if language == "en" and finding.count == 1:
        what = singular(what)
    return {
        "code": finding.code,
        "severity": finding.severity,
        "count": finding.count,
        "first": list(islice(each_row(finding.rows), ROWS_NAMED)),
        "remedies": finding.remedies,
        "what": what,
        "why": table[f"audit.{finding.code}.why"],
        "accepted": is_accepted(finding, steps),
    }


def singular(sentence: str) -> str:
    """A sentence about "1 rows" as one about one row."""
    for pattern, change in ONE:
        sentence = pattern.sub(change, sentence)
    return sentence


def third_person(verb: str) -> str:
    """hold → holds; are, have and do as they are spoken."""
    return {"are": "is", "have": "has", "do": "does"}.get(verb, f"{verb}s")


def told_reason(reason: str, language: Language) -> str:
    """Why a file was taken for its format, in the user's language."""
    for key, pattern in REASONS.items():
        found = pattern.fullmatch(reason)
        if found:
            return words(language)[key].format(**found.groupdict())
    return reason


def told_current(current: Mapping[str, Any]) -> dict[str, Any]:
    """What the steps leave, for the page: of each step how many rows it names, not which."""
    steps = [
        {"finding": step["finding"], "remedy": step["remedy"], "count": count_rows(step["rows"])}
        for step in current["steps"]
    ]
    return {**current, "steps": steps}


def count_rows(spans: str) -> int:
    """How many rows spans name."""
    ends = [span.partition("-") for span in spans.split(",")] if spans else []
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def each_row(spans: str) -> Iterator[int]:
    """The rows that spans name, one by one: the first are there without reading a million."""
    for span in spans.split(",") if spans else ():
        first, _, last = span.partition("-")
        yield from range(int(first), int(last or first) + 1)
