"""Bringing an adapter in: uploaded files or a zip, a folder of the server, the Hub."""

from studio.jobs.studio import Studio
from studio.ui.widgets import widget


def build(studio: Studio) -> None:
    """Layout: the widget draws the sources, and what became of the import."""
    widget("adapterImport", elem_id="adapter-import", folders=bool(studio.settings.data_roots))
