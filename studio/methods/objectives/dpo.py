"""DPO: direct preference optimisation on pairs of a chosen and a rejected answer."""

from typing import Any, Literal

from pydantic import Field

from studio.data.chat_template import Sequence
from studio.errors import UserError
from studio.methods.objectives.contract import LOSSES, PREFERENCE_CHARTS, RANKED_RIGHT, Objective
from studio.methods.options import Options

Loss = Literal[
    "sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "apo_zero", "apo_down",
    "discopop",
]  # fmt: skip


class DPOOptions(Options):
    name: Literal["dpo"] = "dpo"
    beta: float = Field(
        default=0.1,
        gt=0,
        le=10,
        title="Beta",
        description="How strongly the model is held to where it started: 0.1 is usual, more keeps it closer. "
        "For ipo it is the regularisation strength tau.",
    )
    loss_type: Loss = Field(
        default="sigmoid",
        title="Loss",
        description="sigmoid is the DPO paper's. ipo avoids overfitting to clear-cut pairs, hinge stops once a "
        "margin is reached, robust and exo_pair expect mislabelled pairs (set label smoothing); the others are "
        "variants of research, named as in TRL.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        title="Label smoothing",
        description="The share of pairs that you expect to be labelled the wrong way round.",
    )


def columns(sequences: list[Sequence], max_length: int) -> list[dict[str, Any]]:
    chosen, rejected = sequences
    prompt = min(len(chosen.parts()[0]), len(rejected.parts()[0]))
    if prompt >= max_length:
        return []
    return [
        {
            "prompt_ids": chosen.input_ids[:prompt],
            "chosen_ids": chosen.input_ids[prompt:],
            "rejected_ids": rejected.input_ids[prompt:],
        }
    ]


def check(spec: Any) -> None:
    """Raise UserError when a loss lacks what it is made of."""
    if spec.objective.loss_type == "exo_pair" and not spec.objective.label_smoothing:
        raise UserError("The loss exo_pair needs label smoothing.", "Set label smoothing to 0.001 or more.")


def trainer() -> tuple[type, type]:
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    return DPOTrainer, DPOConfig


DPO = Objective(
    name="dpo",
    title="Preference pairs (DPO)",
    summary="The model learns to prefer the chosen answers to the rejected ones.",
    dataset_types=("preference",),
    options=DPOOptions,
    columns=columns,
    check=check,
    trainer=trainer,
    sequences_per_row=2,
    reference=True,
    measures=(*LOSSES, *RANKED_RIGHT),
    charts=PREFERENCE_CHARTS,
)
