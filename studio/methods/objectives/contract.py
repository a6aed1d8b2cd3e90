"""What an objective promises: which examples it learns from, which trainer does it, what its charts show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from studio.data.chat_template import Sequence
from studio.data.examples import DatasetType, Example
from studio.methods.options import Options

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One live chart: `metrics` are names in the metrics events, drawn as lines of one plot."""

    name: str
    metrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What jobs are compared by: a name in the metrics events, and whether more of it is better.

    `scaled`: its size depends on the objective's own options (a loss grows with beta), so it compares none of them.
    """

    metric: str
    higher: bool = False
    scaled: bool = True

    @property
    def evaluates(self) -> bool:
        """Whether it is measured on examples that are not learned from."""
        return self.metric.startswith("eval_")


LOSSES = (Measure(metric="eval_loss"), Measure(metric="loss"))
REWARDS = tuple(Measure(metric=name, higher=True, scaled=False) for name in ("eval_reward", "reward"))
RANKED_RIGHT = tuple(
    Measure(metric=name, higher=True, scaled=False) for name in ("eval_rewards/accuracies", "rewards/accuracies")
)
COMMON_CHARTS = (
    Chart(name="loss", metrics=("loss", "eval_loss")),
    Chart(name="learning_rate", metrics=("learning_rate",)),
    Chart(name="grad_norm", metrics=("grad_norm",)),
    Chart(name="tokens_per_second", metrics=("tokens_per_second",)),
)
PREFERENCE_CHARTS = (
    COMMON_CHARTS[0],
    Chart(name="rewards", metrics=("rewards/chosen", "rewards/rejected")),
    Chart(name="margins", metrics=("rewards/margins", "eval_rewards/margins")),
    Chart(name="accuracies", metrics=("rewards/accuracies", "eval_rewards/accuracies")),
    *COMMON_CHARTS[1:],
)


def accept(spec: Any) -> None:
    """Nothing to refuse."""


def each_once(spec: Any) -> tuple[int, int]:
    """Every example once in an epoch."""
    return 1, 1


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One thing that can be taught.

    What it learns from:
    `columns` turns the sequences of one example (cut to max_length) into the trainer's rows, none when nothing
    of it would be learned; `too_long` says what max_length did to it then. `carried` gives what the sequences do not
    tell, added to each of the example's rows.
    `arrange(rows, batch_size, seed)` puts the rows in the order that the trainer must see them in.
    `rounds(spec)`: (examples that are taken together, others are left over; how often each is gone through in an
    epoch). `sequences_per_row` go through the model at once, which decides how much memory a row takes.

    Who teaches it:
    `trainer` imports and returns the (trainer, config) classes; what `options` hold is passed to the config by
    name. `check(spec)` raises UserError when the job's other options do not suit. `unused` are options of a job
    that the trainer does not know. `task_type`, PEFT's word: SEQ_CLS for a model that gives a text one number.
    `reference`: whether the model is compared with what it was at the start. `rewarded`: whether the model writes
    answers itself and learns from the reward that they get. `sees_soft_prompts`: whether the trainer knows that the
    logits of a soft prompt come before those of the text. `measures`: what jobs are compared by, the best one first.
    """

    name: str
    title: str
    summary: str
    dataset_types: tuple[DatasetType, ...]
    options: type[Options]
    columns: Callable[[list[Sequence], int], Rows]
    trainer: Callable[[], tuple[type, type]]
    too_long: str = "cuts off the whole answer"
    carried: Callable[[Example], dict[str, Any]] | None = None
    arrange: Callable[[Rows, int, int], Rows] | None = None
    rounds: Callable[[Any], tuple[int, int]] = each_once
    sequences_per_row: int = 1
    check: Callable[[Any], None] = accept
    unused: tuple[str, ...] = ()
    task_type: Literal["CAUSAL_LM", "SEQ_CLS"] = "CAUSAL_LM"
    reference: bool = False
    rewarded: bool = False
    sees_soft_prompts: bool = True
    charts: tuple[Chart, ...] = COMMON_CHARTS
    measures: tuple[Measure, ...] = LOSSES
