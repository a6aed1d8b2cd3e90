"""P-tuning: learned vectors before the text, made by a small network while training (arXiv 2103.10385)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from studio.methods.options import Options
from studio.methods.shared_fields import ENCODER_WIDTH, VIRTUAL_TOKENS
from studio.methods.trained_state import read_trained, write_trained
from studio.methods.tuners.contract import Config, Tuner

if TYPE_CHECKING:
    from peft import PromptEncoderConfig


class PTuningOptions(Options):
    name: Literal["p_tuning"] = "p_tuning"
    num_virtual_tokens: int = VIRTUAL_TOKENS
    encoder_reparameterization_type: Literal["MLP", "LSTM"] = Field(
        default="MLP",
        title="Encoder",
        description="The network that makes the vectors: MLP is fast, LSTM is the paper's. It is not in the result.",
    )
    encoder_hidden_size: int = ENCODER_WIDTH


def peft_config(options: PTuningOptions, config: Config, task_type: str) -> "PromptEncoderConfig":
    from peft import PromptEncoderConfig

    return PromptEncoderConfig(**options.library_options(), task_type=task_type)


P_TUNING = Tuner(
    name="p_tuning",
    title="P-tuning",
    summary="Prompt tuning whose vectors come out of a small network, which learns more steadily; the network is "
    "left out of the result.",
    options=PTuningOptions,
    peft_config=peft_config,
    library_class="PromptEncoderConfig",
    read_state=read_trained,
    write_state=write_trained,
)
