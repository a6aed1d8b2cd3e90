"""Bottleneck adapters: small networks after attention and feed-forward (Houlsby, arXiv 1902.00751)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from studio.methods.options import Options
from studio.methods.targets import names_of
from studio.methods.tuners.contract import Config, Tuner, always

if TYPE_CHECKING:
    from studio.methods.bottleneck_layers import BottleneckConfig


class BottleneckOptions(Options):
    name: Literal["bottleneck"] = "bottleneck"
    bottleneck_size: int = Field(
        default=64,
        ge=1,
        le=4096,
        title="Bottleneck",
        description="Width of the small networks. 16 to 64 is usual; more learns more.",
    )
    activation: Literal["gelu", "relu", "silu"] = Field(
        default="gelu",
        title="Activation",
        description="What stands between the two matrices of each network; it makes the adapter more than a matrix.",
    )
    placement: Literal["houlsby", "pfeiffer"] = Field(
        default="houlsby",
        title="Placement",
        description="houlsby: after attention and after feed-forward. pfeiffer: after feed-forward only, half as many.",
    )


def check(options: BottleneckOptions, config: Config) -> None:
    names_of(config)


def peft_config(options: BottleneckOptions, config: Config, task_type: str) -> "BottleneckConfig":
    from studio.methods.bottleneck_layers import BottleneckConfig

    names = names_of(config)
    targets = [names.feedforward_out, *([names.output] if options.placement == "houlsby" else [])]
    return BottleneckConfig(
        bottleneck_size=options.bottleneck_size,
        activation=options.activation,
        target_modules=targets,
        task_type=task_type,
    )


BOTTLENECK = Tuner(
    name="bottleneck",
    title="Bottleneck adapter",
    summary="Small two-layer networks after attention and feed-forward are trained. They cannot be merged into the "
    "weights, so they cost a little at every answer.",
    options=BottleneckOptions,
    peft_config=peft_config,
    library_class="BottleneckConfig",
    own_options=("placement",),
    mixes=always,
    check=check,
)
