"""KTO: answers with a thumb up or down, without pairs (arXiv 2402.01306)."""

import random
from typing import Any, Literal

from pydantic import Field

from studio.data.chat_template import Sequence
from studio.data.examples import Example
from studio.errors import UserError
from studio.methods.objectives.contract import PREFERENCE_CHARTS, Chart, Objective, Rows
from studio.methods.options import Options


class KTOOptions(Options):
    name: Literal["kto"] = "kto"
    loss_type: Literal["kto", "apo_zero_unpaired"] = Field(
        default="kto",
        title="Loss",
        description="kto is the paper's and measures against the drift of the whole model. apo_zero_unpaired goes "
        "without that measure and also works with one example a batch.",
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        le=10,
        title="Beta",
        description="How strongly the model is held to where it started: 0.1 is usual, more keeps it closer.",
    )
    desirable_weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        title="Weight of good answers",
        description="With fewer good answers than bad ones, weigh them so that both sides count about alike.",
    )
    undesirable_weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        title="Weight of bad answers",
        description="With fewer bad answers than good ones, weigh them so that both sides count about alike.",
    )

    def library_options(self) -> dict[str, Any]:
        """TRL pairs each row with its neighbour, so that it must see them in the order in which `arrange` puts them."""
        return {**super().library_options(), "train_sampling_strategy": "sequential"}


def columns(sequences: list[Sequence], max_length: int) -> list[dict[str, Any]]:
    """One row an answer; of a pair, the chosen answer is a good one and the rejected a bad one."""
    rows = []
    for index, sequence in enumerate(sequences):
        prompt, answer = sequence.parts()
        if len(prompt) < max_length and answer:
            rows.append({"prompt_ids": prompt, "completion_ids": answer, "label": index == 0})
    return rows


def carried(example: Example) -> dict[str, Any]:
    return {"label": example["label"]} if "label" in example else {}


def arrange(rows: Rows, batch_size: int, seed: int) -> Rows:
    """Shuffled, each with its neighbour's answer in the same batch: TRL's measure of how far the model has moved."""
    shuffled = random.Random(seed).sample(rows, len(rows))
    arranged = []
    for start in range(0, len(shuffled), batch_size):
        batch = shuffled[start : start + batch_size]
        answers = [row["completion_ids"] for row in batch]
        pairs = zip(batch, [answers[-1], *answers[:-1]], strict=True)
        arranged += [{**row, "KL_completion_ids": answer} for row, answer in pairs]
    return arranged


def check(spec: Any) -> None:
    """Raise UserError when a batch is too small for the loss."""
    if spec.per_device_train_batch_size < 2 and spec.objective.loss_type == "kto":
        raise UserError(
            "KTO compares the answers of a batch with each other, and a batch of one has none to compare.",
            "Set the batch size to 2 or more, or the loss to apo_zero_unpaired.",
        )


def trainer() -> tuple[type, type]:
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    return KTOTrainer, KTOConfig


KTO = Objective(
    name="kto",
    title="Good and bad answers (KTO)",
    summary="The model learns from answers with a thumb up or down; pairs are taken apart into one of each.",
    dataset_types=("unpaired_preference", "preference"),
    options=KTOOptions,
    columns=columns,
    carried=carried,
    arrange=arrange,
    check=check,
    trainer=trainer,
    sequences_per_row=2,
    reference=True,
    charts=(
        *PREFERENCE_CHARTS[:3],
        Chart(name="kl", metrics=("kl",)),
        *PREFERENCE_CHARTS[4:],
    ),
)
