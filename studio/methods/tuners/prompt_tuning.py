"""Prompt tuning: learned vectors before the text, the model untouched (arXiv 2104.08691)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from studio.errors import UserError
from studio.methods.options import Options
from studio.methods.shared_fields import VIRTUAL_TOKENS
from studio.methods.tuners.contract import Config, Tuner

if TYPE_CHECKING:
    from peft import PromptTuningConfig


class PromptTuningOptions(Options):
    name: Literal["prompt_tuning"] = "prompt_tuning"
    num_virtual_tokens: int = VIRTUAL_TOKENS
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"] = Field(
        default="TEXT",
        title="Beginning",
        description="TEXT: the vectors begin as the words below, which learns fastest. SAMPLE_VOCAB: as words drawn at "
        "random. RANDOM: as noise.",
    )
    prompt_tuning_init_text: str = Field(
        default="Answer the user helpfully and briefly.",
        max_length=2000,
        title="First words",
        description="What the vectors begin as, when they begin as text: describe the task in a sentence.",
    )


def check(options: PromptTuningOptions, config: Config) -> None:
    """Raise UserError when the vectors are to begin as no words."""
    if options.prompt_tuning_init == "TEXT" and not options.prompt_tuning_init_text.strip():
        raise UserError("The first words are empty.", "Write a sentence, or let the vectors begin at random.")


def peft_config(options: PromptTuningOptions, config: Config, task_type: str) -> "PromptTuningConfig":
    from peft import PromptTuningConfig

    values = options.library_options()
    if options.prompt_tuning_init == "TEXT":
        values["tokenizer_name_or_path"] = config["_name_or_path"]
    else:
        del values["prompt_tuning_init_text"]
    return PromptTuningConfig(**values, task_type=task_type)


PROMPT_TUNING = Tuner(
    name="prompt_tuning",
    title="Prompt tuning",
    summary="Learned vectors stand before the text, nothing else changes: a file of kilobytes, for large models and "
    "narrow tasks. It needs a high learning rate (1e-2 to 3e-1).",
    options=PromptTuningOptions,
    peft_config=peft_config,
    library_class="PromptTuningConfig",
    check=check,
)
