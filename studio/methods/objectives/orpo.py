"""ORPO: answers and preferences learned at once, without a reference model (arXiv 2403.07691)."""

from typing import Any, Literal

from pydantic import Field

from studio.data.chat_template import IGNORED, Sequence
from studio.methods.objectives.contract import LOSSES, PREFERENCE_CHARTS, RANKED_RIGHT, Chart, Objective
from studio.methods.options import Options


class ORPOOptions(Options):
    name: Literal["orpo"] = "orpo"
    beta: float = Field(
        default=0.1,
        gt=0,
        le=10,
        title="Beta",
        description="How much the odds of chosen against rejected answers count beside the chosen answers' own "
        "loss; the paper calls it lambda.",
    )


def columns(sequences: list[Sequence], max_length: int) -> list[dict[str, Any]]:
    """One row of two sequences: the prompt with the chosen answer, and with the rejected one."""
    chosen, rejected = sequences
    prompt = min(len(chosen.parts()[0]), len(rejected.parts()[0]))
    if prompt >= max_length:
        return []
    row: dict[str, Any] = {}
    for name, sequence in (("chosen", chosen), ("rejected", rejected)):
        ids = sequence.input_ids[:max_length]
        row[f"{name}_input_ids"] = ids
        row[f"{name}_attention_mask"] = [1] * len(ids)
        row[f"{name}_labels"] = [IGNORED] * prompt + ids[prompt:]
    return [row]


def trainer() -> tuple[type, type]:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return ORPOTrainer, ORPOConfig


ORPO = Objective(
    name="orpo",
    title="Answers and preferences at once (ORPO)",
    summary="The model learns the chosen answers and to prefer them, in one step and without a reference model.",
    dataset_types=("preference",),
    options=ORPOOptions,
    columns=columns,
    trainer=trainer,
    sees_soft_prompts=False,
    sequences_per_row=2,
    measures=(*LOSSES, *RANKED_RIGHT),
    charts=(
        *PREFERENCE_CHARTS[:4],
        Chart(name="odds", metrics=("log_odds_chosen", "log_odds_ratio")),
        Chart(name="nll", metrics=("nll_loss", "eval_nll_loss")),
        *PREFERENCE_CHARTS[4:],
    ),
)
