"""LoRA: low-rank matrices beside the frozen weights (arXiv 2106.09685)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from studio.methods.options import Options
from studio.methods.tuners.contract import Tuner

if TYPE_CHECKING:
    from peft import LoraConfig

LINEAR_KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraOptions(Options):
    name: Literal["lora"] = "lora"
    r: int = Field(
        default=8,
        ge=1,
        le=1024,
        title="Rank (r)",
        description="Width of the low-rank matrices. 8 suits most tasks; 4 simple ones, 16 to 32 hard ones.",
    )
    lora_alpha: int = Field(
        default=16,
        ge=1,
        le=4096,
        title="Alpha",
        description="Scale of what is learned: the update is multiplied by alpha / r. Usual: 2 to 4 times r.",
    )
    lora_dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        title="Dropout",
        description="Share of inputs to the adapter that is dropped at random; 0.05 to 0.1 helps small sets.",
    )
    target_modules: Literal["all-linear", "attention", "q_v"] = Field(
        default="all-linear",
        title="Where",
        description="all-linear: every linear layer except the output head. attention: q, k, v, o. "
        "q_v: only q and v, as in the first paper.",
    )
    use_rslora: bool = Field(
        default=False,
        title="rsLoRA",
        description="Scale by alpha / √r instead of alpha / r: steadier at ranks of 64 and more.",
    )
    use_dora: bool = Field(
        default=False,
        title="DoRA",
        description="Learn length and direction of the weights apart: often a little better, slower.",
    )


TARGETS: dict[str, str | list[str]] = {
    "all-linear": "all-linear",
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "q_v": ["q_proj", "v_proj"],
}


def peft_config(options: LoraOptions) -> "LoraConfig":
    from peft import LoraConfig

    return LoraConfig(
        **{**options.library_options(), "target_modules": TARGETS[options.target_modules]},
        bias="none",
        task_type="CAUSAL_LM",
    )


LORA = Tuner(
    name="lora",
    title="LoRA",
    summary="Small matrices beside the frozen weights are trained: little memory, a file of a few megabytes.",
    options=LoraOptions,
    peft_config=peft_config,
    library_class="LoraConfig",
    works_quantized=True,
)
