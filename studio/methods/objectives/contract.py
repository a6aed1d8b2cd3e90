"""What an objective promises: which examples it learns from, which trainer does it, what its charts show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.data.chat_template import Sequence
from studio.data.examples import DatasetType
from studio.methods.options import Options


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One live chart: `metrics` are names in the metrics events, drawn as lines of one plot."""

    name: str
    metrics: tuple[str, ...]


COMMON_CHARTS = (
    Chart(name="loss", metrics=("loss", "eval_loss")),
    Chart(name="learning_rate", metrics=("learning_rate",)),
    Chart(name="grad_norm", metrics=("grad_norm",)),
    Chart(name="tokens_per_second", metrics=("tokens_per_second",)),
)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One thing that can be taught.

    `columns` turns the sequences of one example (cut to max_length) into the trainer's rows, none when nothing
    of it would be learned; `trainer` imports and returns TRL's (trainer, config) classes; what `options` hold
    is passed to the config by name.
    """

    name: str
    title: str
    summary: str
    dataset_types: tuple[DatasetType, ...]
    options: type[Options]
    columns: Callable[[list[Sequence], int], list[dict[str, Any]]]
    trainer: Callable[[], tuple[type, type]]
    charts: tuple[Chart, ...] = COMMON_CHARTS
