"""What makes preference pairs and labelled answers teach the wrong thing."""

from array import array

import numpy as np

from studio.data.audit.contract import AuditSettings, Check, Finding
from studio.data.audit.duplicates import first_of_each
from studio.data.audit.reading import Reading, digest_of
from studio.data.examples import Message

FEWEST_PAIRS = 20  # below that a share says nothing
LONGER_SHARE = 0.65
BALANCE = 4  # TRL's weights for good and bad answers can even out about so much


def _answers(reading: Reading) -> tuple[list[Message], list[Message]]:
    example = reading.example
    return (example["chosen"], example["rejected"]) if "chosen" in example else ([], [])


class IdenticalAnswers(Check):
    """Pairs whose chosen and rejected answers are the same but for whitespace: there is nothing to prefer."""

    code = "identical_answers"
    severity = "error"
    dataset_types = ("preference",)

    def concerns(self, reading: Reading) -> bool:
        chosen, rejected = ([{**turn, "content": turn["content"].strip()} for turn in one] for one in _answers(reading))
        return chosen == rejected


class DifferingPrompts(Check):
    """Pairs that part before the last answer: the two answers do not answer the same."""

    code = "differing_prompts"
    dataset_types = ("preference",)

    def concerns(self, reading: Reading) -> bool:
        return any(message["role"] in ("user", "system") for answer in _answers(reading) for message in answer)


class LengthBias(Check):
    """The chosen answers are mostly the longer ones (or the shorter): the model may learn the length alone."""

    code = "length_bias"
    remedies = ("keep",)
    dataset_types = ("preference",)

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.chosen, self.rejected = array("Q"), array("Q")

    def add(self, reading: Reading) -> None:
        for answer, lengths in zip(_answers(reading), (self.chosen, self.rejected), strict=True):
            lengths.append(sum(len(turn["content"]) for turn in answer))

    def finding(self) -> Finding | None:
        chosen, rejected = np.frombuffer(self.chosen, np.uint64), np.frombuffer(self.rejected, np.uint64)
        if len(chosen) < FEWEST_PAIRS:
            return None
        longer, shorter = float(np.mean(chosen > rejected)), float(np.mean(chosen < rejected))
        if max(longer, shorter) < LONGER_SHARE:
            return None
        return self.found(
            [],
            chosen_longer=longer,
            chosen_shorter=shorter,
            chosen_characters_median=int(np.median(chosen)),
            rejected_characters_median=int(np.median(rejected)),
        ).model_copy(update={"count": len(chosen)})


class LabelBalance(Check):
    """One label is much more frequent than the other, or the only one."""

    code = "label_balance"
    remedies = ("keep",)
    dataset_types = ("unpaired_preference",)

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.counts = {True: 0, False: 0}

    def add(self, reading: Reading) -> None:
        if "label" in reading.example:
            self.counts[reading.example["label"]] += 1

    def finding(self) -> Finding | None:
        good, bad = self.counts[True], self.counts[False]
        if not good + bad or max(good, bad) <= BALANCE * min(good, bad):
            return None
        found = self.found([], good=good, bad=bad).model_copy(update={"count": good + bad})
        return found if min(good, bad) else found.model_copy(update={"severity": "error"})


class Contradictions(Check):
    """Rows that say the opposite of an earlier row: the pair turned round, or the same answer labelled otherwise."""

    code = "contradictions"
    severity = "error"
    dataset_types = ("preference", "unpaired_preference")

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.said, self.opposite = array("Q"), array("Q")

    def add(self, reading: Reading) -> None:
        example = reading.example
        if "chosen" in example:
            one, other = digest_of(example["chosen"]), digest_of(example["rejected"])
            self._remember(reading, (one, other), (other, one))
        elif "label" in example:
            answer = digest_of(example["completion"])
            self._remember(reading, (answer, example["label"]), (answer, not example["label"]))

    def finding(self) -> Finding | None:
        both = array("Q", self.said)
        both.extend(self.opposite)
        first = first_of_each(both)
        rows = len(self.rows)
        against = np.flatnonzero(first[rows:] < np.arange(rows))
        return self.found(self.rows[i] for i in against) if len(against) else None

    def _remember(self, reading: Reading, said: tuple[int, int], opposite: tuple[int, int]) -> None:
        self.rows.append(reading.row)
        self.said.append(digest_of([reading.prompt_digest, *said]))
        self.opposite.append(digest_of([reading.prompt_digest, *opposite]))
