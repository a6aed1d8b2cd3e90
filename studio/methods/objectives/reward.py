"""Reward model: the second stage of RLHF, a model that gives an answer a number (arXiv 2203.02155)."""

from typing import Any, Literal

from pydantic import Field

from studio.data.chat_template import Sequence
from studio.methods.objectives.contract import COMMON_CHARTS, LOSSES, Chart, Measure, Objective
from studio.methods.options import Options


class RewardOptions(Options):
    name: Literal["reward"] = "reward"
    center_rewards_coefficient: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Centring",
        description="Pull of the rewards towards a mean of zero; 0.01 is usual before reinforcement learning. 0: none.",
    )

    def library_options(self) -> dict[str, Any]:
        """TRL's word for no centring is None."""
        return {"center_rewards_coefficient": self.center_rewards_coefficient or None}


def columns(sequences: list[Sequence], max_length: int) -> list[dict[str, Any]]:
    """A pair that is read whole; none when one of its answers is longer, or when they do not differ. TRL does the same.

    A cut answer has lost its end, where it is judged, and its length, which tells answers apart.
    """
    chosen, rejected = (sequence.input_ids for sequence in sequences)
    fits = max(len(chosen), len(rejected)) <= max_length
    return [{"chosen_ids": chosen, "rejected_ids": rejected}] if fits and chosen != rejected else []


def trainer() -> tuple[type, type]:
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    return RewardTrainer, RewardConfig


REWARD = Objective(
    name="reward",
    title="Reward model",
    summary="The model learns to give chosen answers a higher number than rejected ones: stage two of RLHF.",
    dataset_types=("preference",),
    options=RewardOptions,
    columns=columns,
    trainer=trainer,
    sequences_per_row=2,
    too_long="is less than both answers take",
    task_type="SEQ_CLS",
    measures=(Measure(metric="eval_accuracy", higher=True, scaled=False), *LOSSES),
    charts=(
        COMMON_CHARTS[0],
        Chart(name="ranking", metrics=("accuracy", "eval_accuracy")),
        Chart(name="reward_margin", metrics=("margin", "eval_margin")),
        Chart(name="reward_range", metrics=("min_reward", "mean_reward", "max_reward")),
        *COMMON_CHARTS[1:],
    ),
)
