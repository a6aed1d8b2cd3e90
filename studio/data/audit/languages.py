"""Rows in another language than the rest, and answers in another language than their prompt (told by the script)."""

from array import array

import numpy as np

from studio.data.audit.contract import AuditSettings, Check, Finding
from studio.data.audit.reading import Reading
from studio.data.audit.scripts import NAMES

FEWEST_LETTERS = 12  # below that an answer is a name or a number


class LanguageMix(Check):
    """Rows whose answer is written in another script than most answers."""

    code = "language_mix"
    severity = "info"

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.scripts = array("B")

    def add(self, reading: Reading) -> None:
        self.rows.append(reading.row)
        self.scripts.append(NAMES.index(reading.answer_script))

    def shares(self) -> dict[str, float]:
        """script → its share of the rows, the most frequent first."""
        counts = np.bincount(np.frombuffer(self.scripts, np.uint8), minlength=len(NAMES))
        order = np.argsort(-counts, kind="stable")
        return {NAMES[i]: float(counts[i] / counts.sum()) for i in order if counts[i]}

    def finding(self) -> Finding | None:
        main = next((name for name in self.shares() if name != "none"), "none")
        usual = (NAMES.index(main), NAMES.index("none"))
        others = [row for row, script in zip(self.rows, self.scripts, strict=True) if script not in usual]
        return self.found(others, main=main, shares=self.shares()) if others else None


class AnswersInAnotherLanguage(Check):
    """Rows whose prompt and answer are written in different scripts."""

    code = "answer_language"
    severity = "info"

    def concerns(self, reading: Reading) -> bool:
        asked, answered = reading.asked_script, reading.answer_script
        if asked == answered or "none" in (asked, answered):
            return False
        return sum(len(answer) for answer in reading.answers) >= FEWEST_LETTERS
