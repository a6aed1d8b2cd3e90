"""Form controls made of the spec's fields: label, help, choices and type come from the field, nothing is said twice."""

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import gradio as gr
from gradio.components import Component
from pydantic.fields import FieldInfo

from studio.ui.i18n import word


def build_control(key: str, field: FieldInfo, value: Any) -> Component:
    """The control for one option. `interactive` is said, since Gradio greys out what no event reads."""
    common: dict[str, Any] = {
        "label": word(f"field.{key}.title"),
        "info": word(f"field.{key}.help"),
        "value": value,
        "interactive": True,
        "elem_id": f"option-{key.replace('.', '-')}",
    }
    choices = literal_choices(field.annotation)
    if choices:
        return gr.Dropdown(choices=list(choices), **common)
    kinds = plain_types(field.annotation)
    if bool in kinds:
        return gr.Checkbox(**common)
    if int in kinds and float not in kinds:
        return gr.Number(precision=0, **common)
    if float in kinds:
        return gr.Number(**common)
    return gr.Textbox(max_lines=1, **common)


def literal_choices(annotation: Any) -> Sequence[str]:
    """The values of a Literal, else nothing."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def plain_types(annotation: Any) -> set[type]:
    """The types an option may have, without None: float | None → {float}."""
    if get_origin(annotation) in (Union, UnionType):
        return {part for part in get_args(annotation) if part is not NoneType}
    return {annotation}
