"""The merge section: several adapters into one. One widget, which asks /api/merging while the sliders move."""

from dataclasses import dataclass

import gradio as gr

from studio.jobs.studio import Studio
from studio.ui.widgets import widget


@dataclass(frozen=True)
class MergeSection:
    """The parts of the section."""

    form: gr.HTML


def build(studio: Studio) -> MergeSection:
    """Layout: the widget draws choice, sliders, method and figures, and fetches what can be chosen itself."""
    form = widget("merge", elem_id="merge")
    widget("guide", elem_id="guide-merging", topics=["merging"])
    return MergeSection(form)
