"""Full fine-tuning: every weight of the model is trained."""

from typing import Literal

from studio.methods.options import Options
from studio.methods.tuners.contract import Tuner


class FullOptions(Options):
    name: Literal["full"] = "full"


def refuses(options: FullOptions, quantization: str) -> str:
    return f"Full fine-tuning cannot change weights that are kept in {4 if quantization == 'nf4' else 8} bits."


FULL = Tuner(
    name="full",
    title="Full fine-tuning",
    summary="Every weight is trained: most memory, most capacity; the result is a whole model.",
    options=FullOptions,
    peft_config=None,
    library_class="",
    whole_model=True,
    refuses=refuses,
)
