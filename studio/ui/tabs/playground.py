"""Playground: chat with the base model or what a job made of it, two side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.base_models import STARTER
from studio.errors import UserError
from studio.jobs.studio import Studio
from studio.methods.objectives import OBJECTIVES
from studio.playground.client import Settings, chat_target
from studio.ui.feedback import guarded
from studio.ui.i18n import say, word
from studio.ui.panes import Pane, Turn, converse

LATEX = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


@dataclass(frozen=True)
class PlaygroundTab:
    """The parts of the tab that events touch."""

    choices: tuple[gr.Dropdown, gr.Dropdown]
    chats: tuple[gr.Chatbot, gr.Chatbot]
    second: gr.Checkbox
    second_column: gr.Column
    prompt: gr.Textbox
    clear: gr.Button
    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    max_tokens: gr.Slider


def build(studio: Studio) -> PlaygroundTab:
    """Layout."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            left = _choice("play_left", "chat-model-a")
            chat_a = _chatbot("chat-a")
        with gr.Column(min_width=300, visible=False) as second_column:
            right = _choice("play_right", "chat-model-b")
            chat_b = _chatbot("chat-b")
    prompt = gr.Textbox(
        show_label=False,
        placeholder=word("play_prompt"),
        submit_btn=True,
        stop_btn=False,
        container=False,
        lines=1,
        max_lines=6,
        elem_id="prompt",
        interactive=True,
    )
    with gr.Row(elem_id="play-actions"):
        second = gr.Checkbox(
            False, label=word("play_second"), interactive=True, elem_id="second-pane", scale=0, min_width=200
        )
        clear = gr.Button(word("play_clear"), size="sm", scale=0, min_width=160, elem_id="clear-chat")
    with (
        gr.Accordion(word("play_settings"), open=False, elem_id="play-settings"),
        gr.Column(elem_classes="st-form st-flat"),
    ):
        system = gr.Textbox(label=word("play_system"), lines=2, interactive=True, elem_id="system-prompt")
        with gr.Row():
            temperature = gr.Slider(
                0, 2, 0.7, step=0.05, label=word("play_temperature"), interactive=True, elem_id="temperature"
            )
            top_p = gr.Slider(0.05, 1, 0.9, step=0.05, label=word("play_top_p"), interactive=True, elem_id="top-p")
            max_tokens = gr.Slider(
                16, 2048, 256, step=16, label=word("play_max_tokens"), interactive=True, elem_id="max-tokens"
            )
    return PlaygroundTab(
        (left, right), (chat_a, chat_b), second, second_column, prompt, clear, system, temperature, top_p, max_tokens
    )


def _choice(label: str, elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(choices=[], label=word(label), interactive=True, elem_id=elem_id)


def _chatbot(elem_id: str) -> gr.Chatbot:
    return gr.Chatbot(
        show_label=False,
        height="max(320px, calc(100vh - 370px))",
        elem_id=elem_id,
        latex_delimiters=LATEX,
        buttons=["copy"],
        layout="bubble",
        allow_tags=False,
        sanitize_html=True,
        reasoning_tags=[("<think>", "</think>")],
        placeholder=word("play_empty"),
    )


class PlaygroundHandlers:
    """What happens on the tab's events."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def arrive(self, left: str | None, right: str | None, request: gr.Request) -> Any:
        """The tab opens → menus with what can answer now."""
        return choice_updates(self._studio, left, right, request)

    def answer(  # noqa: PLR0913 - Gradio passes one argument a component
        self,
        prompt: str,
        left: str,
        right: str,
        both: bool,
        history_a: list[Turn],
        history_b: list[Turn],
        system: str | None,
        temperature: float,
        top_p: float,
        max_tokens: float,
        request: gr.Request,
    ) -> Iterator[Any]:
        """A question → (empty prompt, conversation, conversation), again and again while the answers grow."""
        if not prompt or not prompt.strip():
            raise UserError("The message is empty.", "Write something first.")
        settings = Settings(temperature=temperature, top_p=top_p, max_tokens=int(max_tokens))
        asked = [(left, history_a), (right, history_b)] if both else [(left, history_a)]
        loading = say("play_loading", request)
        for choice, _ in asked:
            chat_target(self._studio.store, self._studio.workspace, choice)  # before the first one begins to answer
        panes = [
            Pane(self._studio, choice, history, prompt, system=system or "", settings=settings, loading=loading)
            for choice, history in asked
        ]
        for shown in converse(panes):
            yield "", *shown, *([] if both else [gr.skip()])


def wire(studio: Studio, tab: PlaygroundTab, blocks: gr.Blocks, page: gr.Tab) -> None:
    """Events."""
    on = PlaygroundHandlers(studio)
    quiet: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
    at_once = {**quiet, "queue": False}
    for come in (page.select, blocks.load):
        come(guarded(on.arrive), list(tab.choices), list(tab.choices), **quiet)
    tab.second.change(lambda both: gr.update(visible=both), tab.second, tab.second_column, **quiet)
    started = tab.prompt.submit(lambda: gr.update(submit_btn=False, stop_btn=True), None, tab.prompt, **at_once)
    how = [tab.system, tab.temperature, tab.top_p, tab.max_tokens]
    answering = started.then(
        guarded(on.answer),
        [tab.prompt, *tab.choices, tab.second, *tab.chats, *how],
        [tab.prompt, *tab.chats],
        **quiet,
    )
    answering.then(_ready, None, tab.prompt, **at_once)
    tab.prompt.stop(_ready, None, tab.prompt, cancels=[answering], **at_once)
    cleared = [*tab.chats, tab.prompt]
    tab.clear.click(lambda: (None, None, _ready()), None, cleared, cancels=[answering], **at_once)


def _ready() -> dict[str, Any]:
    update: dict[str, Any] = gr.update(submit_btn=True, stop_btn=False)
    return update


def choice_updates(
    studio: Studio, left: str | None, right: str | None, request: gr.Request
) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Both menus with what can answer now; the left one follows `?adapter=` in the address.

    Two panes with the same one in them compare nothing: the right one then shows the newest job's result.
    """
    choices = speakers(studio, request)
    ids = [value for _, value in choices]
    wanted = request.query_params.get("adapter")
    newest = ids[1] if len(ids) > 1 else ids[0]
    first = next(one for one in (wanted, left, ids[0]) if one in ids)
    second = next(one for one in (right if right != first else newest, newest) if one in ids)
    return gr.Dropdown(choices=choices, value=first), gr.Dropdown(choices=choices, value=second)


def speakers(studio: Studio, request: gr.Request) -> list[tuple[str, str]]:
    """(label, value) of everything that can answer: the starter, what jobs left (no reward models), their bases."""
    finished = [view for view in studio.store.views() if studio.workspace.has_result(view.id)]
    bases = dict.fromkeys(["starter", *(view.spec.base_model for view in finished)])
    base_word = say("play_base", request)
    base_choices = [(f"{STARTER if name == 'starter' else name} · {base_word}", f"base:{name}") for name in bases]
    speaking = [view for view in finished if OBJECTIVES[view.objective].task_type == "CAUSAL_LM"]
    jobs = [(f"{view.name} · {view.made_by}", view.id) for view in speaking]
    return [base_choices[0], *jobs, *base_choices[1:]]
