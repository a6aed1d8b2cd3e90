"""The adapters that there are: results of jobs, their checkpoints, imported ones, with what can be done to each."""

from studio.ui.widgets import widget


def build() -> None:
    """Layout: the widget draws the table."""
    widget("adapterList", elem_id="adapter-list")
