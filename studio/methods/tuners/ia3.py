"""(IA)³: keys, values and feed-forward inputs are scaled by learned vectors (arXiv 2205.05638)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from studio.methods.options import Options
from studio.methods.targets import names_of
from studio.methods.tuners.contract import Config, Tuner, always

if TYPE_CHECKING:
    from peft import IA3Config


class IA3Options(Options):
    name: Literal["ia3"] = "ia3"
    feedforward_modules: Literal["with", "without"] = Field(
        default="with",
        title="Feed-forward",
        description="with: keys, values and the feed-forward layers, as in the paper. without: keys and values only.",
    )


def check(options: IA3Options, config: Config) -> None:
    names_of(config)


def peft_config(options: IA3Options, config: Config, task_type: str) -> "IA3Config":
    from peft import IA3Config

    names = names_of(config)
    feedforward = [names.feedforward_out] if options.feedforward_modules == "with" else []
    attention = sorted({names.key, names.value})
    return IA3Config(target_modules=attention + feedforward, feedforward_modules=feedforward, task_type=task_type)


IA3 = Tuner(
    name="ia3",
    title="(IA)³",
    summary="Learned vectors scale keys, values and feed-forward inputs: ten times fewer weights than LoRA, high "
    "learning rates (1e-3 to 1e-2).",
    options=IA3Options,
    peft_config=peft_config,
    library_class="IA3Config",
    merges=always,
    check=check,
)
