"""Rows that are nearly the same, found in a fixed memory."""

from array import array
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from studio.data.audit.contract import NAMED_PAIRS, AuditSettings, Check, Finding
from studio.data.audit.duplicates import first_of_each
from studio.data.audit.reading import Reading, all_messages, texts_of
from studio.data.audit.shingles import (
    EMPTY,
    SLOTS,
    Boilerplate,
    Codes,
    agreement,
    bare,
    filled,
    pieces_of,
    signatures_of,
)

ALIKE = 0.8  # the share of text pieces in common
FEWEST_SLOTS = 20  # fewer pieces say too little: such short texts are alike only when equal but for case and signs
BANDS = 16
BATCH_ROWS, BATCH_CHARACTERS = 2_048, 400_000
CHARACTERS_COMPARED = 100_000  # of one row


class NearDuplicates(Check):
    """Rows that are nearly an earlier row: equal but for case, spaces and signs, or with most text in common.

    Not word for word the same (that is another finding). System messages do not count, nor does what a third of
    the first rows share. Only the first `most_compared` rows are compared; the figures say so.
    """

    code = "near_duplicates"
    severity = "info"

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.seen = 0
        self.digests, self.bare_digests = array("Q"), array("Q")
        self.signatures: list[Codes] = []
        self.boilerplate: Boilerplate | None = None
        self._texts: list[str] = []
        self._characters = 0

    def add(self, reading: Reading) -> None:
        self.seen += 1
        if self.seen > self.settings.most_compared:
            return
        self.rows.append(reading.row)
        self.digests.append(reading.digest)
        text = compared_text(reading)
        self._texts.append(text)
        self._characters += len(text)
        if len(self._texts) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._take_batch()

    def finding(self) -> Finding | None:
        self._take_batch()
        if not self.rows:
            return None
        here = np.arange(len(self.rows))
        like = np.minimum(first_of_each(self.bare_digests), _most_alike(np.concatenate(self.signatures)))
        near = np.flatnonzero((like < here) & (first_of_each(self.digests) == here))
        if not len(near):
            return None
        return self.found(
            (self.rows[i] for i in near),
            compared=len(self.rows),
            of=self.seen,
            pairs=[[self.rows[i], self.rows[like[i]]] for i in near[:NAMED_PAIRS]],
        )

    def _take_batch(self) -> None:
        if not self._texts:
            return
        count = len(self._texts)
        codes, rows = bare(self._texts)
        ends = np.searchsorted(rows, np.arange(count + 1))
        for position in range(count):
            letters = codes[ends[position] : ends[position + 1]].tobytes() or f"row {len(self.bare_digests)}".encode()
            self.bare_digests.append(int.from_bytes(blake2b(letters, digest_size=8).digest(), "big"))
        pieces, rows = pieces_of(codes, rows)
        if self.boilerplate is None:
            self.boilerplate = Boilerplate(pieces, rows, count)
        self.signatures.append(signatures_of(*self.boilerplate.without(pieces, rows), count))
        self._texts, self._characters = [], 0


def compared_text(reading: Reading) -> str:
    """What two rows are compared by: all that is said in them, and the label, but not the system's instructions."""
    example = reading.example
    if "text" in example:
        return example["text"][:CHARACTERS_COMPARED]
    spoken = [text for message in all_messages(example) if message["role"] != "system" for text in texts_of(message)]
    if "label" in example:
        spoken.append(f"+{example['label']}")
    return "\n".join(spoken)[:CHARACTERS_COMPARED]


def _most_alike(signatures: Codes) -> npt.NDArray[np.intp]:
    """For each row the first row that it is alike, itself when there is none.

    Rows that agree in a whole band of their signatures are candidates; the whole signatures decide.
    """
    like = np.arange(len(signatures))
    enough = np.flatnonzero(np.count_nonzero(signatures != EMPTY, axis=1) >= FEWEST_SLOTS)
    bands = filled(signatures[enough]).reshape(len(enough), BANDS, SLOTS // BANDS)
    for band in range(BANDS):
        key = np.ascontiguousarray(bands[:, band]).view(np.dtype((np.void, 4 * SLOTS // BANDS))).ravel()
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        ones, others = enough, enough[first[inverse]]
        differ = ones != others
        ones, others = ones[differ], others[differ]
        alike = agreement(signatures[ones], signatures[others]) >= ALIKE
        like[ones[alike]] = np.minimum(like[ones[alike]], others[alike])
    return like
