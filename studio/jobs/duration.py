"""How long a job will take: by this machine's finished jobs, or by a card's arithmetic where no such job is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from studio.jobs.spec import TrainSpec
from studio.jobs.store import JobView
from studio.methods.objectives import OBJECTIVES


@dataclass(frozen=True, kw_only=True)
class Duration:
    """`seconds` of training, loading and evaluation not among them. `jobs`: finished jobs that told the pace, 0 where
    the card's arithmetic did. `at_most`: the examples' lengths are not known, so each counts as the longest.
    `tokens`: of all steps, None where they are not known."""

    seconds: float
    jobs: int
    tokens: int | None = None
    at_most: bool = False


def duration(
    spec: TrainSpec,
    steps: int,
    views: Sequence[JobView],
    tokens_per_example: float | None = None,
    card_speed: float | None = None,
) -> Duration | None:
    """The time of `steps` optimizer steps; None where nothing tells. `card_speed`: a card's tokens a second.

    Jobs that did the very same on the same data tell their seconds a step. Others of the same model, objective and
    method tell their tokens a second, where the length of an example is known and nothing is generated.
    """
    examples = steps * spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    tokens = round(examples * tokens_per_example) if tokens_per_example else None
    ended = [(view, view.spec) for view in views if view.status == "completed"]
    done = [(view, own) for view, own in ended if isinstance(own, TrainSpec) and _kind(own) == _kind(spec)]
    paces = [pace for view, own in done if _same_step(own, spec) and (pace := view.state.seconds_per_step)]
    if paces:
        return Duration(seconds=steps * median(paces), jobs=len(paces), tokens=tokens)
    if OBJECTIVES[spec.objective.name].rewarded:
        return None  # how long the answers become is not known before
    speeds = [speed for view, _ in done if (speed := _tokens_per_second(view))]
    if speeds and tokens:
        return Duration(seconds=tokens / median(speeds), jobs=len(speeds), tokens=tokens)
    if card_speed:
        most = examples * spec.max_length * OBJECTIVES[spec.objective.name].sequences_per_row
        return Duration(seconds=(tokens or most) / card_speed, jobs=0, tokens=tokens, at_most=tokens is None)
    return None


def _kind(spec: TrainSpec) -> tuple[object, ...]:
    return (spec.base_model, spec.objective.name, spec.tuner.name, spec.quantization)


def _same_step(one: TrainSpec, other: TrainSpec) -> bool:
    """Whether a step of both is the same work."""
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "objective")
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and one.dataset.sha256 == other.dataset.sha256


def _tokens_per_second(view: JobView) -> float | None:
    """What a finished job reached, by the median of its points: the first ones wait for caches."""
    told = [values["tokens_per_second"] for _, values in view.state.points if values.get("tokens_per_second")]
    return median(told) if told else None
