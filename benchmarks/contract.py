"""What a measurement is asked, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Options:
    """`models`: the folder that holds the starter model. `alpaca`: Alpaca-style rows to train on, else our sample.

    `general`: rows of general text, whose loss tells what is forgotten, else our other sample's answers.
    `pairs`: preference pairs, else our sample of them.
    """

    models: Path
    alpaca: Path | None = None
    general: Path | None = None
    pairs: Path | None = None
    steps: int = 24
    rounds: int = 5
    seconds: float = 30.0
    megabytes: int = 1000


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number. `goal` None: measured to be watched. `peer`: the same of LLaMA-Factory, see peers.py."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    peer: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "goal": self.goal,
            "at": "least" if self.more_is_better else "most",
            "met": self.met,
            "peer": self.peer,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A family of figures that are measured together. `on_demand`: so long that it is measured only when named."""

    name: str
    title: str
    measure: Callable[[Options], list[Figure]]
    on_demand: bool = False
