"""SFT: supervised fine-tuning on conversations, prompt and completion, or raw text."""

from typing import Any, Literal

from pydantic import Field

from studio.data.chat_template import Sequence
from studio.methods.objectives.contract import Objective
from studio.methods.options import Options


class SFTOptions(Options):
    name: Literal["sft"] = "sft"
    loss_type: Literal["nll", "dft"] = Field(
        default="nll",
        title="Loss",
        description="nll is the usual cross entropy. dft weighs each token by its own probability, which keeps "
        "the model from memorising rare answers.",
    )
    neftune_noise_alpha: float = Field(
        default=0.0,
        ge=0,
        le=50,
        title="NEFTune noise",
        description="Noise added to the embeddings while training; 5 can make answers of small instruction sets "
        "livelier. 0: none.",
    )

    def library_options(self) -> dict[str, Any]:
        """TRL's word for no noise is None."""
        return {**super().library_options(), "neftune_noise_alpha": self.neftune_noise_alpha or None}


def columns(sequences: list[Sequence], max_length: int) -> list[dict[str, Any]]:
    kept = [sequence.cut(max_length) for sequence in sequences]
    return [{"input_ids": one.input_ids, "labels": one.labels} for one in kept if one.learned]


def trainer() -> tuple[type, type]:
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    return SFTTrainer, SFTConfig


SFT = Objective(
    name="sft",
    title="Supervised fine-tuning",
    summary="The model learns to give the answers in your data.",
    dataset_types=("language_modeling", "prompt_completion"),
    options=SFTOptions,
    columns=columns,
    trainer=trainer,
)
