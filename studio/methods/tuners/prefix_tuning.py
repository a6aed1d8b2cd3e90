"""Prefix tuning: learned keys and values before every layer's own (arXiv 2101.00190)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from studio.methods.options import Options
from studio.methods.shared_fields import ENCODER_WIDTH, VIRTUAL_TOKENS
from studio.methods.trained_state import read_trained, write_trained
from studio.methods.tuners.contract import Config, Tuner

if TYPE_CHECKING:
    from peft import PrefixTuningConfig


class PrefixTuningOptions(Options):
    name: Literal["prefix_tuning"] = "prefix_tuning"
    num_virtual_tokens: int = VIRTUAL_TOKENS
    prefix_projection: bool = Field(
        default=True,
        title="Reparametrisation",
        description="Let a small network make the vectors while training: steadier, many more weights to train. It is "
        "left out of the result.",
    )
    encoder_hidden_size: int = ENCODER_WIDTH


def peft_config(options: PrefixTuningOptions, config: Config, task_type: str) -> "PrefixTuningConfig":
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(**options.library_options(), task_type=task_type)


PREFIX_TUNING = Tuner(
    name="prefix_tuning",
    title="Prefix tuning",
    summary="Learned keys and values stand before every layer's own, made by a small network while training as in "
    "the paper.",
    options=PrefixTuningOptions,
    peft_config=peft_config,
    library_class="PrefixTuningConfig",
    checkpointing=False,
    read_state=read_trained,
    write_state=write_trained,
)
