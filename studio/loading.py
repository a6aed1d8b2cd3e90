"""Importing large libraries without looking through them for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Within it Python's garbage collector rests; what is there at the end is never looked through again.

    Thousands of modules come with torch and transformers, all of them to stay. Collecting while they are read takes
    about a quarter of the time: the benchmark `imports` measures the worker's with and without.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
