"""CPO (arXiv 2401.08417) and SimPO (arXiv 2405.14734): preference pairs without a reference model."""

from typing import Literal

from pydantic import Field

from studio.methods.objectives.contract import LOSSES, PREFERENCE_CHARTS, RANKED_RIGHT, Chart, Objective
from studio.methods.objectives.orpo import columns
from studio.methods.options import Options


class CPOOptions(Options):
    name: Literal["cpo"] = "cpo"
    loss_type: Literal["sigmoid", "hinge", "ipo", "simpo"] = Field(
        default="sigmoid",
        title="Loss",
        description="sigmoid is the CPO paper's. simpo compares answers by their mean log-probability, so that "
        "long ones are not favoured (with it beta 2 to 2.5 and a CPO alpha of 0 are usual).",
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        le=10,
        title="Beta",
        description="How steeply a difference between the answers is weighed: 0.1 for sigmoid, 2 to 2.5 for simpo.",
    )
    cpo_alpha: float = Field(
        default=1.0,
        ge=0,
        le=100,
        title="CPO alpha",
        description="Weight of the chosen answers' own loss, which keeps the model able to write them. 0: none.",
    )
    simpo_gamma: float = Field(
        default=0.5,
        ge=0,
        le=10,
        title="SimPO gamma",
        description="With simpo: the margin by which a chosen answer should be better.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        title="Label smoothing",
        description="The share of pairs that you expect to be labelled the wrong way round.",
    )


def trainer() -> tuple[type, type]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer, CPOConfig


CPO = Objective(
    name="cpo",
    title="Pairs without a reference (CPO, SimPO)",
    summary="The model learns to prefer the chosen answers, without a reference model: half the arithmetic of DPO.",
    dataset_types=("preference",),
    options=CPOOptions,
    columns=columns,
    trainer=trainer,
    sees_soft_prompts=False,
    sequences_per_row=2,
    measures=(*LOSSES, *RANKED_RIGHT),
    charts=(
        *PREFERENCE_CHARTS[:4],
        Chart(name="nll", metrics=("nll_loss", "eval_nll_loss")),
        *PREFERENCE_CHARTS[4:],
    ),
)
