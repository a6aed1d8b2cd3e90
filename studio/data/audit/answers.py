"""Answers that teach nothing, and whitespace that would be learned with them."""

import re

from studio.data.audit.contract import Check, Finding
from studio.data.audit.reading import Reading, learned_turns

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"  # they are no whitespace, and nobody sees them
PLACEHOLDERS = frozenset(
    {"none", "null", "nan", "n/a", "<na>", "nat", "undefined", "todo", "tbd", "[deleted]", "[removed]"}
)
PLACEHOLDER_AT_END = re.compile(r"\n(?:None|null|NULL|nan|NaN|N/A|<NA>)$")
WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")


def is_blank(text: str) -> bool:
    """Whether nobody would see anything of this text."""
    return not text.strip() or not text.strip(INVISIBLE + " \t\r\n\u00a0\u3000")


def trimmed(text: str) -> str:
    """The text without whitespace around it; a text of whitespace alone stays, for it is empty, not untidy."""
    return text.strip() or text


class EmptyAnswers(Check):
    """Rows in which an answer has no visible character. A call of a tool may have no text."""

    code = "empty_answers"
    severity = "error"

    def concerns(self, reading: Reading) -> bool:
        return any(is_blank(text) for text in _said(reading))


class ShortAnswers(Check):
    """Rows whose longest answer is very short. Where most are, the task is such, and it is only said."""

    code = "short_answers"
    seen = 0

    def concerns(self, reading: Reading) -> bool:
        self.seen += 1
        longest = max(reading.answers, key=len, default="").strip()
        if len(longest) >= self.settings.shortest_answer or is_blank(longest):
            return False
        return len(longest) + len(WIDE.findall(longest)) < self.settings.shortest_answer

    def finding(self) -> Finding | None:
        if not self.rows:
            return None
        found = self.found(self.rows, shortest=self.settings.shortest_answer, share=len(self.rows) / self.seen)
        return found.model_copy(update={"severity": "info"}) if found.figures["share"] > 0.5 else found


class Placeholders(Check):
    """Rows in which a text is the word None, null, nan … or a prompt ends with a line of it: an empty cell's trace."""

    code = "placeholders"

    def concerns(self, reading: Reading) -> bool:
        for text in reading.spoken:
            if len(text) < 40 and text.strip().casefold() in PLACEHOLDERS:
                return True
        return PLACEHOLDER_AT_END.search(reading.asked[-12:]) is not None


class SurroundingWhitespace(Check):
    """Rows in which a text begins or ends with whitespace."""

    code = "surrounding_whitespace"
    severity = "info"
    remedies = ("trim", "drop", "keep")

    def concerns(self, reading: Reading) -> bool:
        return any(trimmed(text) != text for text in reading.spoken)


def _said(reading: Reading) -> list[str]:
    """The texts of the assistant's learned turns (of a pair both answers'), but not where it calls a tool instead."""
    example = reading.example
    if "text" in example:
        return [example["text"]]
    if "chosen" in example:
        turns = learned_turns([*example["chosen"], *example["rejected"]])
    else:
        turns = learned_turns(example["messages"] if "messages" in example else example["completion"])
    return [turn["content"] for turn in turns if "tool_calls" not in turn]
