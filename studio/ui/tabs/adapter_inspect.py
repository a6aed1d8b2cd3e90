"""Looking into adapters: how much each layer was changed, in how many directions, how alike they are."""

from studio.adapters.inspection import MOST
from studio.ui.widgets import widget


def build() -> None:
    """Layout: the widget draws choice, heat maps and figures."""
    widget("adapterInspect", elem_id="adapter-inspect", most=MOST)
