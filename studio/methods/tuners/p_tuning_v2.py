"""P-tuning v2: deep prompts, learned directly at every layer (arXiv 2110.07602)."""

from typing import Literal

from pydantic import Field

from studio.methods.trained_state import read_trained, write_trained
from studio.methods.tuners.contract import Tuner
from studio.methods.tuners.prefix_tuning import PrefixTuningOptions, peft_config


class PTuningV2Options(PrefixTuningOptions):
    name: Literal["p_tuning_v2"] = "p_tuning_v2"  # type: ignore[assignment]
    prefix_projection: bool = Field(
        default=False,
        title="Reparametrisation",
        description="Let a small network make the vectors while training: steadier, many more weights to train. It is "
        "left out of the result.",
    )


P_TUNING_V2 = Tuner(
    name="p_tuning_v2",
    title="P-tuning v2",
    summary="Deep prompts: keys and values learned directly at every layer. In PEFT this is prefix tuning without "
    "reparametrisation; the paper makes the network optional, and has heads for classification that chat needs not.",
    options=PTuningV2Options,
    peft_config=peft_config,  # PEFT has no class of that name: these are prefixes without reparametrisation
    library_class="PrefixTuningConfig",
    checkpointing=False,
    read_state=read_trained,
    write_state=write_trained,
)
