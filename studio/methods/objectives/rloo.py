"""RLOO: REINFORCE with the other answers' mean reward as the baseline (arXiv 2402.14740); otherwise as GRPO."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from studio.methods.objectives.grpo import GRPO, GroupOptions


class RLOOOptions(GroupOptions):
    name: Literal["rloo"] = "rloo"
    beta: float = Field(
        default=0.05,
        ge=0,
        le=10,
        title="Beta",
        description="What the distance (KL) to the model at the start takes off the reward. 0: nothing.",
    )
    normalize_advantages: bool = Field(
        default=False,
        title="Normalise advantages",
        description="Divide what an answer is better than the others by its spread over the batch.",
    )


def trainer() -> tuple[type, type]:
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer

    return RLOOTrainer, RLOOConfig


RLOO = replace(
    GRPO,
    name="rloo",
    title="Rewards, leave one out (RLOO)",
    summary="The model writes several answers to each prompt; each is measured against the mean of the others.",
    options=RLOOOptions,
    trainer=trainer,
)
