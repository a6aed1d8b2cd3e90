"""Memory: will it fit, why, and what to change. One widget, which asks /api/memory as you type."""

from studio.ui.widgets import widget


def build() -> None:
    """Layout: the widget draws form and answer."""
    widget("memory", elem_id="memory")
