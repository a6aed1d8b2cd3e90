"""GRPO: of several answers to a prompt, those with more reward than the others become likelier (arXiv 2402.03300)."""

from typing import Any, Literal

from pydantic import Field

from studio.errors import UserError
from studio.methods.objectives.contract import COMMON_CHARTS, REWARDS, Chart, Objective
from studio.methods.rewards import NO_ROOM, RewardedOptions, answer_of, check_reward, prompts

REWARD_CHARTS = (
    Chart(name="reward", metrics=("reward", "eval_reward")),
    Chart(name="reward_spread", metrics=("reward_std",)),
    Chart(name="kl", metrics=("kl",)),
    Chart(name="answer_length", metrics=("completions/mean_length",)),
    *COMMON_CHARTS,
)


class GroupOptions(RewardedOptions):
    """What GRPO and RLOO have in common."""

    num_generations: int = Field(
        default=4,
        ge=2,
        le=256,
        title="Answers a prompt",
        description="How many answers are written to each prompt and compared with each other. The batch size counts "
        "answers, and must be a multiple of it.",
    )
    num_iterations: int = Field(
        default=1,
        ge=1,
        le=16,
        title="Steps per answer",
        description="How often the same answers are learned from before new ones are written.",
    )
    epsilon: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        title="Clip range",
        description="How far a token's probability may move from what it was when the answer was written.",
    )


class GRPOOptions(GroupOptions):
    name: Literal["grpo"] = "grpo"
    beta: float = Field(
        default=0.04,
        ge=0,
        le=10,
        title="Beta",
        description="Weight of the distance (KL) to the model at the start. 0: none, which also saves its arithmetic.",
    )
    loss_type: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = Field(
        default="dapo",
        title="Loss",
        description="How tokens are averaged: grpo per answer, as in the paper; dapo and bnpo over all tokens of the "
        "batch; dr_grpo by the longest answer, so that length has no influence.",
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        default="group",
        title="Scale rewards",
        description="What the differences of rewards are divided by: the spread among the answers of a prompt, of the "
        "batch, or nothing.",
    )


def check(spec: Any) -> None:
    """Raise UserError when nothing is rewarded or a batch does not hold whole groups of answers."""
    check_reward(spec)
    batch, group = spec.per_device_train_batch_size, spec.objective.num_generations
    if batch % group:
        raise UserError(
            f"{group} answers are compared with each other; a batch of {batch} does not hold whole groups of them.",
            f"Set the batch size to {group}, {2 * group} or another multiple.",
        )


def rounds(spec: Any) -> tuple[int, int]:
    """TRL writes all answers of an optimizer step at once, so many for each prompt."""
    group = spec.objective.num_generations
    answers = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
    return max(1, answers // group), group * spec.objective.num_iterations


def trainer() -> tuple[type, type]:
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    return GRPOTrainer, GRPOConfig


GRPO = Objective(
    name="grpo",
    title="Rewards in groups (GRPO)",
    summary="The model writes several answers to each prompt and learns from those that are rewarded most.",
    dataset_types=("prompt_completion", "language_modeling", "preference", "unpaired_preference"),
    options=GRPOOptions,
    columns=prompts,
    carried=answer_of,
    check=check,
    rounds=rounds,
    trainer=trainer,
    unused=("max_length",),
    reference=True,
    rewarded=True,
    too_long=NO_ROOM,
    measures=REWARDS,
    charts=REWARD_CHARTS,
)
