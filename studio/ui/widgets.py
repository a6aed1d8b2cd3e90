"""Our own widgets: an empty frame here, drawn by a function of the same name in assets/*.js, text only as text."""

import json
from typing import Any

import gradio as gr


def widget(name: str, *, elem_id: str, value: Any = None, classes: str = "", **options: Any) -> gr.HTML:
    """A place that `Studio.widgets.NAME(element, value, options, trigger)` fills and keeps up to date.

    Values reach the script as data and become text nodes there: no content is ever parsed as HTML. An option
    that names an event makes it one that Python can listen to; `trigger` sends it.
    """
    return gr.HTML(
        value=value,
        html_template="<div class='st-widget'></div>",
        js_on_load=f"Studio.mount({json.dumps(name)}, element, props, watch, {json.dumps(options)}, trigger)",
        apply_default_css=False,
        container=False,
        padding=False,
        elem_id=elem_id,
        elem_classes=classes,
    )
