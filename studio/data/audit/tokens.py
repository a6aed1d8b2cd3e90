"""What max_length does to the sequences: cut, masked, padded; and which max_length suits."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from studio.data.audit.contract import Finding, Remedy, Severity, to_spans
from studio.data.audit.lengths import NONE, Lengths, Numbers

COVERED = 0.99  # of the rows, by the suggested max_length
MULTIPLE = 64
TOKEN_FINDINGS = ("fully_masked", "cut", "missing_eos")
BINS = 40
QUANTILES = {"min": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
PADDING_SEED = 0

Mask = npt.NDArray[np.bool_]


class Histogram(BaseModel):
    """counts[k] sequences have edges[k] to edges[k + 1] - 1 tokens, uncut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: list[int]
    counts: list[int]


class TokenStatistics(BaseModel):
    """Figures in tokens. `total` and `learned` are uncut, `kept` and `kept_learned` after `max_length` (0: none).

    `learned_share` is of what is kept; `padding_share` is of what a batch holds, for batches in a random order.
    `covered` is the share of rows that `max_length` leaves whole. `suggestion_reason` says it in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_length: int
    batch_size: int
    rows: int
    sequences: int
    total: int
    learned: int
    kept: int
    kept_learned: int
    learned_share: float
    padding_share: float
    covered: float
    quantiles: dict[str, int]
    histogram: Histogram
    suggested_max_length: int
    suggestion_reason: str


def recount(
    lengths: Lengths, max_length: int, *, batch_size: int = 8, context_length: int = 0
) -> tuple[TokenStatistics, list[Finding]]:
    """(the figures, the findings) at another `max_length` (0: uncut), without tokenizing.

    `context_length` is the most that the model can take, 0 when unknown: nothing longer is suggested.
    """
    kept, learned = lengths.kept(max_length), lengths.learned(max_length)
    suggested, reason = suggest(lengths, context_length)
    statistics = TokenStatistics(
        max_length=max_length,
        batch_size=batch_size,
        rows=len(_starts(lengths.rows)),
        sequences=len(lengths.rows),
        total=int(lengths.total.sum()),
        learned=int(lengths.learned(0).sum()),
        kept=int(kept.sum()),
        kept_learned=int(learned.sum()),
        learned_share=_share(int(learned.sum()), int(kept.sum())),
        padding_share=padding_share(lengths, max_length, batch_size),
        covered=_covered(lengths, max_length),
        quantiles=_quantiles(lengths.total),
        histogram=_histogram(lengths.total),
        suggested_max_length=suggested,
        suggestion_reason=reason,
    )
    found = (_masked(lengths, learned), _cut(lengths, kept, learned), _endless(lengths))
    return statistics, [finding for finding in found if finding is not None]


def suggest(lengths: Lengths, context_length: int = 0) -> tuple[int, str]:
    """(max_length, why): the smallest multiple of 64 that leaves 99 % of the rows whole."""
    longest = np.sort(_longest(lengths))
    if not len(longest):
        return 0, "There are no rows."
    needed = int(longest[int(np.ceil(len(longest) * COVERED)) - 1])
    suggested = -(-needed // MULTIPLE) * MULTIPLE
    whole = int(np.searchsorted(longest, suggested, side="right"))
    if context_length and suggested > context_length:
        whole = int(np.searchsorted(longest, context_length, side="right"))
        reason = f"The model takes at most {context_length} tokens; {whole} of {len(longest)} rows stay whole."
        return context_length, f"{reason} The longest has {longest[-1]}."
    if whole == len(longest):
        return suggested, f"No row has more than {longest[-1]} tokens."
    return suggested, f"{whole} of {len(longest)} rows have at most {suggested} tokens; the longest has {longest[-1]}."


def padding_share(lengths: Lengths, max_length: int, batch_size: int) -> float:
    """The share of padding when batches of rows are drawn in a random (seeded) order, each as long as its longest."""
    kept = lengths.kept(max_length)
    _, starts, counts = np.unique(lengths.rows, return_index=True, return_counts=True)
    if not len(starts):
        return 0.0
    order = np.random.default_rng(PADDING_SEED).permutation(len(starts))
    batches = np.arange(len(order)) // batch_size
    longest = np.maximum.reduceat(kept, starts)[order]
    heights = np.bincount(batches, counts[order])
    widths = np.maximum.reduceat(longest, np.arange(0, len(order), batch_size))
    return 1 - _share(int(kept.sum()), int((heights * widths).sum()))


def _masked(lengths: Lengths, learned: Numbers) -> Finding | None:
    """Rows of which no sequence keeps a learned token: nothing is learned from them."""
    starts = _starts(lengths.rows)
    if not len(starts):
        return None
    rows = lengths.rows[starts][np.maximum.reduceat(learned, starts) == 0]
    if not len(rows):
        return None
    return _finding("fully_masked", "error", rows, {"sequences": int((learned == 0).sum())})


def _cut(lengths: Lengths, kept: Numbers, learned: Numbers) -> Finding | None:
    """Rows that lose tokens at their end."""
    is_cut = kept < lengths.total
    if not is_cut.any():
        return None
    figures = {
        "tokens_lost": int((lengths.total - kept).sum()),
        "tokens_lost_share": 1 - _share(int(kept.sum()), int(lengths.total.sum())),
        "learned_lost": int(lengths.learned(0).sum() - learned.sum()),
        "ends_lost": int(((lengths.end != NONE) & (lengths.end >= kept)).sum()),
    }
    return _finding("cut", "warning", lengths.rows[is_cut], figures)


def _endless(lengths: Lengths) -> Finding | None:
    """Rows whose learned part closes with no end of text, cut or not: the model would not learn to stop."""
    learned = np.bincount(lengths.spans_of, minlength=len(lengths.rows)) > 0
    endless = learned & (lengths.end == NONE)
    if not endless.any():
        return None
    share = _share(int(endless.sum()), int(learned.sum()))
    return _finding("missing_eos", "warning", lengths.rows[endless], {"share": share}, ("drop", "keep"))


def _finding(
    code: str,
    severity: Severity,
    rows: Numbers,
    figures: dict[str, Any],
    remedies: tuple[Remedy, ...] = ("drop", "keep"),
) -> Finding:
    numbers = rows[_starts(rows)].tolist()
    return Finding(
        code=code, severity=severity, count=len(numbers), rows=to_spans(numbers), figures=figures, remedies=remedies
    )


def _starts(rows: Numbers) -> npt.NDArray[np.intp]:
    """Where each row begins in an ascending list of row numbers."""
    return np.flatnonzero(np.diff(rows, prepend=NONE))


def _longest(lengths: Lengths) -> Numbers:
    """The longest sequence of each row."""
    starts = _starts(lengths.rows)
    return np.maximum.reduceat(lengths.total, starts) if len(starts) else lengths.total


def _covered(lengths: Lengths, max_length: int) -> float:
    longest = _longest(lengths)
    return float(np.mean(longest <= max_length)) if max_length and len(longest) else 1.0


def _quantiles(total: Numbers) -> dict[str, int]:
    if not len(total):
        return {}
    values = np.quantile(total, list(QUANTILES.values()), method="inverted_cdf")
    return {name: int(value) for name, value in zip(QUANTILES, values, strict=True)}


def _histogram(total: Numbers) -> Histogram:
    if not len(total):
        return Histogram(edges=[0], counts=[])
    longest = int(total.max())
    width = max(1, -(-(longest + 1) // BINS))
    counts = np.bincount(total // width, minlength=longest // width + 1)
    return Histogram(edges=[width * k for k in range(len(counts) + 1)], counts=counts.tolist())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
