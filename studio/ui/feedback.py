"""How an error looks: a toast with the sentence for what the user can fix, a toast with an id for our bugs."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from fastapi import Request
from fastapi.responses import JSONResponse
from gradio.context import LocalContext

from studio.errors import UserError, new_error_id
from studio.ui.i18n import Language, language_of
from studio.ui.refusals import told_refusal

log = logging.getLogger("studio.ui")
TOAST_SECONDS = 12


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """An event handler that never loses what the user entered: on an error a toast is shown, nothing changes."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _toasting() as outcome:
                yield from handler(*args, **kwargs)
            if outcome.failed:
                yield gr.skip()

        return stream

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _toasting():
            return handler(*args, **kwargs)
        return gr.skip()

    return call


@dataclass
class _Outcome:
    failed: bool = False


@contextmanager
def _toasting() -> Iterator[_Outcome]:
    outcome = _Outcome()
    try:
        yield outcome
    except Exception as error:
        outcome.failed = True
        show_error(error)


def show_error(error: Exception) -> None:
    """Toast an error in the reader's language. Texts are escaped: Gradio renders toasts as HTML."""
    message, hint = explain(error, language_here())
    gr.Warning(f"{escape(message)}<br>{escape(hint)}", duration=TOAST_SECONDS, title="")


def language_here() -> Language:
    """The language of whoever caused the event of the page that this thread works on."""
    request = LocalContext.request.get(None)
    return language_of(request.headers) if request is not None else "en"


def explain(error: Exception, language: Language = "en") -> tuple[str, str]:
    """(message, hint): the user's own, or an id under which the log has the traceback."""
    if not isinstance(error, UserError):
        error_id = new_error_id()
        log.error("error %s", error_id, exc_info=error)
        error = UserError(
            f"Something went wrong inside the studio (error {error_id}).", "The studio's log has the details."
        )
    return told_refusal(error.message, language), told_refusal(error.hint, language)


async def user_error_response(request: Request, error: Exception) -> JSONResponse:
    """What our own routes answer to a UserError."""
    message, hint = explain(error, language_of(request.headers))
    return JSONResponse({"error": {"message": message, "hint": hint}}, status_code=400)


async def bug_response(request: Request, error: Exception) -> JSONResponse:
    """What our own routes answer to a bug."""
    message, hint = explain(error, language_of(request.headers))
    return JSONResponse({"error": {"message": message, "hint": hint}}, status_code=500)
