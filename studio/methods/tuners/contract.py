"""What a tuner promises: its options, and PEFT's configuration made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from studio.methods.options import Options

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """One way to choose what is trained. `peft_config` None trains the model's own weights."""

    name: str
    title: str
    summary: str
    options: type[Options]
    peft_config: "Callable[[Any], PeftConfig] | None"
    library_class: str
    works_quantized: bool
