"""What came from what: data set, job, checkpoint, continued job, merge; a click opens it."""

from studio.ui.widgets import widget


def build() -> None:
    """Layout: the widget draws the graph."""
    widget("lineage", elem_id="lineage")
