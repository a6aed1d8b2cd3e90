"""Adapters: what can be done with them beside talking to them. It lays out the sections in their order."""

from studio.jobs.studio import Studio
from studio.ui.tabs import merging


def build(studio: Studio) -> None:
    """Layout."""
    merging.build(studio)
