"""Form controls made of the spec's fields: label, help, choices and type come from the field, nothing is said twice."""

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import gradio as gr
from gradio.components import Component
from pydantic.fields import FieldInfo

from studio.ui.i18n import help_key, word, words

# Options that name a job: menus, which the tab fills when it opens.
NAMES_A_JOB = ("start_from", "reward_model")


def build_control(key: str, field: FieldInfo, value: Any, method: str = "") -> Component:
    """The control for one option, `method` its objective or tuner.

    `interactive` is said, since Gradio greys out what no event reads.
    """
    own = help_key(key, method)
    common: dict[str, Any] = {
        "label": word(f"field.{key}.title"),
        "info": word(own if own in words("en") else f"field.{key}.help"),
        "value": value,
        "interactive": True,
        "elem_id": control_id(key),
    }
    choices = literal_choices(field.annotation)
    if choices:
        return gr.Dropdown(choices=[(choice_word(key, choice), choice) for choice in choices], **common)
    if names_a_job(key):
        return gr.Dropdown(choices=[(word("train_no_job"), "")], allow_custom_value=True, **common)
    kinds = plain_types(field.annotation)
    if bool in kinds:
        return gr.Checkbox(**common)
    if int in kinds and float not in kinds:
        return gr.Number(precision=0, **common)
    if float in kinds:
        return gr.Number(**common)
    return gr.Textbox(max_lines=1, **common)


def control_id(key: str) -> str:
    """The id of an option's control on the page."""
    return f"option-{key.replace('.', '-')}"


def names_a_job(key: str) -> bool:
    """Whether an option's value is the id of a job."""
    return key.rpartition(".")[2] in NAMES_A_JOB


def choice_word(key: str, choice: str) -> Any:
    """What a menu calls a choice: its word where there is one, else its own spelling."""
    name = f"choice.{key}.{choice}"
    return word(name) if name in words("en") else choice


def literal_choices(annotation: Any) -> Sequence[str]:
    """The values of a Literal, else nothing."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def plain_types(annotation: Any) -> set[type]:
    """The types an option may have, without None: float | None → {float}."""
    if get_origin(annotation) in (Union, UnionType):
        return {part for part in get_args(annotation) if part is not NoneType}
    return {annotation}
