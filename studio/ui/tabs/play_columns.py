"""The chat's layout: up to seven columns, one prompt under them, how they answer, what was saved."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.jobs.chat_weights import AS_TRAINED, CHOICES
from studio.playground.conversations import MOST_COLUMNS, Drawn
from studio.ui.i18n import word
from studio.ui.widgets import widget

# Not a single $, which stands before prices too: `panes.with_maths` writes \( and \) where it means maths.
LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
LETTERS = "abcdefg"[:MOST_COLUMNS]  # columns in the page's ids
DEFAULT = Drawn()


@dataclass(frozen=True)
class DrawnControls:
    """The controls of a Drawn, in its fields' order."""

    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider

    @property
    def all(self) -> list[Any]:
        return [self.system, self.temperature, self.top_p, self.max_tokens]


@dataclass(frozen=True)
class PlayColumn:
    """One column: who answers, the conversation, and settings of its own."""

    frame: gr.Column
    choice: gr.Dropdown
    chat: gr.Chatbot
    own: gr.Accordion
    controls: DrawnControls


@dataclass(frozen=True)
class PlayBar:
    """What concerns all columns."""

    count: gr.Radio
    separate: gr.Checkbox
    checkpoints: gr.Checkbox


@dataclass(frozen=True)
class SavedControls:
    """What was saved, and what can be done with it."""

    saved: gr.Dropdown
    name: gr.Textbox
    save: gr.Button
    open: gr.Button
    rename: gr.Button
    delete: gr.Button
    export: gr.Button
    export_all: gr.Button


def build_bar() -> PlayBar:
    """How many columns, and what they show."""
    with gr.Row(elem_id="play-bar"):
        count = gr.Radio(
            list(range(1, MOST_COLUMNS + 1)),
            value=1,
            label=word("play_columns"),
            interactive=True,
            elem_id="column-count",
            scale=0,
            min_width=330,
        )
        options: dict[str, Any] = {"interactive": True, "scale": 0, "min_width": 150}
        separate = gr.Checkbox(False, label=word("play_separate"), elem_id="separate-settings", **options)
        checkpoints = gr.Checkbox(False, label=word("play_checkpoints"), elem_id="with-checkpoints", **options)
        gr.Checkbox(False, label=word("play_differences"), elem_id="differences", **options)
    return PlayBar(count, separate, checkpoints)


def build_columns() -> list[PlayColumn]:
    """All columns that there can be; the first one is visible."""
    with gr.Row(equal_height=False, elem_id="play-columns"):
        return [_column(number, letter) for number, letter in enumerate(LETTERS)]


def _column(number: int, letter: str) -> PlayColumn:
    with gr.Column(min_width=260, visible=number == 0, elem_classes="st-play-column") as frame:
        choice = gr.Dropdown(
            choices=[],
            label=word("play_left" if number == 0 else "play_right"),
            interactive=True,
            elem_id=f"chat-model-{letter}",
        )
        chat = gr.Chatbot(
            show_label=False,
            height="max(280px, calc(100vh - 470px))",
            elem_id=f"chat-{letter}",
            latex_delimiters=LATEX,
            buttons=["copy"],
            layout="bubble",
            editable="user",
            allow_tags=False,
            sanitize_html=True,
            placeholder=word("play_empty"),
        )
        widget("paneFacts", elem_id=f"facts-{letter}", value={"column": number})
        with gr.Accordion(word("play_own_settings"), open=False, visible=False, elem_id=f"own-{letter}") as own:
            controls = build_drawn(f"-{letter}")
    return PlayColumn(frame, choice, chat, own, controls)


def build_drawn(suffix: str = "") -> DrawnControls:
    """The controls of how an answer is drawn."""
    with gr.Column(elem_classes="st-form st-flat"):
        system = gr.Textbox(label=word("play_system"), lines=2, interactive=True, elem_id=f"system-prompt{suffix}")
        with gr.Row():
            return DrawnControls(
                system,
                _slider("play_temperature", f"temperature{suffix}", 0, 2, DEFAULT.temperature, 0.05),
                _slider("play_top_p", f"top-p{suffix}", 0.05, 1, DEFAULT.top_p, 0.05),
                _slider("play_max_tokens", f"max-tokens{suffix}", 16, 2048, DEFAULT.max_tokens, 16),
            )


def _slider(label: str, elem_id: str, low: float, high: float, value: float, step: float) -> gr.Slider:
    return gr.Slider(low, high, value, step=step, label=word(label), interactive=True, elem_id=elem_id, min_width=120)


def build_prompt() -> gr.Textbox:
    """Where the question is written."""
    return gr.Textbox(
        show_label=False,
        label=word("play_prompt"),
        placeholder=word("play_prompt"),
        submit_btn=True,
        stop_btn=False,
        container=False,
        lines=1,
        max_lines=6,
        elem_id="prompt",
        interactive=True,
    )


def build_weights() -> gr.Dropdown:
    """How base models are held: for all chats of the studio, so apart from what a conversation sets for itself."""
    with gr.Accordion(word("play_weights_title"), open=False, elem_id="play-weights"):
        return gr.Dropdown(
            choices=[(word(f"play_weights.{name}"), name) for name in CHOICES],
            value=AS_TRAINED,
            label=word("play_weights"),
            info=word("play_weights_info"),
            interactive=True,
            elem_id="chat-weights",
        )


def build_saved() -> SavedControls:
    """The list of what was saved."""
    with gr.Accordion(word("play_saved"), open=False, elem_id="play-saved"), gr.Column(elem_classes="st-form st-flat"):
        with gr.Row():
            name = gr.Textbox(label=word("play_name"), interactive=True, max_lines=1, elem_id="chat-name")
            saved = gr.Dropdown(choices=[], label=word("play_saved_list"), interactive=True, elem_id="saved-chats")
        with gr.Row(elem_classes="st-play-actions"):
            buttons = {
                action: gr.Button(word(f"play_{action}"), size="sm", scale=0, min_width=120, elem_id=f"chat-{action}")
                for action in ("save", "rename", "open", "delete", "export", "export_all")
            }
        widget("shareLink", elem_id="share-link")
    return SavedControls(saved=saved, name=name, **buttons)
