"""Rows that say the same, and prompts that are answered in several ways."""

from array import array

import numpy as np
import numpy.typing as npt

from studio.data.audit.contract import NAMED_PAIRS, AuditSettings, Check, Finding
from studio.data.audit.reading import Reading

Digests = npt.NDArray[np.uint64]


class Duplicates(Check):
    """Rows that repeat an earlier row word for word; the first of them is not among them."""

    code = "duplicates"

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.digests = array("Q")

    def add(self, reading: Reading) -> None:
        self.rows.append(reading.row)
        self.digests.append(reading.digest)

    def finding(self) -> Finding | None:
        first = first_of_each(self.digests)
        repeats = np.flatnonzero(first != np.arange(len(first)))
        if not len(repeats):
            return None
        return self.found(
            (self.rows[i] for i in repeats),
            pairs=[[self.rows[i], self.rows[first[i]]] for i in repeats[:NAMED_PAIRS]],
        )


class RepeatedPrompts(Check):
    """Rows that answer an earlier row's prompt in another way. Pairs and labels are meant to, so not for them."""

    code = "repeated_prompts"
    severity = "info"
    dataset_types = ("language_modeling", "prompt_completion")

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.digests, self.prompts = array("Q"), array("Q")

    def add(self, reading: Reading) -> None:
        if reading.prompt:
            self.rows.append(reading.row)
            self.digests.append(reading.digest)
            self.prompts.append(reading.prompt_digest)

    def finding(self) -> Finding | None:
        here = np.arange(len(self.rows))
        asked, said = first_of_each(self.prompts), first_of_each(self.digests)
        others = np.flatnonzero((asked != here) & (said == here))
        if not len(others):
            return None
        return self.found(
            (self.rows[i] for i in others),
            prompts=len(np.unique(asked[others])),
            pairs=[[self.rows[i], self.rows[asked[i]]] for i in others[:NAMED_PAIRS]],
        )


def first_of_each(digests: "array[int]") -> npt.NDArray[np.intp]:
    """For each position the first position with the same digest."""
    _, first, inverse = np.unique(np.frombuffer(digests, np.uint64), return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.intp)
