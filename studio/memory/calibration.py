"""Measured peaks of this box's finished jobs → corrections of the formula, and predicted beside measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from studio.memory.estimate import CONTEXT, SLACK, Box

FEWEST = 3
"""Jobs of one card that it takes before they correct anything: fewer say more about themselves than about the box."""
NARROWEST, WIDEST = 0.8, 1.25
"""Limits of the correction: what lies beyond is a fault to look for, not a habit of the box."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One job on a card, in bytes. `predicted` and `resident` are the formula's; `driver` is what the driver saw."""

    job: str
    card: str
    predicted: float
    resident: float
    allocated: float
    reserved: float
    driver: float | None = None
    tokens_per_second: float | None = None
    predicted_tokens_per_second: float | None = None

    @property
    def error(self) -> float:
        """Predicted over measured, minus one."""
        return self.predicted / self.allocated - 1


def fit(measured: Sequence[Measured], card: str) -> Box:
    """What the jobs on cards of this name say: medians, so that one odd job changes little."""
    own = [one for one in measured if one.card == card and one.allocated > 0]
    if len(own) < FEWEST:
        return Box()
    contexts = [one.driver - one.reserved for one in own if one.driver is not None and one.driver > one.reserved]
    slacks = [
        (one.reserved - one.allocated) / (one.allocated - one.resident) for one in own if one.allocated > one.resident
    ]
    return Box(
        context=median(contexts) if contexts else CONTEXT,
        slack=max(0.0, median(slacks)) if slacks else SLACK,
        factor=_within(median(one.allocated / one.predicted for one in own)),
        jobs=len(own),
    )


def speed_factor(measured: Sequence[Measured], card: str) -> tuple[float, int]:
    """(measured over predicted tokens a second, of how many jobs); (1, 0) when too few tell."""
    ratios = [
        one.tokens_per_second / one.predicted_tokens_per_second
        for one in measured
        if one.card == card and one.tokens_per_second and one.predicted_tokens_per_second
    ]
    return (median(ratios), len(ratios)) if len(ratios) >= FEWEST else (1.0, 0)


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Predicted against measured of each job, for the page."""
    return [
        {
            "job": one.job,
            "card": one.card,
            "predicted": round(one.predicted),
            "allocated": round(one.allocated),
            "reserved": round(one.reserved),
            "driver": None if one.driver is None else round(one.driver),
            "error": one.error,
        }
        for one in measured
    ]


def _within(factor: float) -> float:
    return min(WIDEST, max(NARROWEST, factor))
