"""Training rows that the evaluation asks about: its score would be of memory."""

from array import array

import numpy as np

from studio.data.audit.contract import AuditSettings, Check, Finding
from studio.data.audit.reading import Reading


class Leakage(Check):
    """Training rows whose whole example, or whose prompt, is held out for evaluation as well."""

    code = "leakage"
    sees_held_out = True

    def __init__(self, settings: AuditSettings) -> None:
        super().__init__(settings)
        self.digests, self.prompts = array("Q"), array("Q")
        self.held_out_digests, self.held_out_prompts = array("Q"), array("Q")

    def add(self, reading: Reading) -> None:
        if reading.held_out:
            self.held_out_digests.append(reading.digest)
            self.held_out_prompts.append(reading.prompt_digest)
        else:
            self.rows.append(reading.row)
            self.digests.append(reading.digest)
            self.prompts.append(reading.prompt_digest)

    def finding(self) -> Finding | None:
        same = _in(self.digests, self.held_out_digests)
        asked = _in(self.prompts, self.held_out_prompts)
        leaking = np.flatnonzero(same | asked)
        if not len(leaking):
            return None
        held_out = _in(self.held_out_digests, self.digests) | _in(self.held_out_prompts, self.prompts)
        return self.found(
            (self.rows[i] for i in leaking),
            same_example=int(same.sum()),
            same_prompt=int((asked & ~same).sum()),
            held_out_rows=int(held_out.sum()),
        )


def _in(digests: "array[int]", others: "array[int]") -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.isin(np.frombuffer(digests, np.uint64), np.frombuffer(others, np.uint64))
