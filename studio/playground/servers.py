"""Waiting until a base model answers."""

import threading
import time
from collections.abc import Callable

from studio.errors import UserError
from studio.jobs.servers import Endpoint
from studio.jobs.studio import Studio
from studio.playground.remote import remote_endpoint

START_PATIENCE = 180.0  # seconds for a base model to load


def wait_for_endpoint(
    studio: Studio, base_model: str, left: threading.Event, waiting: Callable[[str], None] = lambda reason: None
) -> Endpoint:
    """The server that holds a base model, started when there is none, or the one elsewhere that a menu's choice means.

    `waiting` is told again and again why it takes so long ("": it loads). Raises UserError, also when nobody waits.
    """
    elsewhere = remote_endpoint(studio, base_model)
    if elsewhere is not None:
        return elsewhere
    began = time.monotonic()
    while not left.is_set():
        endpoint = studio.servers.want(base_model)
        if endpoint is not None:
            return endpoint
        reason = studio.servers.why(base_model)
        waiting(reason)
        if time.monotonic() - began > START_PATIENCE:
            told = f"The base model did not load in time. {reason}".strip()
            raise UserError(told, "Look at the machine's memory, then try again.")
        left.wait(0.2)
    raise UserError("The base model did not load before its reader left.")
