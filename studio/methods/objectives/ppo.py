"""PPO: stage three of RLHF as it was first done, with a value head, a clipped ratio and a KL penalty (2203.02155)."""

from typing import Any, Literal

from pydantic import Field

from studio.methods.objectives.contract import COMMON_CHARTS, REWARDS, Chart, Objective
from studio.methods.rewards import NO_ROOM, RewardedOptions, answer_of, check_reward, prompts


class PPOOptions(RewardedOptions):
    name: Literal["ppo"] = "ppo"
    kl_coef: float = Field(
        default=0.05,
        ge=0,
        le=10,
        title="KL coefficient",
        description="What each token's distance to the model at the start takes off the reward; the document's beta.",
    )
    num_ppo_epochs: int = Field(
        default=4,
        ge=1,
        le=16,
        title="PPO epochs",
        description="How often the same answers are learned from before new ones are written.",
    )
    num_mini_batches: int = Field(
        default=1,
        ge=1,
        le=256,
        title="Mini-batches",
        description="Optimizer steps in one look at all answers; a round writes batch size × accumulation × this many.",
    )
    cliprange: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        title="Clip range",
        description="How far a token's probability may move from what it was when the answer was written.",
    )
    cliprange_value: float = Field(
        default=0.2,
        gt=0,
        le=10,
        title="Clip range of values",
        description="How far a predicted value may move in the same time.",
    )
    vf_coef: float = Field(
        default=0.1, ge=0, le=10, title="Value loss", description="Weight of the value head's error in the loss."
    )
    gamma: float = Field(
        default=1.0,
        gt=0,
        le=1,
        title="Gamma",
        description="How much a reward counts one token earlier. 1: the same, as answers are short.",
    )
    lam: float = Field(
        default=0.95,
        ge=0,
        le=1,
        title="Lambda (GAE)",
        description="How far advantages look ahead: 0 trusts the value head alone, 1 the rewards alone.",
    )
    whiten_rewards: bool = Field(
        default=False,
        title="Whiten rewards",
        description="Bring the rewards of a round to one spread, for reward models of any scale.",
    )
    missing_eos_penalty: float = Field(
        default=0.0,
        ge=0,
        le=100,
        title="Penalty without an end",
        description="What an answer loses that is cut off at the longest length.",
    )


def rounds(spec: Any) -> tuple[int, int]:
    """A round writes one answer to each of its prompts and learns from them `num_ppo_epochs` times."""
    steps = spec.gradient_accumulation_steps * spec.objective.num_mini_batches
    return spec.per_device_train_batch_size * steps, spec.objective.num_ppo_epochs


def trainer() -> tuple[type, type]:
    from studio.methods.ppo_trainer import PPOConfig, PPOTrainer

    return PPOTrainer, PPOConfig


PPO = Objective(
    name="ppo",
    title="Rewards with a value head (PPO)",
    summary="The model writes answers and learns from their rewards, held near its start by a KL penalty.",
    dataset_types=("prompt_completion", "language_modeling", "preference", "unpaired_preference"),
    options=PPOOptions,
    columns=prompts,
    carried=answer_of,
    check=check_reward,
    rounds=rounds,
    trainer=trainer,
    unused=("max_length",),
    reference=True,
    rewarded=True,
    too_long=NO_ROOM,
    measures=REWARDS,
    charts=(
        Chart(name="reward", metrics=("reward", "eval_reward")),
        Chart(name="kl", metrics=("kl", "eval_kl")),
        Chart(name="ppo_losses", metrics=("policy_loss", "value_loss")),
        Chart(name="clip_ratio", metrics=("clip_ratio",)),
        Chart(name="answer_length", metrics=("completions/mean_length",)),
        *COMMON_CHARTS,
    ),
)
