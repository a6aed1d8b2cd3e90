"""A chat template is a program that came with a model, and it may never end: how long one may take."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from studio.errors import UserError

SECONDS = 5.0
COMPILED = "<template>"  # what Jinja calls the Python code that it makes of a template


@contextmanager
def template_time(seconds: float = SECONDS) -> Iterator[None]:
    """Within it a template is ended in its own code, in this thread, after so many seconds. Raises UserError then.

    Every line of a template is looked at, which makes it slower: for one conversation, not for a data set.
    """
    end = time.monotonic() + seconds

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != COMPILED:
            return None
        if time.monotonic() > end:
            raise _TimeOver
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    except _TimeOver:
        raise UserError(
            f"The chat template took more than {seconds:g} seconds for this conversation.",
            "Its adapter or model brings a template that loops: choose another, or repair the template.",
        ) from None
    finally:
        sys.settrace(before)


class _TimeOver(Exception):
    """The template took too long."""
