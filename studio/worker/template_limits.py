"""A chat template is a program that came with a model: it may raise, and it may never end."""

import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from studio.errors import UserError

SECONDS = 5.0
COMPILED = "<template>"  # what Jinja calls the Python code that it makes of a template
RAISED = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _TimeOver(Exception):
    """The template took too long."""


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, template: str, messages: Sequence[dict[str, str]], seconds: float = SECONDS
) -> list[int]:
    """The tokens of a conversation up to where the answer begins. Raises UserError when the template fails."""
    try:
        with _Deadline(seconds):
            text = tokenizer.apply_chat_template(
                list(messages), chat_template=template, add_generation_prompt=True, tokenize=False
            )
    except _TimeOver:
        raise UserError(
            f"The chat template took more than {seconds:g} seconds for this conversation.",
            "Its adapter or model brings a template that loops: choose another, or repair the template.",
        ) from None
    except RAISED as error:
        raise UserError(
            f"The chat template does not take this conversation: {error}",
            "Many templates want user and assistant to take turns, or know no system message.",
        ) from None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class _Deadline:
    """Raises _TimeOver in the template's own code, in this thread, after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *unused: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != COMPILED:
            return None
        if time.monotonic() > self._end:
            raise _TimeOver
        return self._trace
